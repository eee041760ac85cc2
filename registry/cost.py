"""What a set costs to store: numbers and bytes, by which sets of one dataset can be compared.

Only what networks are trained on counts: images as they are stored, and soft labels. Hard labels do not, since the
images are sorted by class; nor does the manifest.

Shapes: N stored images, C, H, W, K classes, F tiles along a side of a stored image (formation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.index import Entry
from registry.manifest import Manifest

if TYPE_CHECKING:
    from registry.tensors import Array

FLOAT32 = 4
"""Bytes of a number."""

_TOLERANCE = 4 * 2.0**-23
"""Above the rounding, in pixels of 0 … 1, of mean, deviation and normalised pixels in float32: 3·2⁻²³ at most."""
_AT_ONCE = 500  # images that are in memory as float64


@dataclass(frozen=True)
class Cost:
    """The cost of a set.

    Attributes:
        numbers: of the images, N·C·H·W.
        image_bytes: of the images in float32: 4·N·C·H·W. In 8 bits they have as many bytes as numbers.
        soft_label_bytes: 4·N·K; 0 for hard labels.
        decoded_images: number of images to train on, F²·N.
    """

    numbers: int
    image_bytes: int
    soft_label_bytes: int
    decoded_images: int

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "Cost":
        """Return the cost of the set that a manifest describes."""
        shape, classes = manifest.tensors["images"].shape, len(manifest.dataset.class_names)
        return cls._of(shape, classes if manifest.has_soft_labels else 0, manifest.formation)

    @classmethod
    def of_entry(cls, entry: Entry) -> "Cost":
        """Return the cost of the set that a list of a store has."""
        return cls._of(entry.shape, entry.classes if entry.soft_labels else 0, entry.formation)

    @classmethod
    def _of(cls, shape: Sequence[int], soft_labels: int, formation: int) -> "Cost":
        count, channels, height, width = shape
        numbers = count * channels * height * width
        return cls(numbers, FLOAT32 * numbers, FLOAT32 * count * soft_labels, formation**2 * count)


def fit_in_8_bits(images_NCHW: "Array", mean: Sequence[float], std: Sequence[float]) -> bool:
    """Return whether 8-bit pixels lose nothing of normalised images.

    That is so if every pixel x·std + mean is one of 0/255, 1/255, …, 255/255 within the rounding of float32.

    Args:
        images_NCHW: float32, finite, in normalised space.
        mean, std: of normalised space, per channel.
    """
    import numpy as np  # slow to import, and not needed for lists of sets

    scale, shift = (np.array(values, np.float64).reshape(1, -1, 1, 1) for values in (std, mean))
    for start in range(0, len(images_NCHW), _AT_ONCE):
        pixels_NCHW = images_NCHW[start : start + _AT_ONCE] * scale + shift
        levels_NCHW = np.rint(pixels_NCHW * 255).clip(0, 255).astype(np.uint8)
        if np.abs(levels_NCHW / 255 - pixels_NCHW).max() > _TOLERANCE:
            return False
    return True
