import pickle

import pytest
import torch
from reference import TENSORS, VALUES
from torch import Generator, Tensor

from dsactl.augmentation import transforms as augmentation
from dsactl.augmentation.dc import augment_for_dc
from dsactl.augmentation.strategy import KINDS, default_strategy, parse_strategy
from dsactl.augmentation.transforms import (
    TRANSFORMATIONS,
    Color,
    Crop,
    Cutout,
    Flip,
    Rotate,
    Scale,
    Transformation,
    augment,
    draw,
)
from dsactl.errors import UnknownNameError, UsageError


def golden_transformation(kind: str, values: dict[str, float]) -> Transformation:
    def entry(name: str) -> Tensor:
        return torch.tensor([values[name]])

    match kind:
        case "color":
            return Color(entry("brightness_added"), entry("saturation_factor"), entry("contrast_factor"))
        case "crop":
            return Crop(entry("shift_rows"), entry("shift_columns"))
        case "cutout":
            return Cutout(entry("centre_row"), entry("centre_column"))
        case "flip":
            return Flip(entry("flip"))
        case "scale":
            return Scale(entry("sx"), entry("sy"))
        case _:
            return Rotate(entry("angle_degrees"))


@pytest.mark.parametrize("case", VALUES["augment"])
def test_transformations_match_the_authors_program(case: str) -> None:
    omega = golden_transformation(case.split("-")[0], VALUES["augment"][case])
    torch.testing.assert_close(omega(TENSORS["augment-input"]), TENSORS[f"augment-{case}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 3, 12, 9), (4, 1, 8, 8)])
def test_per_image_parameters_are_the_shared_ones_image_by_image(kind: str, shape: tuple[int, ...]) -> None:
    source = Generator().manual_seed(1)
    images = torch.randn(shape, generator=source)
    omega = TRANSFORMATIONS[kind].draw(shape[0], shape[2:], source)
    together = omega(images)
    for index in range(shape[0]):
        alone = type(omega)(*(values[index : index + 1] for values in vars(omega).values()))
        torch.testing.assert_close(together[index : index + 1], alone(images[index : index + 1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2])
def test_transformations_are_differentiable_in_the_images(kind: str, count: int) -> None:
    """Compare autograd with finite differences, in float64."""
    source = Generator().manual_seed(3)
    images = torch.randn(2, 2, 6, 5, generator=source, dtype=torch.float64, requires_grad=True)
    omega = TRANSFORMATIONS[kind].draw(count, (6, 5), source)
    assert torch.autograd.gradcheck(omega, (images,))


@pytest.mark.parametrize("kind", [Scale, Rotate])
@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (2, 1, 6, 9)])
def test_sampling_by_a_matrix_is_sampling_on_the_grid(kind: type, shape: tuple[int, ...]) -> None:
    """Check the sampling that CUDA uses for reproducible gradients, in float64 on the CPU."""
    source = Generator().manual_seed(9)
    images = torch.randn(shape, generator=source, dtype=torch.float64, requires_grad=True)
    omega = kind.draw(1, shape[2:], source)
    by_grid = omega(images)
    by_matrix = augmentation._sample_by_matrix(images, omega.matrices().to(images))
    torch.testing.assert_close(by_matrix, by_grid)
    weights = torch.randn(shape, generator=source, dtype=torch.float64)
    slopes = [torch.autograd.grad((result * weights).sum(), images)[0] for result in (by_grid, by_matrix)]
    torch.testing.assert_close(slopes[0], slopes[1])


def test_crop_and_cutout_against_loops_over_pixels() -> None:
    source = Generator().manual_seed(4)
    images = torch.randn(40, 2, 7, 10, generator=source)
    crop, cutout = Crop.draw(40, (7, 10), source), Cutout.draw(40, (7, 10), source)
    cropped, cut = torch.zeros_like(images), images.clone()
    for n in range(40):
        for i in range(7):
            for j in range(10):
                si, sj = i + int(crop.rows_P[n]), j + int(crop.columns_P[n])
                if 0 <= si < 7 and 0 <= sj < 10:
                    cropped[n, :, i, j] = images[n, :, si, sj]
                # int(7 · 0.5 + 0.5) = 4 rows, int(10 · 0.5 + 0.5) = 5 columns.
                top, left = int(cutout.centre_row_P[n]) - 2, int(cutout.centre_column_P[n]) - 2
                if top <= i < top + 4 and left <= j < left + 5:
                    cut[n, :, i, j] = 0
    assert torch.equal(crop(images), cropped)
    assert torch.equal(cutout(images), cut)


def test_draws_cover_the_published_ranges() -> None:
    source, count = Generator().manual_seed(5), 20000
    color = Color.draw(count, (32, 32), source)
    for values, low, high in (
        (color.brightness_P, -0.5, 0.5),
        (color.saturation_P, 0, 2),
        (color.contrast_P, 0.5, 1.5),
        (Scale.draw(count, (32, 32), source).x_P, 1 / 1.2, 1.2),
        (Rotate.draw(count, (32, 32), source).degrees_P, -15, 15),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    scale = Scale.draw(count, (32, 32), source)
    assert abs(torch.corrcoef(torch.stack([scale.x_P, scale.y_P]))[0, 1]) < 0.03
    assert Flip.draw(count, (32, 32), source).mirror_P.float().mean() == pytest.approx(0.5, abs=0.02)
    for side, shift, last in ((28, 4, 28), (32, 4, 32), (8, 1, 8), (9, 1, 8)):
        assert set(Crop.draw(count, (side, 32), source).rows_P.tolist()) == set(range(-shift, shift + 1))
        # The cutout's side is 14, 16, 4 and 5: an odd one has its centre in 0 … side - 1.
        assert set(Cutout.draw(count, (32, side), source).centre_column_P.tolist()) == set(range(last + 1))


def test_kinds_are_drawn_uniformly_and_reproducibly() -> None:
    source = Generator().manual_seed(6)
    drawn = [type(draw(KINDS, 1, (8, 8), source)) for _ in range(6000)]
    for kind in KINDS:
        assert drawn.count(TRANSFORMATIONS[kind]) == pytest.approx(1000, abs=120)
    first, again = (draw(KINDS, 4, (8, 8), Generator().manual_seed(7)) for _ in range(2))
    assert type(first) is type(again)
    assert all(torch.equal(vars(first)[name], vars(again)[name]) for name in vars(first))
    assert {type(draw(("crop", "flip"), 1, (8, 8), source)) for _ in range(50)} == {Crop, Flip}


def test_no_strategy_changes_nothing() -> None:
    images = torch.randn(2, 1, 8, 8, generator=Generator().manual_seed(0))
    assert draw((), 1, (8, 8), Generator()) is None
    assert augment(images, None) is images


def test_strategies_are_read_as_people_write_them() -> None:
    assert parse_strategy("color_crop_cutout_flip_scale_rotate") == KINDS
    assert parse_strategy("Rotate, colour crop") == ("color", "crop", "rotate")
    assert parse_strategy("none") == ()
    assert default_strategy(mirrored=True) == KINDS
    assert default_strategy(mirrored=False) == ("color", "crop", "cutout", "scale", "rotate")
    for text in ("color_crop_rotate", "none"):
        strategy = parse_strategy(text)
        assert str(strategy) == f"{strategy}" == text
        assert pickle.loads(pickle.dumps(strategy)) == strategy
    with pytest.raises(UnknownNameError, match="Did you mean 'rotate'"):
        parse_strategy("rotat")
    with pytest.raises(UsageError, match="empty"):
        parse_strategy(" ")


def test_unequal_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Crop(torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long))


def test_the_augmentation_of_dc_moves_scales_and_turns() -> None:
    """Each image has undergone one of the three transformations, with its fill value."""
    source = Generator().manual_seed(8)
    images = torch.full((300, 1, 16, 16), 2.0)
    images[:, :, 8, 8] = 5.0
    moved = augment_for_dc(images, source)
    assert moved.shape == images.shape
    mean = images.mean()
    corners = torch.stack([moved[:, 0, i, j] for i in (0, -1) for j in (0, -1)])
    # Crop and rotation fill with the mean; a shrinking scale fills with zeros.
    assert ((corners - mean).abs() < 1e-4).any()
    assert (corners.abs() < 1e-4).any()
    # A crop by whole pixels preserves the bright pixel and moves it by at most 4.
    whole = (moved - 5).abs() < 1e-3
    places = whole.nonzero()[:, 2:]
    assert len(places) > 60
    assert (places - 8).abs().max() == 4
    assert torch.equal(augment_for_dc(images, Generator().manual_seed(8)), moved)
