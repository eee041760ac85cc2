import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import registry
from registry import pictures
from registry.pictures import grid_png, png, to_pixels, to_uint8


def draw(pixels: np.ndarray, labels: list[int] | np.ndarray, *constants: list[float]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(grid_png(pixels, np.asarray(labels), *constants))))


def test_a_row_per_class_enlarged_and_clipped() -> None:
    pixels = np.linspace(-0.5, 1.5, 6 * 8 * 8, dtype=np.float32).reshape(6, 1, 8, 8)
    picture = draw(pixels, [0, 0, 0, 1, 1, 1])
    side = 48  # 8 pixels, enlarged by 6
    assert picture.shape == (2 * (side + 2) + 2, 3 * (side + 2) + 2)
    for index in range(6):
        top, left = 2 + index // 3 * (side + 2), 2 + index % 3 * (side + 2)
        tile = picture[top : top + side : 6, left : left + side : 6]
        expected = torch.from_numpy(pixels)[index, 0].clamp(0, 1).mul(255).round().byte().numpy()
        assert (tile == expected).all()


def test_one_image_per_class_stands_side_by_side() -> None:
    pixels = np.broadcast_to(np.arange(12, dtype=np.float32).reshape(12, 1, 1, 1) / 255, (12, 1, 60, 50))
    picture = draw(pixels, range(12))
    assert picture.shape == (2 * 62 + 2, 10 * 52 + 2)
    assert [int(picture[10, 2 + 52 * column]) for column in range(10)] == list(range(10))
    assert [int(picture[72, 2 + 52 * column]) for column in range(3)] == [10, 11, 255]
    assert draw(pixels[:3], range(3)).shape == (62 + 2, 3 * 52 + 2)


def test_classes_of_different_sizes_have_rows_of_different_lengths() -> None:
    pixels = np.broadcast_to(np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1) / 255, (6, 1, 50, 50))
    # Unsorted, and class 1 has none.
    picture = draw(pixels, [2, 0, 3, 2, 2, 0])
    assert picture.shape == (3 * 52 + 2, 3 * 52 + 2)
    rows = [[int(picture[3 + 52 * row, 3 + 52 * column]) for column in range(3)] for row in range(3)]
    assert rows == [[1, 5, 255], [0, 3, 4], [2, 255, 255]]


def test_colour_and_long_rows() -> None:
    pixels = np.zeros((120, 3, 60, 50), np.float32)
    pixels[:60, 2] = 1
    picture = draw(pixels, np.arange(2).repeat(60))
    assert picture.shape == (2 * 62 + 2, 50 * 52 + 2, 3)
    assert picture[5, 5].tolist() == [0, 0, 255]
    assert picture[70, 5].tolist() == [0, 0, 0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [3, 37])
def test_normalised_images_are_drawn_as_their_pixels(channels: int, count: int) -> None:
    source = np.random.default_rng(0)
    images, labels = source.normal(size=(count, channels, 9, 7)).astype(np.float32), source.integers(0, 5, count)
    mean, std = [0.5, 0.4, 0.3][:channels], [0.2, 0.3, 0.1][:channels]
    picture = draw(images, labels, mean, std)
    assert (picture == draw(to_pixels(images, mean, std), labels)).all()
    levels, _ = to_uint8(to_pixels(images, mean, std))
    expected = levels[np.flatnonzero(labels == labels.min())[0]]
    assert (picture[2 : 2 + 9 * 7 : 7, 2 : 2 + 7 * 7 : 7].reshape(expected.shape) == expected).all()


@pytest.mark.parametrize(
    ("limit", "shape", "step"),
    [
        (300_000, (20 * 22 + 2, 40 * 12 + 2), 1),  # enlarged less
        (40_000, (20 * 22 + 2, 7 * 12 + 2), 1),  # fewer columns
        (3_000, (20 * 12 + 2, 7 + 2), 2),  # coarser
        (100, (6 * 3 + 2, 3 + 2), 20),  # cut
    ],
)
def test_a_grid_does_not_grow_without_bounds(
    monkeypatch: pytest.MonkeyPatch, limit: int, shape: tuple[int, int], step: int
) -> None:
    monkeypatch.setattr(pictures, "MAX_GRID_PIXELS", limit)
    images = np.random.default_rng(0).random((800, 1, 20, 10), np.float32)
    picture = draw(images, np.arange(20).repeat(40))
    assert picture.size <= limit
    assert picture.shape == shape
    levels, _ = to_uint8(images[:1, :, ::step, ::step])
    assert (picture[2 : 2 + levels.shape[1], 2 : 2 + levels.shape[2]] == levels[0, :, :, 0]).all()


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 12),
    st.booleans(),
    st.integers(200, 9000),
)
def test_every_grid_fits(images: int, classes: int, height: int, width: int, colour: bool, limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "MAX_GRID_PIXELS", limit)
        pixels = np.zeros((images, 3 if colour else 1, height, width), np.float32)
        drawn = draw(pixels, np.arange(images) % classes)
    assert drawn.shape[0] * drawn.shape[1] <= limit
    assert (drawn == 0).any()


def test_rounding_is_no_clipping() -> None:
    pixels = np.array([-0.01, -0.0019, -1e-7, 0.5, 1 + 1e-6, 1.0019, 1.01, 3], np.float32).reshape(1, 2, 2, 2)
    levels, clipped = to_uint8(pixels)
    assert clipped == 3
    assert levels.shape == (1, 2, 2, 2)
    assert levels[0].transpose(2, 0, 1).ravel().tolist() == [0, 0, 0, 128, 255, 255, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image(channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 4, channels), np.uint8)
    picture = Image.open(io.BytesIO(png(levels)))
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    assert (np.asarray(picture).reshape(5, 4, channels) == levels).all()


def test_two_channels_cannot_be_drawn() -> None:
    with pytest.raises(registry.RegistryError, match=r'2 channels cannot be drawn.*`form="npz"` or'):
        png(np.zeros((4, 4, 2), np.uint8))


def test_normalised_space_is_left_per_channel() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.1]
    expected = np.stack([images[:, c] * std[c] + mean[c] for c in range(3)], axis=1)
    np.testing.assert_allclose(to_pixels(images, mean, std), expected, rtol=1e-6, atol=1e-6)
