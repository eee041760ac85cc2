import pytest
import torch
from reference import small_dataset

from dsactl.data.load import load_dataset
from dsactl.data.parts import first_of_each, hold_out
from dsactl.errors import DataError


def rows(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_what_is_held_out_is_of_the_training_images_alone() -> None:
    digits = load_dataset("digits")
    part = hold_out(digits)
    assert len(part.train) + len(part.test) == len(digits.train)
    assert sorted(rows(part.train.images_NCHW) + rows(part.test.images_NCHW)) == sorted(rows(digits.train.images_NCHW))
    for whole, held in zip(digits.train.counts, part.test.counts, strict=True):
        assert held == round(0.1 * whole)
    for images in (part.train, part.test):
        assert torch.equal(torch.bincount(images.labels_N), torch.tensor(images.counts))
        assert (images.labels_N.diff() >= 0).all()
    known = dict(zip(rows(digits.train.images_NCHW), digits.train.labels_N.tolist(), strict=True))
    assert [known[row] for row in rows(part.test.images_NCHW)] == part.test.labels_N.tolist()
    assert part.test.checksum() == hold_out(digits).test.checksum()


def test_every_class_keeps_an_image_and_gives_one() -> None:
    small = small_dataset(per_class=2)
    assert hold_out(small).test.counts == (1,) * small.classes
    with pytest.raises(DataError, match="too few images to hold any out"):
        hold_out(small_dataset(per_class=1))


def test_the_first_of_each_class() -> None:
    small = small_dataset()
    few = first_of_each(small, 2)
    assert few.train.counts == few.test.counts == (2,) * small.classes
    starts = torch.tensor(small.train.starts)
    assert torch.equal(few.train.images_NCHW[::2], small.train.images_NCHW[starts])
    assert first_of_each(small, 10**6).train.checksum() == small.train.checksum()
