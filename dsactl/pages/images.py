"""Images of a set for a page: sheets of one class each, as PNG files with transparent gaps, and thumbnails.

Shapes: N images, C channels, H, W; A = C + 1 channels, the last one for opacity.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from registry.pictures import CHANNELS, Floats, to_pixels, to_uint8

Bytes = npt.NDArray[np.uint8]

COLUMNS = 10
"""Images in a row of a sheet."""
ZOOMS = (1, 2, 4, 8, 16)
"""Factors by which a page shows images."""
_LARGE, _SMALL = 128, 64  # pixels of the larger side that the first zoom gives, of one image per class and of more
_THUMB, _THUMBS, _COLOURS = 20, (2, 5), 64  # side of a tile, rows and columns, colours of a thumbnail


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        source: data URI.
        width, height: in pixels.
    """

    source: str
    width: int
    height: int


def drawable(channels: int) -> bool:
    """Return whether images with so many channels can be drawn."""
    return channels in CHANNELS


def levels(images_NCHW: Floats, mean: list[float], std: list[float]) -> Bytes:
    """Convert normalised images to 8-bit pixels, N×H×W×C; values outside are clipped."""
    return to_uint8(to_pixels(images_NCHW, mean, std))[0]


def sheet(levels_NHWC: Bytes, beside_NHWC: Bytes | None = None, *, columns: int = COLUMNS) -> Picture:
    """Draw images in rows, at their own resolution.

    Args:
        levels_NHWC: grey or RGB.
        beside_NHWC: images to put at the right of each, in pairs; None for none.
        columns: images in a row; half as many pairs.
    """
    height, width = levels_NHWC.shape[1:3]
    gap = max(1, round(max(height, width) / 16))
    tiles_NHWA = _opaque(levels_NHWC)
    if beside_NHWC is not None:
        apart = np.zeros((len(tiles_NHWA), height, gap, tiles_NHWA.shape[3]), np.uint8)
        tiles_NHWA = np.concatenate([tiles_NHWA, apart, _opaque(beside_NHWC)], axis=2)
        gap, columns = 4 * gap, columns // 2
    return _picture(_arranged(tiles_NHWA, min(columns, len(tiles_NHWA)), gap))


def thumbnail(images_NCHW: Floats, labels_N: npt.NDArray[Any], mean: list[float], std: list[float]) -> Picture | None:
    """Draw the first image of up to ten classes; None if they cannot be drawn.

    Args:
        images_NCHW: normalised.
        labels_N: their classes.
        mean, std: of normalised space.
    """
    if not len(labels_N) or not drawable(images_NCHW.shape[1]):
        return None
    rows, columns = _THUMBS
    first_K = np.unique(labels_N, return_index=True)[1]
    first_K = first_K[np.linspace(0, len(first_K) - 1, min(rows * columns, len(first_K))).round().astype(int)]
    tiles = [_small(each_HWC) for each_HWC in levels(images_NCHW[first_K], mean, std)]
    whole = _arranged(_opaque(np.stack(tiles)), min(columns, len(tiles)), 1)
    picture = Image.fromarray(whole if whole.shape[2] == 4 else whole[..., [0, 0, 0, 1]], "RGBA")
    return _encoded(picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE))


def usual_zoom(height: int, width: int, ipc: int) -> int:
    """Return the factor by which images are shown at first.

    Args:
        height, width: of an image.
        ipc: the largest number of images of a class.
    """
    wanted = _LARGE if ipc == 1 else _SMALL
    return max(factor for factor in ZOOMS if factor == 1 or factor * max(height, width) <= wanted)


def _small(levels_HWC: Bytes) -> Bytes:
    """Return an image as a square tile of a thumbnail; RGB or grey."""
    grey = levels_HWC.shape[2] == 1
    image = Image.fromarray(levels_HWC[:, :, 0] if grey else levels_HWC)
    how = Image.Resampling.BOX if max(image.size) > _THUMB else Image.Resampling.NEAREST
    scaled = np.asarray(image.resize((_THUMB, _THUMB), how))
    return scaled[:, :, None] if grey else scaled


def _opaque(levels_NHWC: Bytes) -> Bytes:
    return np.concatenate([levels_NHWC, np.full((*levels_NHWC.shape[:3], 1), 255, np.uint8)], axis=3)


def _arranged(tiles_NHWA: Bytes, columns: int, gap: int) -> Bytes:
    count, height, width, channels = tiles_NHWA.shape
    rows = -(-count // columns)
    whole = np.zeros((rows * (height + gap), columns * (width + gap), channels), np.uint8)
    for index, tile_HWA in enumerate(tiles_NHWA):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        whole[top : top + height, left : left + width] = tile_HWA
    return whole[: whole.shape[0] - gap, : whole.shape[1] - gap]


def _picture(whole_HWA: Bytes) -> Picture:
    return _encoded(Image.fromarray(whole_HWA, "LA" if whole_HWA.shape[2] == 2 else "RGBA"))


def _encoded(picture: Image.Image) -> Picture:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return Picture(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", *picture.size)
