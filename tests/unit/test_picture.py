import io

import numpy as np
import torch
from PIL import Image

from dsactl.picture import grid_png


def test_a_row_per_class_enlarged_and_clipped() -> None:
    pixels = torch.linspace(-0.5, 1.5, 6 * 8 * 8).view(6, 1, 8, 8)
    picture = np.asarray(Image.open(io.BytesIO(grid_png(pixels, rows=2))))
    side = 32  # 8 pixels, enlarged by 4
    assert picture.shape == (2 * (side + 2) + 2, 3 * (side + 2) + 2)
    for index in range(6):
        top, left = 2 + index // 3 * (side + 2), 2 + index % 3 * (side + 2)
        tile = picture[top : top + side : 4, left : left + side : 4]
        expected = (pixels[index, 0].clamp(0, 1) * 255).round().byte().numpy()
        assert (tile == expected).all()


def test_colour_and_long_rows() -> None:
    pixels = torch.zeros(120, 3, 40, 32)
    pixels[:, 2] = 1
    picture = np.asarray(Image.open(io.BytesIO(grid_png(pixels, rows=2))))
    assert picture.shape == (2 * 42 + 2, 50 * 34 + 2, 3)
    assert picture[5, 5].tolist() == [0, 0, 255]
