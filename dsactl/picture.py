"""Draw a set as one picture (Figure 2): a row per class, its images from left to right."""

import io

import numpy as np
from PIL import Image
from torch import Tensor

MINIMUM_SIDE = 32  # smaller images are enlarged by a whole factor, so that they can be seen
GAP = 2
BACKGROUND = 255
LONGEST_ROW = 50


def grid_png(pixels_NCHW: Tensor, rows: int) -> bytes:
    """A PNG of a set that is sorted by class.

    Args:
        pixels_NCHW: in 0 … 1; values outside are clipped.
        rows: K; N must be a multiple of it. Of more than 50 images per class, the first 50 are drawn.

    Returns:
        The file's bytes: grey for one channel, RGB for three.
    """
    count, channels, height, width = pixels_NCHW.shape
    columns = min(count // rows, LONGEST_ROW)
    factor = max(1, -(-MINIMUM_SIDE // min(height, width)))
    pixels = (pixels_NCHW.clamp(0, 1) * 255).round().byte().cpu().numpy()
    pixels = pixels.reshape(rows, count // rows, channels, height, width)
    pixels = pixels.repeat(factor, axis=3).repeat(factor, axis=4).transpose(0, 1, 3, 4, 2)
    height, width = height * factor, width * factor
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
            canvas[top : top + height, left : left + width] = pixels[row, column]
    buffer = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas[:, :, :3]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
