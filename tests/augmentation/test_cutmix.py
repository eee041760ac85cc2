"""CutMix against loops over pixels."""

import pytest
import torch
from torch import Generator
from torch.nn import functional as F

from dsactl.augmentation.cutmix import CutMix

SIZES = [(8, 8), (9, 12), (1, 5)]


def drawn(size: tuple[int, int], count: int = 5) -> list[CutMix]:
    source = Generator().manual_seed(0)
    return [CutMix.draw(1.0, count, size, source) for _ in range(60)]


@pytest.mark.parametrize("size", SIZES)
def test_the_box_comes_from_the_partner_and_has_the_share_of_pixels_that_is_said(size: tuple[int, int]) -> None:
    images = torch.randn(5, 2, *size, generator=Generator().manual_seed(1))
    before, shares = images.clone(), []
    for mix in drawn(size):
        mixed = mix.images(images)
        pasted = 0
        for row in range(size[0]):
            for column in range(size[1]):
                inside = mix.rows[0] <= row < mix.rows[1] and mix.columns[0] <= column < mix.columns[1]
                pasted += inside
                for index in range(5):
                    source = int(mix.partners_B[index]) if inside else index
                    assert torch.equal(mixed[index, :, row, column], images[source, :, row, column])
        assert mix.ratio == pytest.approx(1 - pasted / (size[0] * size[1]))
        assert sorted(mix.partners_B.tolist()) == [0, 1, 2, 3, 4]
        shares.append(mix.ratio)
    assert torch.equal(images, before), "the given images stay as they are"
    if min(size) > 1:
        assert min(shares) < 0.5
        assert max(shares) > 0.9
        assert any(mix.rows[0] == 0 or mix.rows[1] == size[0] for mix in drawn(size)), "some are cut at the border"


def test_the_loss_is_linear_in_the_ratio() -> None:
    source = Generator().manual_seed(2)
    logits = torch.randn(6, 4, dtype=torch.float64, generator=source)
    hard = torch.tensor([0, 1, 2, 3, 0, 1])
    soft = torch.rand(6, 4, dtype=torch.float64, generator=source).softmax(1)
    for mix in drawn((8, 8), 6):
        for labels, targets in ((hard, F.one_hot(hard, 4).double()), (soft, soft)):
            expected = mix.ratio * F.cross_entropy(logits, labels)
            expected += (1 - mix.ratio) * F.cross_entropy(logits, labels[mix.partners_B])
            torch.testing.assert_close(F.cross_entropy(logits, mix.targets(targets)), expected)


def test_a_batch_is_mixed_with_the_probability() -> None:
    source, images = Generator().manual_seed(3), torch.randn(3, 1, 8, 8)
    mixes = [CutMix.draw(0.5, 3, (8, 8), source) for _ in range(2000)]
    unmixed = [mix for mix in mixes if mix.partners_B.tolist() == [0, 1, 2] and mix.rows == mix.columns == (0, 0)]
    assert 0.45 < len(unmixed) / 2000 < 0.55
    assert torch.equal(unmixed[0].images(images), images)
    assert unmixed[0].ratio == 1
    always = [CutMix.draw(1.0, 3, (64, 64), source) for _ in range(2000)]
    kept = torch.tensor([mix.ratio for mix in always]).mean().item()
    expected = torch.tensor([naive_share(64, Generator().manual_seed(index)) for index in range(2000)]).mean().item()
    assert kept == pytest.approx(expected, abs=0.03)


def naive_share(side: int, source: Generator) -> float:
    """The share of pixels outside of a box, counted one by one."""
    part = (1 - torch.rand((), generator=source).item()) ** 0.5
    half = int(side * part) // 2
    row, column = (int(torch.randint(side, (), generator=source)) for _ in range(2))
    rows = sum(row - half <= each < row + half for each in range(side))
    columns = sum(column - half <= each < column + half for each in range(side))
    return 1 - rows * columns / side**2
