"""IDC's augmentation, kind after kind."""

import pytest
import torch
from torch import Generator

from dsactl.augmentation.composed import ComposedAugmenter
from dsactl.augmentation.strategy import parse_strategy
from dsactl.augmentation.transforms import TRANSFORMATIONS

SIZE = (9, 12)


@pytest.mark.parametrize(
    ("strategy", "first", "one_of", "last"),
    [
        ("color_crop_flip_scale_rotate", ["flip", "color"], ["crop", "scale", "rotate"], []),
        ("color_crop_cutout", ["color"], ["crop"], ["cutout"]),
        ("color_flip", ["flip", "color"], [], []),
        ("none", [], [], []),
    ],
)
def test_flip_and_color_always_then_one_of_the_others_then_cutout(
    strategy: str, first: list[str], one_of: list[str], last: list[str]
) -> None:
    images = torch.randn(5, 3, *SIZE, generator=Generator().manual_seed(0))
    augment, seen = ComposedAugmenter(parse_strategy(strategy), SIZE), set()
    for seed in range(20):
        source, expected = Generator().manual_seed(seed), images
        for kinds in ([each] for each in first):
            expected = step(kinds, expected, source, seen)
        expected = step(one_of, expected, source, seen)
        expected = step(last, expected, source, seen)
        assert torch.equal(augment(images, Generator().manual_seed(seed)), expected)
    assert seen == {*first, *one_of, *last}


def step(kinds: list[str], images: torch.Tensor, source: Generator, seen: set[str]) -> torch.Tensor:
    if not kinds:
        return images
    kind = kinds[int(torch.randint(len(kinds), (1,), generator=source))]
    seen.add(kind)
    return TRANSFORMATIONS[kind].draw(len(images), SIZE, source)(images)
