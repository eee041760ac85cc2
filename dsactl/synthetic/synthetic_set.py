"""SyntheticSet: the images, the labels, and everything needed to train on them.

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
from dsactl.data.paths import folder_options
from dsactl.engine.arguments import check_seed, check_whole, check_word
from dsactl.engine.random import generator
from dsactl.engine.session import opened
from dsactl.errors import UsageError
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.bundled import find
from dsactl.synthetic.decoding import decoded
from dsactl.synthetic.protocols_of_sets import protocol_for
from dsactl.synthetic.training_batches import augmentation_by, batches_by


@dataclass(frozen=True)
class SyntheticSet:
    """A condensed set, ready to train on.

    Attributes:
        images: N×C×H×W float32 in normalised space, (x − mean) / std for x in 0 … 1; never clamped. Of a set with
            formation F they are the decoded images, F² for each stored one.
        labels: N int64, ascending.
        class_names: K of them.
        mean, std: per channel.
        recipe: the recipe that made the set.
        digest: SHA-256 of the content; for a `part`, derived from the whole set's.
        reference: `name:version` in the store; for a `part`, a description.
        soft_labels: N×K float32, a distribution over the classes for each image; None if the labels are hard.
        folder_options: for a set of an image folder, the options that it was read with (`dsactl.load_dataset`).

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.load("bundled/mnist-dsa-convnet-ipc1:1")
        >>> len(condensed), condensed.size, condensed.strategy
        (10, (28, 28), ('color', 'crop', 'cutout', 'scale', 'rotate'))
        >>> images, targets = next(condensed.batches(batch_size=4))
        >>> images.shape, targets.shape
        (torch.Size([4, 1, 28, 28]), torch.Size([4]))
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
        """Height and width, (H, W)."""
        return (self.images.shape[2], self.images.shape[3])

    @property
    def targets(self) -> Tensor:
        """Training targets: soft labels if the set has them, else labels; cross-entropy accepts either."""
        return self.labels if self.soft_labels is None else self.soft_labels

    @property
    def strategy(self) -> Strategy:
        """Kinds of augmentation for training; empty for a set made without augmentation."""
        return self.recipe.strategy

    def to(self, device: torch.device | str) -> "SyntheticSet":
        """Return the same set on another device.

        Raises:
            UsageError: torch knows no such device, or cannot use it.
        """
        try:
            labels = self.labels.to(device)
        except (RuntimeError, TypeError, AssertionError) as error:
            raise UsageError(f"`device` cannot be {device!r}: {str(error).splitlines()[0]}") from None
        soft = None if self.soft_labels is None else self.soft_labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels, soft_labels=soft)

    def part(self, places: Tensor) -> "SyntheticSet":
        """Return some of the images as a set of its own, whose evaluations are not recorded as the whole set's.

        Its digest is derived from this set's and the indices; its reference names the whole set.

        Args:
            places: indices, n int64, ascending, so that the labels are as well.

        Raises:
            UsageError: they are not ascending, or some are not of this set; or they are no such tensor.
        """
        if not isinstance(places, Tensor) or places.dim() != 1 or places.dtype != torch.int64:
            raise UsageError("`places` must be a tensor of int64 with one dimension.", "Use `torch.tensor([0, 1])`.")
        if len(places) and (places[0] < 0 or places[-1] >= len(self) or bool((places.diff() <= 0).any())):
            raise UsageError(f"`places` must be ascending indices of 0 … {len(self) - 1}.")
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
        """Normalise other images with the set's constants.

        Args:
            pixels: N×C×H×W, uint8 or floats in 0 … 1.

        Raises:
            UsageError: another type or shape.
        """
        if not isinstance(pixels, Tensor):
            raise UsageError(f"`pixels` must be a torch.Tensor, not {type(pixels).__name__}.")
        channels, shape = len(self.mean), "×".join(map(str, pixels.shape))
        if pixels.dim() != 4 or pixels.shape[1] != channels:
            raise UsageError(f"`pixels` must be N×{channels}×H×W, not {shape or 'one number'}.")
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise UsageError(f"`pixels` must be uint8 or floats in 0 … 1, not {pixels.dtype}.")
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / 255
        return (pixels - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def pixels(self) -> Tensor:
        """Return the images as pixels, 0 … 1 for ordinary images; not clipped."""
        return self.images * self._column(self.std, self.images) + self._column(self.mean, self.images)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device).view(1, -1, 1, 1)

    def batches(
        self, epochs: int = 1, *, batch_size: int | None = None, seed: int = 0, protocol: str | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return shuffled, augmented batches, as a network is trained on them when the set is evaluated.

        The random numbers are others than those of an evaluation.

        Args:
            epochs: passes over the set; the protocols have 1000.
            batch_size: images per batch; None for the protocol's.
            seed: seed of shuffles and augmentation; default 0 (ours).
            protocol: name of the evaluation protocol, "dsa", "dc", "idc" or "mtt"; None for the one that the set was
                made for.

        Returns:
            Images B×C×H×W and labels B, batch after batch, on the set's device. Labels are B×K if the set has soft
            ones, and by a protocol with CutMix, which mixes them: cross-entropy takes either.

        Raises:
            UsageError: an argument is no whole number, out of range, or no name of a protocol.
        """
        check_whole("epochs", epochs)
        check_seed(seed)
        if protocol is not None:
            check_word("protocol", protocol)
        named = protocol_for(self.recipe, protocol)
        if batch_size is not None:
            check_whole("batch_size", batch_size)
            named = replace(named, batch=int(batch_size))
        augment, source = augmentation_by(named, self.recipe, self.size)[1], generator(int(seed), "batches")
        return batches_by(named, augment, self.images, self.targets, len(self.class_names), int(epochs), source)


def load(reference: str, store: registry.Store | None = None) -> SyntheticSet:
    """Load a set of the store or a bundled one, verified against its digests, on the CPU.

    Args:
        reference: `name`, `name:version`, `name:tag` or `@sha256:…`.
        store: the default store if not given.

    Raises:
        dsactl.Error: the set does not exist, is a pool of experts, or is damaged.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.load("bundled/mnist-dsa-convnet-ipc1:1")
        >>> condensed.reference
        'bundled/mnist-dsa-convnet-ipc1:1'
        >>> dsactl.load(f"@sha256:{condensed.digest}").recipe.ipc
        1
    """
    return from_store(*find(reference, opened(store)))


def from_store(store: registry.Reader, stored: registry.StoredSet) -> SyntheticSet:
    """Read a stored set, verified against its digests, on the CPU.

    Raises:
        registry.RegistryError: it is a pool of experts, or damaged.
    """
    stored.check_kind(registry.SET)
    tensors = {name: torch.from_numpy(array) for name, array in store.tensors(stored).items()}
    info, recipe = stored.manifest.dataset, Recipe.from_dict(stored.manifest.recipe)
    tensors = decoded(tensors, recipe)
    return SyntheticSet(
        tensors["images"],
        tensors["labels"],
        tuple(info.class_names),
        tuple(info.mean),
        tuple(info.std),
        recipe,
        stored.digest,
        stored.reference,
        tensors.get("soft_labels"),
        folder_options(stored.manifest.provenance),
    )
