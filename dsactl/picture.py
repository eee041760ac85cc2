"""Draw a set as one picture (Figure 2): a row per class, its images from left to right."""

import io

import numpy as np
from PIL import Image
from torch import Tensor

MINIMUM_SIDE = 48  # smaller images are enlarged by a whole factor, so that they can be seen
GAP = 2
BACKGROUND = 255
LONGEST_ROW = 50
CLASSES_IN_A_ROW = 10


def grid_png(pixels_NCHW: Tensor, classes: int) -> bytes:
    """A PNG of a set that is sorted by class.

    With one image per class, the classes stand side by side, ten in a row.

    Args:
        pixels_NCHW: in 0 … 1; values outside are clipped.
        classes: K; N must be a multiple of it. Of more than 50 images per class, the first 50 are drawn.

    Returns:
        The file's bytes: grey for one channel, RGB for three.
    """
    count, channels, height, width = pixels_NCHW.shape
    ipc = count // classes
    columns = CLASSES_IN_A_ROW if ipc == 1 else min(ipc, LONGEST_ROW)
    drawn = pixels_NCHW.view(classes, ipc, channels, height, width)[:, :columns].flatten(0, 1)
    factor = max(1, -(-MINIMUM_SIDE // min(height, width)))
    tiles = (drawn.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width, rows = height * factor, width * factor, -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    shape = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    buffer = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
