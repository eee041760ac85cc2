"""Drawing a set as 8-bit pictures: each image as a PNG, or all in one grid with a row per class.

Shapes: N images, C channels, H, W; of a grid: R rows, K columns, L lines.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from registry.errors import RegistryError

if TYPE_CHECKING:
    from PIL import Image

CHANNELS = (1, 3)
"""Supported numbers of channels: grey and RGB."""

MINIMUM_SIDE = 48  # smaller images are enlarged by an integer factor
GAP = 2
BACKGROUND = 255
MAX_COLUMNS = 50
CLASSES_PER_ROW = 10
MAX_GRID_PIXELS = 2**23  # a larger grid is reduced until it fits
_PIXELS_AT_ONCE = 2**16  # converted at a time

Floats = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]


def to_pixels(images_NCHW: Floats, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """Convert normalised images to pixels, x · std + mean per channel. The range is 0 … 1, but nothing is clipped."""
    column = (1, -1, 1, 1)
    return images_NCHW * np.array(std, np.float32).reshape(column) + np.array(mean, np.float32).reshape(column)


def to_uint8(pixels_NCHW: Floats) -> tuple[Bytes, int]:
    """Round pixels to 8 bits; clip those that are outside 0 … 255 after rounding.

    Args:
        pixels_NCHW: finite values; those outside 0 … 1 are clipped.

    Returns:
        The pixels N×H×W×C, and the number of clipped values.
    """
    levels = np.rint(pixels_NCHW * np.float32(255))
    clipped = int(np.count_nonzero((levels < 0) | (levels > 255)))
    return np.ascontiguousarray(levels.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)), clipped


def png(pixels_HWC: Bytes) -> bytes:
    """Return an image as a PNG file: grey for one channel, RGB for three.

    Raises:
        RegistryError: the image has another number of channels.
    """
    _check_channels(pixels_HWC.shape[2])
    return _encoded(_picture(pixels_HWC))


def _picture(pixels_HWC: Bytes) -> "Image.Image":
    from PIL import Image

    return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def _encoded(picture: "Image.Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _check_channels(channels: int) -> None:
    if channels not in CHANNELS:
        raise RegistryError(
            f"Images with {channels} channels cannot be drawn.",
            'Export the numbers: `form="npz"` or `form="safetensors"`.',
        )


def grid_png(
    images_NCHW: Floats,
    labels_N: npt.NDArray[np.integer[Any]],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    classes_per_row: int = CLASSES_PER_ROW,
) -> bytes:
    """Return a set as a PNG file: a row per class, with its first 50 images from left to right.

    If every class has one image, several classes share a row. The memory needed is that of a canvas of at most
    `MAX_GRID_PIXELS` pixels; the images are not copied.

    Args:
        images_NCHW: in normalised space; pixels in 0 … 1 with the default mean and std. Values outside are clipped.
        labels_N: the class of each image; a class may have any number of images.
        mean, std: of normalised space, per channel or for all channels.
        classes_per_row: number of classes in a row if every class has one image.

    Raises:
        RegistryError: the images have neither one channel nor three.
    """
    from PIL import Image

    channels, height, width = images_NCHW.shape[1:]
    _check_channels(channels)
    counts = np.unique(labels_N, return_counts=True)[1]
    single, longest = bool(counts.max(initial=0) <= 1), min(int(counts.max(initial=1)), MAX_COLUMNS)
    columns = max(1, min(len(counts), classes_per_row)) if single else longest
    wanted = _Grid(-(-len(counts) // columns) if single else len(counts), columns, height, width)
    grid = wanted.fitting(may_lose_columns=not single)
    indices_RK = _tile_indices(labels_N, counts, grid, single=single)
    tall, wide = grid.area
    picture = Image.new("L" if channels == 1 else "RGB", (wide, tall))
    at_once = max(1, _PIXELS_AT_ONCE // wide)
    for top in range(0, tall, at_once):
        lines_LWC = _lines(range(top, min(tall, top + at_once)), grid, indices_RK, images_NCHW, (mean, std))
        picture.paste(_picture(lines_LWC), (0, top))
    return _encoded(picture)


@dataclass(frozen=True)
class _Grid:
    """Layout of a grid of images.

    Attributes:
        rows, columns: number of tiles.
        height, width: size of an image.
        factor: integer by which an image is enlarged.
        step: stride at which the pixels of an image are sampled.
    """

    rows: int
    columns: int
    height: int
    width: int
    factor: int = 1
    step: int = 1

    @property
    def tile(self) -> tuple[int, int]:
        """Return the height and width of a drawn image."""
        return -(-self.height // self.step) * self.factor, -(-self.width // self.step) * self.factor

    @property
    def area(self) -> tuple[int, int]:
        """Return the height and width of the grid."""
        height, width = self.tile
        return self.rows * (height + GAP) + GAP, self.columns * (width + GAP) + GAP

    @property
    def _fits(self) -> bool:
        height, width = self.area
        return height * width <= MAX_GRID_PIXELS

    def fitting(self, *, may_lose_columns: bool) -> "_Grid":
        """Return a grid of at most `MAX_GRID_PIXELS`: reduce the factor, then columns, then resolution, then rows."""
        grid = replace(self, factor=max(1, -(-MINIMUM_SIDE // max(1, min(self.height, self.width)))))
        while not grid._fits and grid.factor > 1:
            grid = replace(grid, factor=grid.factor - 1)
        if not grid._fits and may_lose_columns:
            columns = (MAX_GRID_PIXELS // grid.area[0] - GAP) // (grid.tile[1] + GAP)
            grid = replace(grid, columns=max(1, min(grid.columns, columns)))
        while not grid._fits and max(grid.tile) > 1:
            grid = replace(grid, step=grid.step + 1)
        if not grid._fits:
            grid = replace(grid, rows=max(1, (MAX_GRID_PIXELS // grid.area[1] - GAP) // (grid.tile[0] + GAP)))
        return grid


_Indices = npt.NDArray[np.integer[Any]]


def _tile_indices(labels_N: _Indices, counts: _Indices, grid: _Grid, *, single: bool) -> _Indices:
    """Return the index of the image of each tile, R×K; −1 for empty tiles."""
    order = np.argsort(labels_N, kind="stable")
    indices_RK = np.full((grid.rows, grid.columns), -1)
    if single:
        indices_RK.flat[: len(order)] = order[: indices_RK.size]
        return indices_RK
    starts, across = np.cumsum(counts) - counts, np.arange(grid.columns)
    taken_RK = across < counts[: grid.rows, None]
    indices_RK[taken_RK] = order[(starts[: grid.rows, None] + across)[taken_RK]]
    return indices_RK


def _lines(
    lines: range,
    grid: _Grid,
    indices_RK: _Indices,
    images_NCHW: Floats,
    constants: tuple[Sequence[float], Sequence[float]],
) -> Bytes:
    """Return some lines of a grid, L×W×C, without a copy of all images."""
    height, width = grid.tile
    channels, columns = images_NCHW.shape[1], grid.columns
    canvas_LWC = np.full((len(lines), grid.area[1], channels), BACKGROUND, np.uint8)
    rows, inside = np.divmod(np.array(lines) - GAP, height + GAP)
    drawn = inside < height
    indices_LK, line = indices_RK[rows[drawn]], inside[drawn] // grid.factor * grid.step
    values_LKCW = images_NCHW[indices_LK, :, line[:, None], :: grid.step]
    flat = values_LKCW.reshape(indices_LK.size, channels, 1, width // grid.factor)
    levels_LKWC = to_uint8(to_pixels(flat, *constants))[0].repeat(grid.factor, axis=2)
    levels_LKWC = levels_LKWC.reshape(*indices_LK.shape, width, channels)
    levels_LKWC[indices_LK < 0] = BACKGROUND
    tiles = canvas_LWC[:, GAP:].reshape(len(lines), columns, width + GAP, channels)
    tiles[drawn, :, :width] = levels_LKWC
    return canvas_LWC
