"""Draw a set as 8-bit pictures: each image as a PNG, or all in one, a row per class.

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
"""Channels that a picture can have: grey, or RGB."""

MINIMUM_SIDE = 48  # smaller images are enlarged by a whole factor, so that they can be seen
GAP = 2
BACKGROUND = 255
LONGEST_ROW = 50
CLASSES_IN_A_ROW = 10
LARGEST = 2**23  # pixels of a grid, which has less of everything until it fits
_PIXELS_AT_ONCE = 2**16  # that are converted into it

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
            f"Images of {channels} channels cannot be drawn.",
            'Export the numbers: `form="npz"` or `form="safetensors"`.',
        )


def grid_png(
    images_NCHW: Floats,
    labels_N: npt.NDArray[np.integer[Any]],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    in_a_row: int = CLASSES_IN_A_ROW,
) -> bytes:
    """A PNG file of a whole set: a row per class, its images from left to right, the first 50 of them.

    Where every class has one image, the classes stand side by side. What takes memory is a canvas of at most
    `LARGEST` pixels, not a copy of the images.

    Args:
        images_NCHW: in normalised space; as they stand, they are pixels in 0 … 1. Values outside are clipped.
        labels_N: the class of each; a class may have any number of images.
        mean, std: of normalised space, for each channel or for all.
        in_a_row: how many classes stand side by side.

    Raises:
        RegistryError: the images have neither one channel nor three.
    """
    from PIL import Image

    channels, height, width = images_NCHW.shape[1:]
    _check_channels(channels)
    counts = np.unique(labels_N, return_counts=True)[1]
    single, longest = bool(counts.max(initial=0) <= 1), min(int(counts.max(initial=1)), LONGEST_ROW)
    columns = max(1, min(len(counts), in_a_row)) if single else longest
    wanted = _Grid(-(-len(counts) // columns) if single else len(counts), columns, height, width)
    grid = wanted.fitting(may_lose_columns=not single)
    places_RK = _places(labels_N, counts, grid, single=single)
    tall, wide = grid.area
    picture = Image.new("L" if channels == 1 else "RGB", (wide, tall))
    at_once = max(1, _PIXELS_AT_ONCE // wide)
    for top in range(0, tall, at_once):
        lines_LWC = _lines(range(top, min(tall, top + at_once)), grid, places_RK, images_NCHW, (mean, std))
        picture.paste(_picture(lines_LWC), (0, top))
    return _encoded(picture)


@dataclass(frozen=True)
class _Grid:
    """How a grid is laid out.

    Attributes:
        rows, columns: of tiles.
        height, width: of an image.
        factor: by which it is enlarged.
        step: of so many of its pixels, one is drawn.
    """

    rows: int
    columns: int
    height: int
    width: int
    factor: int = 1
    step: int = 1

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of an image as it is drawn."""
        return -(-self.height // self.step) * self.factor, -(-self.width // self.step) * self.factor

    @property
    def area(self) -> tuple[int, int]:
        """Height and width of the whole."""
        height, width = self.tile
        return self.rows * (height + GAP) + GAP, self.columns * (width + GAP) + GAP

    @property
    def _fits(self) -> bool:
        height, width = self.area
        return height * width <= LARGEST

    def fitting(self, *, may_lose_columns: bool) -> "_Grid":
        """The same in at most `LARGEST` pixels: less enlarged, then with fewer columns, then coarser, then cut."""
        grid = replace(self, factor=max(1, -(-MINIMUM_SIDE // max(1, min(self.height, self.width)))))
        while not grid._fits and grid.factor > 1:
            grid = replace(grid, factor=grid.factor - 1)
        if not grid._fits and may_lose_columns:
            columns = (LARGEST // grid.area[0] - GAP) // (grid.tile[1] + GAP)
            grid = replace(grid, columns=max(1, min(grid.columns, columns)))
        while not grid._fits and max(grid.tile) > 1:
            grid = replace(grid, step=grid.step + 1)
        if not grid._fits:
            grid = replace(grid, rows=max(1, (LARGEST // grid.area[1] - GAP) // (grid.tile[0] + GAP)))
        return grid


_Indices = npt.NDArray[np.integer[Any]]


def _places(labels_N: _Indices, counts: _Indices, grid: _Grid, *, single: bool) -> _Indices:
    """Which image stands where, rows × columns; −1 where none does."""
    order = np.argsort(labels_N, kind="stable")
    places_RK = np.full((grid.rows, grid.columns), -1)
    if single:
        places_RK.flat[: len(order)] = order[: places_RK.size]
        return places_RK
    starts, across = np.cumsum(counts) - counts, np.arange(grid.columns)
    taken_RK = across < counts[: grid.rows, None]
    places_RK[taken_RK] = order[(starts[: grid.rows, None] + across)[taken_RK]]
    return places_RK


def _lines(
    lines: range,
    grid: _Grid,
    places_RK: _Indices,
    images_NCHW: Floats,
    constants: tuple[Sequence[float], Sequence[float]],
) -> Bytes:
    """Some lines of a grid, L×W×C: never is there a copy of all images."""
    height, width = grid.tile
    channels, columns = images_NCHW.shape[1], grid.columns
    canvas_LWC = np.full((len(lines), grid.area[1], channels), BACKGROUND, np.uint8)
    rows, inside = np.divmod(np.array(lines) - GAP, height + GAP)
    drawn = inside < height
    places_LK, line = places_RK[rows[drawn]], inside[drawn] // grid.factor * grid.step
    values_LKCW = images_NCHW[places_LK, :, line[:, None], :: grid.step]
    flat = values_LKCW.reshape(places_LK.size, channels, 1, width // grid.factor)
    levels_LKWC = to_uint8(to_pixels(flat, *constants))[0].repeat(grid.factor, axis=2)
    levels_LKWC = levels_LKWC.reshape(*places_LK.shape, width, channels)
    levels_LKWC[places_LK < 0] = BACKGROUND
    tiles = canvas_LWC[:, GAP:].reshape(len(lines), columns, width + GAP, channels)
    tiles[drawn, :, :width] = levels_LKWC
    return canvas_LWC
