"""SyntheticSet: the images, the labels, and everything needed to use them right.

Shapes: N images, sorted by class, C, H, W, K classes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import registry
from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import augment, draw
from dsactl.engine.random import generator
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.bundled import find
from dsactl.synthetic.storage import folder_options


@dataclass(frozen=True)
class SyntheticSet:
    """A condensed set, ready to train on.

    Attributes:
        images: N×C×H×W float32 in normalised space, (x − mean) / std for x in 0 … 1; never clamped.
        labels: N int64, ascending.
        class_names: K of them.
        mean, std: per channel.
        recipe: how it was made.
        digest: SHA-256 of the content; of a `part`, derived from the whole set's.
        reference: `name:version` in the store; of a `part`, in words.
        soft_labels: N×K float32, for each image a distribution over the classes; None where its label says it all.
        folder_options: for a set of an image folder, the options it was read with (`dsactl.load_dataset`).
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe
    digest: str
    reference: str
    soft_labels: Tensor | None = None
    folder_options: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.images.shape))
        return f"SyntheticSet({self.reference}, {shape}, @sha256:{self.digest[:12]})"

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return (self.images.shape[2], self.images.shape[3])

    @property
    def targets(self) -> Tensor:
        """What to train on: soft labels where the set has them, else labels; cross-entropy takes either."""
        return self.labels if self.soft_labels is None else self.soft_labels

    @property
    def strategy(self) -> Strategy:
        """The kinds of augmentation to train with; empty for a set that was made without."""
        return self.recipe.strategy

    def to(self, device: torch.device | str) -> "SyntheticSet":
        """The same set on another device."""
        soft = None if self.soft_labels is None else self.soft_labels.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), soft_labels=soft)

    def part(self, places: Tensor) -> "SyntheticSet":
        """Some of its images, as a set of its own: what is measured on them is not recorded as the whole set's.

        Its digest is derived from this set's and the places, its reference says what it is a part of.

        Args:
            places: n int64, ascending, so that labels are as well.
        """
        known = f"{self.digest}, images {places.tolist()}"
        return replace(
            self,
            images=self.images[places],
            labels=self.labels[places],
            digest=hashlib.sha256(known.encode()).hexdigest(),
            reference=f"{len(places)} images of {self.reference}",
            soft_labels=None if self.soft_labels is None else self.soft_labels[places],
        )

    def normalise(self, pixels: Tensor) -> Tensor:
        """Bring other images into the set's space.

        Args:
            pixels: N×C×H×W, uint8 or floats in 0 … 1.
        """
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / 255
        return (pixels - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def pixels(self) -> Tensor:
        """The images as pixels, 0 … 1 where they are ordinary ones; not clipped."""
        return self.images * self._column(self.std, self.images) + self._column(self.mean, self.images)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device).view(1, -1, 1, 1)

    def batches(self, epochs: int = 1, *, batch_size: int = 256, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented batches: what a network should be trained on.

        Each batch has one freshly drawn kind of the set's augmentation, with parameters drawn per image.

        Args:
            epochs: passes over the set; the paper's protocol has 1000.
            batch_size: images per batch.
            seed: of shuffles and augmentation.

        Yields:
            Images B×C×H×W and labels B (soft ones B×K where the set has them), on the set's device.
        """
        source = generator(seed, "batches")
        for _ in range(epochs):
            order = torch.randperm(len(self), generator=source).to(self.images.device)
            for chosen in torch.split(order, batch_size):
                yield (
                    augment(self.images[chosen], draw(self.strategy, len(chosen), self.size, source)),
                    self.targets[chosen],
                )


def load(reference: str, store: registry.Store | None = None) -> SyntheticSet:
    """A set of the store, or one that comes with the program, checked against its digests, on the CPU.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the default one if not given.

    Raises:
        dsactl.Error: it is not there, or damaged.
    """
    return from_store(*find(reference, store or registry.Store()))


def from_store(store: registry.Reader, stored: registry.StoredSet) -> SyntheticSet:
    """The set that a store's entry stands for, checked against its digests, on the CPU."""
    tensors = store.tensors(stored)
    info = stored.manifest.dataset
    return SyntheticSet(
        torch.from_numpy(tensors["images"]),
        torch.from_numpy(tensors["labels"]),
        tuple(info.class_names),
        tuple(info.mean),
        tuple(info.std),
        Recipe.from_dict(stored.manifest.recipe),
        stored.digest,
        stored.reference,
        torch.from_numpy(tensors["soft_labels"]) if "soft_labels" in tensors else None,
        folder_options(stored.manifest.provenance),
    )
