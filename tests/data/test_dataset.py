import pytest
import torch
from reference import small_dataset

from dsactl.data.dataset import ImageSet, channel_statistics
from dsactl.data.load import check_counts, load_dataset
from dsactl.errors import DataError, UnknownNameError, UsageError


def test_digits_are_a_fixed_stratified_split() -> None:
    digits = load_dataset("digits")
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert (digits.channels, digits.size, digits.classes) == (1, (8, 8), 10)
    # A published value: every result on digits uses this split.
    assert digits.train.checksum() == "60c6e730e3edc883f5a2a0b4948642f4e7bbf20873f1a4d45e04a9f4cb12b80d"
    for whole, part in zip(digits.train.counts, digits.test.counts, strict=True):
        assert part / (whole + part) == pytest.approx(0.2, abs=0.005)
    rows = {row.numpy().tobytes() for row in digits.train.images_NCHW.flatten(1)}
    assert not any(row.numpy().tobytes() in rows for row in digits.test.images_NCHW.flatten(1))
    assert digits.train.images_NCHW.dtype == torch.uint8
    assert digits.train.images_NCHW.max() == 255
    normalised = digits.normalise(digits.train.images_NCHW)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-4)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert not digits.mirrored


def test_images_are_grouped_by_class() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 2])
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    grouped = ImageSet.from_tensors(images, labels, 4)
    assert grouped.images_NCHW.flatten().tolist() == [1, 3, 2, 0, 4, 5]
    assert (grouped.counts, grouped.starts) == ((2, 1, 3, 0), (0, 2, 3, 6))
    assert grouped.checksum() != ImageSet.from_tensors(images, labels.flip(0), 4).checksum()


def test_labels_of_so_many_images_of_every_class() -> None:
    dataset = small_dataset()
    assert dataset.labels(2).tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.labels(1).dtype == torch.int64


def test_draws_are_of_the_class_normalised_and_without_repeats() -> None:
    dataset = small_dataset()
    drawn = dataset.draw(1, 15, torch.Generator().manual_seed(0))
    pool = dataset.normalise(dataset.train.images_NCHW)[20:40]
    matches = (drawn.flatten(1)[:, None] == pool.flatten(1)[None]).all(2)
    assert matches.any(1).all()
    assert matches.sum(0).max() == 1
    assert len(dataset.draw(1, 500, torch.Generator())) == 20
    pixels = dataset.train.images_NCHW[20:40].float()
    torch.testing.assert_close(pool, (pixels / 255 - 0.5) / 0.25)


def test_measured_constants() -> None:
    images = torch.randint(0, 256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
    mean, std = channel_statistics(images)
    values = images.double().div(255).transpose(0, 1).flatten(1)
    assert mean == pytest.approx(values.mean(1).tolist(), abs=1e-6)
    assert std == pytest.approx(values.std(1, correction=0).tolist(), abs=1e-6)
    with pytest.raises(DataError, match="Channel 0 of the training images has one value everywhere"):
        channel_statistics(torch.full((5, 1, 4, 4), 7, dtype=torch.uint8))


def test_what_cannot_be_condensed() -> None:
    with pytest.raises(
        DataError, match=r"3 of the 3 classes of small have fewer than `ipc=21` training images; .* has 20"
    ):
        check_counts(small_dataset(), 21)
    assert repr(small_dataset()) == "Dataset(small, 1×8×8, 3 classes, 60 training and 30 test images)"
    with pytest.raises(DataError, match="has 1 class"):
        check_counts(small_dataset(classes=1), 1)
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar10'"):
        load_dataset("cifar-10")
    for option, value in (("image_size", 16), ("test_fraction", 0.5), ("split_seed", 16)):
        with pytest.raises(UsageError, match="are only for image folders"):
            load_dataset("digits", **{option: value})
