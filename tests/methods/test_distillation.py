"""Dataset and Label Distillation from `condense` to the evaluation, on the digits."""

import pytest
import torch
from sessions import Stopping
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

import dsactl
import registry
from dsactl.data.dataset import Dataset
from dsactl.networks.build import initial_state, structure
from dsactl.recipes.recipe import Recipe

SMALL = {"ipc": 1, "width": 16, "precision": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return dsactl.load_dataset("digits")


def loss_after_training(digits: Dataset, recipe: Recipe, images: Tensor, targets: Tensor, rates: list[float]) -> float:
    """Of every second training image, after plain SGD of three networks with these step sizes."""
    network = structure(recipe.network, 1, (8, 8), 10)
    real, labels = digits.normalise(digits.train.images_NCHW[::2]), digits.train.labels_N[::2]
    losses = []
    for seed in range(3):
        state, _ = initial_state(network, torch.Generator().manual_seed(seed))
        for rate in rates:
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in state.items()}
            loss = F.cross_entropy(functional_call(network, leaves, (images,)), targets)
            slope = torch.autograd.grad(loss, leaves.values())
            state = {name: leaf.detach() - rate * g for (name, leaf), g in zip(leaves.items(), slope, strict=True)}
        losses.append(F.cross_entropy(functional_call(network, state, (real,)), labels).item())
    return sum(losses) / 3


def test_dd_learns_images_and_step_sizes(digits: Dataset) -> None:
    options = {**SMALL, "method": "dd", "inner_steps": 8, "network_lr": 0.5}
    made = dsactl.condense("digits", iterations=40, **options)
    assert made.reference == "digits-dd-convnet-width16-ipc1:1"
    assert made.images.shape == (10, 1, 8, 8)
    assert made.labels.tolist() == list(range(10))
    assert made.soft_labels is None
    store = registry.Store()
    rates = store.find(registry.parse_reference(made.reference)).manifest.provenance["step sizes"]
    assert len(rates) == 8
    assert all(rate > 0 and rate != made.recipe.settings.network_lr for rate in rates)
    start = dsactl.condense("digits", iterations=1, image_lr=1e-9, **options)
    before = loss_after_training(digits, made.recipe, start.images, start.labels, [made.recipe.settings.network_lr] * 8)
    after = loss_after_training(digits, made.recipe, made.images, made.labels, rates)
    assert after < 0.9 * before
    assert dsactl.evaluate(made, networks=2, epochs=3, device="cpu").n == 2


def test_ld_learns_labels_of_real_images(digits: Dataset) -> None:
    made = dsactl.condense("digits", method="ld", iterations=200, **SMALL)
    assert made.reference == "digits-ld-convnet-width16-ipc1:1"
    real = digits.normalise(digits.train.images_NCHW)
    for label, image in enumerate(made.images):
        places = (real == image).flatten(1).all(1)
        assert label in digits.train.labels_N[places].tolist()
    soft = made.soft_labels
    assert soft.shape == (10, 10)
    torch.testing.assert_close(soft.sum(1), torch.ones(10))
    assert made.labels.tolist() == list(range(10))
    begun = 0.9 * torch.eye(10) + 0.01
    assert (soft - begun).abs().max() > 0.02
    rates = [made.recipe.settings.network_lr] * 100
    before = loss_after_training(digits, made.recipe, made.images, begun, rates)
    assert loss_after_training(digits, made.recipe, made.images, soft, rates) < before
    assert dsactl.evaluate(made, networks=2, epochs=3, device="cpu").n == 2


@pytest.mark.parametrize("method", ["dd", "ld"])
def test_an_interrupted_run_goes_on_to_the_same_set(method: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    options = {**SMALL, "method": method, "iterations": 4, "inner_steps": 2}
    whole = dsactl.condense("digits", **options, store=registry.Store(tmp_path_factory.mktemp("whole")))
    progress = Stopping(2)
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense("digits", **options, progress=progress)
    again = dsactl.condense("digits", **options, progress=progress)
    assert progress.seen[-2:] == [3, 4]
    assert progress.seen.count(1) == 1
    assert again.digest == whole.digest


@pytest.mark.slow
def test_dd_beats_random_images() -> None:
    how = {"networks": 3, "epochs": 100, "device": "cpu"}
    distilled, drawn = (
        dsactl.evaluate(dsactl.condense("digits", ipc=1, method=method, device="cpu", **options), **how)
        for method, options in (("dd", {"iterations": 80}), ("random", {}))
    )
    assert distilled.mean > drawn.mean + 5
