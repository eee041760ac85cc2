"""Labelled images on the device: uint8, grouped by class, sampled and normalised there.

Shapes: N images, C channels, H, W, K classes.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from dsactl.errors import DataError

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageSet:
    """Images of one split, sorted by class.

    Attributes:
        images_NCHW: uint8.
        labels_N: int64, ascending.
        counts: images of each class, K numbers.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    counts: tuple[int, ...]

    @classmethod
    def from_tensors(cls, images_NCHW: Tensor, labels_N: Tensor, classes: int) -> "ImageSet":
        """Sort images by class; the order within a class is preserved."""
        labels_N = labels_N.long()
        order = torch.argsort(labels_N, stable=True)
        counts = tuple(torch.bincount(labels_N, minlength=classes).tolist())
        return cls(images_NCHW[order].contiguous(), labels_N[order], counts)

    def __len__(self) -> int:
        return self.images_NCHW.shape[0]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First index of each class."""
        starts = [0]
        for count in self.counts[:-1]:
            starts.append(starts[-1] + count)
        return tuple(starts)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the same images on another device."""
        return ImageSet(self.images_NCHW.to(device), self.labels_N.to(device), self.counts)

    def checksum(self) -> str:
        """Return the SHA-256 of shape, pixels and labels, which identifies the images independently of their source."""
        return self._checksum

    @cached_property
    def _checksum(self) -> str:
        digest = hashlib.sha256(str(tuple(self.images_NCHW.shape)).encode())
        digest.update(self.images_NCHW.cpu().numpy().data)
        digest.update(self.labels_N.cpu().numpy().data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A dataset: both splits, and the constants that normalise its pixels.

    Attributes:
        name: name in stored sets ("mnist", or a folder's name).
        class_names: K of them.
        mean, std: per channel, for images in 0 … 1.
        mirrored: whether a mirrored image keeps its class.
        train, test: the splits; `test` is for the final evaluation only, never for choosing anything.
        remark: remark for the user on how a folder was read; empty for a named dataset.
    """

    name: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirrored: bool
    train: ImageSet
    test: ImageSet
    remark: str = ""

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name}, {self.shape_text}, {self.classes} classes, {len(self.train):,} training and "
            f"{len(self.test):,} test images)"
        )

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return self.train.images_NCHW.shape[1]

    @property
    def size(self) -> Size:
        """Height and width, (H, W)."""
        return (self.train.images_NCHW.shape[2], self.train.images_NCHW.shape[3])

    @property
    def shape_text(self) -> str:
        """Shape of an image as text: "3×32×32"."""
        return "×".join(map(str, (self.channels, *self.size)))

    @property
    def checksums(self) -> list[str]:
        """First 16 digits of both splits' checksums."""
        return [images.checksum()[:16] for images in (self.train, self.test)]

    def to(self, device: torch.device) -> "Dataset":
        """Return the same dataset with its images on another device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        """Convert uint8 pixels to normalised float32: (x / 255 − mean) / std."""
        mean, std = self._constants
        return (pixels_NCHW.float() / 255 - mean.to(pixels_NCHW.device)) / std.to(pixels_NCHW.device)

    @cached_property
    def _constants(self) -> tuple[Tensor, Tensor]:
        device = self.train.images_NCHW.device
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, std

    def draw(self, label: int, count: int, generator: Generator) -> Tensor:
        """Sample `count` training images of one class without replacement (all, if it has fewer), normalised.

        Args:
            label: the class, 0 … K − 1.
            count: number of images.
            generator: a CPU generator.

        Returns:
            count×C×H×W on the dataset's device, in no particular order.
        """
        return self.at(self.choose(label, count, generator).to(self.train.images_NCHW.device))

    def choose(self, label: int, count: int, generator: Generator) -> Tensor:
        """Return the indices in the training split of the images that `draw` samples, on the CPU."""
        return sample_without_replacement(self.train.counts[label], count, generator) + self.train.starts[label]

    def labels(self, ipc: int) -> Tensor:
        """Return the labels of `ipc` images of every class, ascending: int64, K·ipc, on the dataset's device."""
        return torch.arange(self.classes, device=self.train.images_NCHW.device).repeat_interleave(ipc)

    def at(self, indices_N: Tensor) -> Tensor:
        """Return training images by index, normalised, N×C×H×W; the indices are on the dataset's device."""
        return self.normalise(self.train.images_NCHW[indices_N])


def sample_without_replacement(population: int, count: int, generator: Generator) -> Tensor:
    """Sample `count` distinct indices below `population`, all subsets equally likely; all indices if there are fewer.

    For a small sample of a large population, repeats are rejected instead of shuffling the whole population.
    """
    if 3 * count >= population:
        return torch.randperm(population, generator=generator)[:count]
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen.update(dict.fromkeys(torch.randint(population, (count,), generator=generator).tolist()))
    return torch.tensor(list(chosen)[:count])


def channel_statistics(images_NCHW: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation per channel of uint8 images, in 0 … 1, rounded to six decimals.

    Raises:
        DataError: a channel is constant, so that its standard deviation is zero.
    """
    means, deviations = [], []
    for channel in range(images_NCHW.shape[1]):
        histogram = torch.bincount(images_NCHW[:, channel].flatten().long(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = (histogram * values).sum() / histogram.sum()
        deviation = ((histogram * (values - mean).square()).sum() / histogram.sum()).sqrt()
        if deviation < 1e-6:
            raise DataError(
                f"Channel {channel} of the training images has one value everywhere.",
                "Images are divided by the standard deviation, which is 0 here. Check them, or add others.",
            )
        means.append(round(mean.item(), 6))
        deviations.append(round(deviation.item(), 6))
    return tuple(means), tuple(deviations)
