"""Formation against torch's interpolation, and sets that have it from making to evaluation."""

from typing import Any

import numpy as np
import pytest
import torch
from reference import small_dataset
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import dsactl
import registry
from dsactl.errors import UsageError
from dsactl.methods.gradient_matching.condense import condense, initial
from dsactl.parametrisation.formation import Formation, check_formation, parametrisation
from dsactl.recipes.recipe import Recipe, Request

SHAPES = [(2, 8, 12), (3, 12, 9), (4, 8, 8)]


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("factor", "height", "width"), SHAPES)
def test_tiles_are_enlarged_as_torch_does(factor: int, height: int, width: int) -> None:
    stored = images(3, height, width)
    h, w = height // factor, width // factor
    tiles = [
        stored[n : n + 1, :, i * h : (i + 1) * h, j * w : (j + 1) * w]
        for n in range(3)
        for i in range(factor)
        for j in range(factor)
    ]
    whole = [functional.interpolate(tile, (height, width), mode="bilinear", align_corners=False) for tile in tiles]
    torch.testing.assert_close(Formation(factor).decode(stored), torch.cat(whole), atol=1e-14, rtol=0)


def test_a_tile_of_four_pixels_by_hand() -> None:
    """Points of the larger image lie a quarter of a pixel beside those of the smaller one."""
    stored = torch.zeros(1, 1, 4, 4)
    stored[0, 0, :2, :2] = torch.tensor([[0.0, 4.0], [8.0, 12.0]])
    first = Formation(2).decode(stored)[0, 0]
    assert first.tolist() == [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]


@pytest.mark.parametrize(("factor", "height", "width"), SHAPES)
def test_the_gradient_is_the_adjoint_of_decoding(factor: int, height: int, width: int) -> None:
    stored, seen = images(2, height, width).requires_grad_(), images(2 * factor**2, height, width) + 1
    inner = (Formation(factor).decode(stored) * seen).sum()
    (adjoint,) = torch.autograd.grad(inner, stored)
    torch.testing.assert_close((adjoint * stored).sum(), inner)


def test_formation_1_is_the_identity() -> None:
    stored = images(2, 5, 7)
    plain = parametrisation(1)
    assert plain.decode(stored) is stored
    assert plain.encode(stored) is stored


def test_constant_images_stay_as_they_are() -> None:
    many = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 6, 6)
    torch.testing.assert_close(Formation(2).decode(Formation(2).encode(many)), many)


def test_images_are_shrunk_by_averaging() -> None:
    """Tile (i, j) of stored image n is image 4n + 2i + j, shrunk."""
    many = images(8, 6, 6)
    stored = Formation(2).encode(many)
    assert stored.shape == (2, 2, 6, 6)
    for n, i, j in np.ndindex(2, 2, 2):
        tile = stored[n, :, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        one = many[4 * n + 2 * i + j]
        mean = torch.stack([one[:, a::2, b::2] for a, b in np.ndindex(2, 2)]).mean(0)
        torch.testing.assert_close(tile, mean)


class CountsCopies(TorchDispatchMode):
    """Counts the copies to another device or type."""

    copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.copies += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_nothing_is_copied_after_the_first_decoding() -> None:
    """While a CUDA graph is captured, nothing may be copied to the device."""
    stored = images(2, 15, 10).float()
    first = Formation(5).decode(stored)
    with CountsCopies() as counted:
        again = Formation(5).decode(stored)
        assert counted.copies == 0
        stored.double()
    assert counted.copies == 1
    assert torch.equal(first, again)


def test_decoding_in_inference_mode_leaves_later_gradients() -> None:
    stored = images(1, 21, 14)
    with torch.inference_mode():
        Formation(7).decode(stored)
    stored.requires_grad_()
    (gradient,) = torch.autograd.grad(Formation(7).decode(stored).sum(), stored)
    assert gradient.shape == stored.shape
    assert not gradient.is_inference()


def test_labels_follow_the_images() -> None:
    labels, soft = torch.tensor([0, 1]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    assert Formation(2).decode_labels(labels).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert torch.equal(Formation(2).decode_labels(soft)[:5], soft[[0, 0, 0, 0, 1]])


def test_a_formation_must_divide_the_images() -> None:
    with pytest.raises(UsageError, match=r"`formation=3` does not divide images of 8×8") as refused:
        check_formation(3, (8, 8))
    assert refused.value.hint == "Use 1 or 2, or images of another size."
    with pytest.raises(UsageError, match=r"`formation=8` leaves tiles of one pixel of images of 8×8") as refused:
        check_formation(8, (8, 8))
    for fits in (1, 2, 4):
        check_formation(fits, (8, 8))


def recipe(**options: object) -> Recipe:
    asked = {"dataset": "small", "ipc": 1, "iterations": 2, "width": 8, "batch_real": 12, "precision": "float32"}
    return Request.parse(asked | options).resolve("small", "", (1, 8, 8), mirrored=True, precision="float32")


def test_formation_1_leaves_the_digest_and_the_values_of_a_recipe() -> None:
    assert recipe(formation=1) == recipe()
    assert "formation" not in recipe().to_dict()
    assert Recipe.from_dict(recipe(formation=2).to_dict()) == recipe(formation=2)
    assert recipe(formation=2).set_name == "small-dsa-convnet-width8-ipc1-formation2"


def test_gradient_matching_sees_decoded_images() -> None:
    """One step on stored images is the step on the decoded ones, whose gradient goes through the adjoint."""
    real = small_dataset()
    plain, tiled = (
        recipe(ipc=4, image_momentum=0.0, image_lr=1.0),
        recipe(formation=2, image_momentum=0.0, image_lr=1.0),
    )
    start = initial(real, tiled)
    decode = Formation(2).decode
    decoded_KJCHW = decode(start.images_KICHW.flatten(0, 1)).unflatten(0, (real.classes, 4))
    seen = next(iter(condense(real, plain, type(start)(0, 0, decoded_KJCHW, torch.zeros_like(decoded_KJCHW)))))
    step = next(iter(condense(real, tiled, start)))
    torch.testing.assert_close(step.distance_K, seen.distance_K)
    gradient_KJCHW = decoded_KJCHW - seen.images_KICHW
    stored = start.images_KICHW.flatten(0, 1).requires_grad_()
    (adjoint,) = torch.autograd.grad(decode(stored), stored, gradient_KJCHW.flatten(0, 1))
    moved = (start.images_KICHW - step.images_KICHW).flatten(0, 1)
    assert (moved - adjoint).norm() / adjoint.norm() < 1e-4


@pytest.mark.parametrize("method", ["random", "herding", "kcenter", "dd", "dm", "dc", "dsa", "idc", "dance"])
def test_a_set_is_made_loaded_and_evaluated_by_decoded_images(method: str) -> None:
    options: dict[str, dict[str, int]] = {
        "random": {},
        "herding": {"width": 8, "epochs": 1},
        "kcenter": {"width": 8, "epochs": 1},
        "idc": {"width": 8, "iterations": 1, "inner_steps": 2},
        "dance": {"width": 8, "iterations": 1, "expert_networks": 1, "expert_epochs": 1},
    }
    made = dsactl.condense(
        "digits", ipc=1, method=method, formation=2, **options.get(method, {"width": 8, "iterations": 1})
    )
    assert made.images.shape == (40, 1, 8, 8)
    assert made.labels.tolist() == [label for label in range(10) for _ in range(4)]
    stored = registry.Store().newest()
    assert stored.manifest.tensors["images"].shape == [10, 1, 8, 8]
    assert stored.manifest.recipe["formation"] == 2
    assert next(made.batches(batch_size=40))[0].shape == (40, 1, 8, 8)
    found = dsactl.evaluate(made, networks=1, epochs=2, network=dsactl.NetworkSpec("mlp"))
    assert found.paper is None


def test_a_stored_set_whose_formation_does_not_fit_is_refused() -> None:
    store = registry.Store()
    made = store.find(
        registry.parse_reference(dsactl.condense("digits", ipc=1, method="random", formation=2).reference)
    )
    odd = made.manifest.model_copy(update={"recipe": {**made.manifest.recipe, "formation": 3}})
    store.put(registry.parse_name("odd"), store.tensors(made), odd)
    with pytest.raises(dsactl.Error, match="`formation=3` does not divide images of 8×8 pixels"):
        dsactl.load("odd")


def test_random_tiles_are_shrunk_real_images() -> None:
    made = dsactl.condense("digits", ipc=1, method="random", formation=2)
    more = dsactl.condense("digits", ipc=4, method="random")
    torch.testing.assert_close(made.images, Formation(2).decode(Formation(2).encode(more.images)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "forgetting"}, "`formation` is not for method 'forgetting'"),
        ({"method": "ld"}, "`formation` is not for method 'ld'"),
        ({"formation": 3}, "`formation=3` does not divide images of 8×8"),
        ({"formation": 0}, "formation"),
        ({"ipc": 40, "method": "random"}, "fewer than"),
    ],
)
def test_what_cannot_have_a_formation_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(dsactl.Error, match=message):
        dsactl.condense("digits", **{"ipc": 1, "formation": 2, **options})
