import io

import numpy as np
import torch
from PIL import Image

from dsactl.picture import grid_png


def draw(pixels: torch.Tensor, classes: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(grid_png(pixels, classes))))


def test_a_row_per_class_enlarged_and_clipped() -> None:
    pixels = torch.linspace(-0.5, 1.5, 6 * 8 * 8).view(6, 1, 8, 8)
    picture = draw(pixels, 2)
    side = 48  # 8 pixels, enlarged by 6
    assert picture.shape == (2 * (side + 2) + 2, 3 * (side + 2) + 2)
    for index in range(6):
        top, left = 2 + index // 3 * (side + 2), 2 + index % 3 * (side + 2)
        tile = picture[top : top + side : 6, left : left + side : 6]
        expected = (pixels[index, 0].clamp(0, 1) * 255).round().byte().numpy()
        assert (tile == expected).all()


def test_one_image_per_class_stands_side_by_side() -> None:
    pixels = torch.arange(12).view(12, 1, 1, 1).expand(12, 1, 60, 50) / 255
    picture = draw(pixels, 12)
    assert picture.shape == (2 * 62 + 2, 10 * 52 + 2)
    assert [int(picture[10, 2 + 52 * column]) for column in range(10)] == list(range(10))
    assert [int(picture[72, 2 + 52 * column]) for column in range(3)] == [10, 11, 255]
    assert draw(pixels[:3], 3).shape == (62 + 2, 3 * 52 + 2)


def test_colour_and_long_rows() -> None:
    pixels = torch.zeros(120, 3, 60, 50)
    pixels[:60, 2] = 1
    picture = draw(pixels, 2)
    assert picture.shape == (2 * 62 + 2, 50 * 52 + 2, 3)
    assert picture[5, 5].tolist() == [0, 0, 255]
    assert picture[70, 5].tolist() == [0, 0, 0]
