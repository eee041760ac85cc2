"""Draw a set as 8-bit pictures: each image as a PNG, or all in one, a row per class.

Shapes: N images, C channels, H, W.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import RegistryError

CHANNELS = (1, 3)
"""Channels that a picture can have: grey, or RGB."""

MINIMUM_SIDE = 48  # smaller images are enlarged by a whole factor, so that they can be seen
GAP = 2
BACKGROUND = 255
LONGEST_ROW = 50
CLASSES_IN_A_ROW = 10
LARGEST = 2**26  # pixels of a grid, above which it is enlarged less and its rows are cut

Floats = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]


def to_pixels(images_NCHW: Floats, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """Leave normalised space: x · std + mean per channel, 0 … 1 where they are ordinary pixels; not clipped."""
    column = (1, -1, 1, 1)
    return images_NCHW * np.array(std, np.float32).reshape(column) + np.array(mean, np.float32).reshape(column)


def to_uint8(pixels_NCHW: Floats) -> tuple[Bytes, int]:
    """Round pixels to 8 bits, and clip those that no rounding would bring into 0 … 255.

    Args:
        pixels_NCHW: finite, in 0 … 1; values outside are clipped.

    Returns:
        The pixels N×H×W×C, and how many values were clipped.
    """
    levels = np.rint(pixels_NCHW * np.float32(255))
    clipped = int(np.count_nonzero((levels < 0) | (levels > 255)))
    return np.ascontiguousarray(levels.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)), clipped


def png(pixels_HWC: Bytes) -> bytes:
    """A PNG file of one image: grey for one channel, RGB for three.

    Raises:
        RegistryError: it has another number of channels.
    """
    from PIL import Image

    channels = pixels_HWC.shape[2]
    if channels not in CHANNELS:
        raise RegistryError(
            f"Images of {channels} channels cannot be drawn.", "Export the numbers: --format npz or safetensors."
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC[:, :, 0] if channels == 1 else pixels_HWC).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def grid_png(pixels_NCHW: Floats, labels_N: npt.NDArray[np.integer[Any]], *, in_a_row: int = CLASSES_IN_A_ROW) -> bytes:
    """A PNG file of a whole set: a row per class, its images from left to right, the first 50 of them.

    Where every class has one image, the classes stand side by side.

    Args:
        pixels_NCHW: in 0 … 1; values outside are clipped.
        labels_N: the class of each; a class may have any number of images.
        in_a_row: how many classes stand side by side.

    Raises:
        RegistryError: the images have neither one channel nor three.
    """
    order = np.argsort(labels_N, kind="stable")
    classes, counts = np.unique(labels_N, return_counts=True)
    single, longest = bool(counts.max(initial=0) <= 1), min(int(counts.max(initial=1)), LONGEST_ROW)
    columns = min(len(classes), in_a_row) if single else longest
    rows = -(-len(classes) // columns) if single else len(classes)
    height, width = pixels_NCHW.shape[2:]
    columns = max(1, min(columns, LARGEST // max(1, rows * height * width)))
    places = _places(counts, columns, single=single)
    chosen = order[[index for index, _, _ in places]]
    enlarged = -(-MINIMUM_SIDE // max(1, min(height, width)))
    factor = max(1, min(enlarged, int((LARGEST / max(1, rows * columns * height * width)) ** 0.5)))
    tiles = to_uint8(pixels_NCHW[chosen])[0].repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = tiles.shape[1:3]
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, pixels_NCHW.shape[1])
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for tile, (_, row, column) in zip(tiles, places, strict=True):
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    return png(canvas)


def _places(counts: npt.NDArray[np.integer[Any]], columns: int, *, single: bool) -> list[tuple[int, int, int]]:
    """Index, row and column of each image that is drawn, of images sorted by class."""
    if single:
        return [(index, index // columns, index % columns) for index in range(len(counts))]
    starts = np.cumsum(counts) - counts
    return [
        (int(start) + column, row, column)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True))
        for column in range(min(int(count), columns))
    ]
