import pytest
import torch
from torch import Tensor

from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.packed import WIDTH, Augmenter, apply, apply_composed, pack
from dsactl.augmentation.strategy import KINDS, Strategy
from dsactl.augmentation.transforms import TRANSFORMATIONS, augment, draw
from dsactl.engine.random import generator

IMAGES = torch.randn(5, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def with_gradient(function, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    images = images.clone().requires_grad_()
    result = function(images)
    weights = torch.linspace(-1, 1, result.numel()).view_as(result)
    return result.detach(), torch.autograd.grad((result * weights).sum(), images)[0]


@pytest.mark.parametrize("kind", TRANSFORMATIONS)
@pytest.mark.parametrize("count", [1, 5])
def test_a_packed_transformation_is_the_transformation(kind: str, count: int) -> None:
    for seed in range(5):
        omega = draw((kind,), count, (8, 10), generator(seed, "omega"))
        packed = pack(omega)
        assert packed.shape == (count, WIDTH)
        expected, gradient = with_gradient(lambda images, omega=omega: augment(images, omega), IMAGES)
        result, its = with_gradient(lambda images, packed=packed: apply(images, packed, KINDS), IMAGES)
        assert torch.equal(result, expected)
        torch.testing.assert_close(its, gradient)


@pytest.mark.parametrize("kinds", [KINDS, ("color", "crop"), ("cutout",)])
@pytest.mark.parametrize("count", [1, 5])
def test_a_packed_composition_is_the_composition(kinds: tuple[str, ...], count: int) -> None:
    strategy = Strategy(kinds)
    for seed in range(5):
        omega = draw_composed(strategy, count, (8, 10), generator(seed, "omega"))
        packed = pack(omega)
        expected, gradient = with_gradient(lambda images, omega=omega: augment(images, omega), IMAGES)
        result, its = with_gradient(
            lambda images, packed=packed, strategy=strategy: apply_composed(images, packed, strategy), IMAGES
        )
        assert torch.equal(result, expected)
        torch.testing.assert_close(its, gradient)


def test_no_transformation_is_the_image() -> None:
    assert torch.equal(apply(IMAGES, pack(None), ()), IMAGES)
    assert torch.equal(apply(IMAGES, pack(None), KINDS), IMAGES)
    assert torch.equal(apply_composed(IMAGES, pack(None), Strategy(KINDS)), IMAGES)
    assert torch.equal(
        apply_composed(IMAGES, pack(draw_composed(Strategy(), 1, (8, 10), generator(0, "omega"))), Strategy()), IMAGES
    )


def test_batches_of_several_draws_can_be_joined() -> None:
    augmenter = Augmenter(KINDS, (8, 10))
    packed = torch.cat([augmenter.draw(5, generator(seed, "batch")) for seed in range(12)])
    together = augmenter.apply(IMAGES.repeat(12, 1, 1, 1), packed)
    alone = [augmenter(IMAGES, generator(seed, "batch")) for seed in range(12)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)
    assert len({row[0].item() for row in packed}) > 3, "several kinds were drawn"
