"""Methods, augmentations, evaluation, experts and studies on each device, beside the same on a CPU.

A GPU's sums have another order, so that its numbers are near the CPU's; its own bits are the same every time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import ON_EACH_DEVICE
from sessions import Stopping
from torch import Tensor

import dsactl
import registry
from dsactl.augmentation.composed import ComposedAugmenter, draw_composed
from dsactl.augmentation.cutmix import CutMix
from dsactl.augmentation.dc import augment_for_dc
from dsactl.augmentation.packed import Augmenter, apply, apply_composed, pack
from dsactl.augmentation.transforms import TRANSFORMATIONS, augment, draw
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.networks.catalogue import NetworkSpec
from dsactl.parametrisation.formation import Formation
from dsactl.synthetic.synthetic_set import SyntheticSet

SMALL = {"width": 8, "precision": "float32"}
POOL = {"expert_networks": 2, "expert_epochs": 1, "batch_real": 12}
FEW = {"iterations": 3, "inner_steps": 3, "network_epochs": 2, "batch_real": 12}
LEARNED: dict[str, dict[str, Any]] = {
    "dsa": {"method": "dsa", "ipc": 2, **FEW},
    "dsa, one image": {"method": "dsa", "ipc": 1, "iterations": 4, "batch_real": 12},
    "dsa, formation": {"method": "dsa", "ipc": 1, "formation": 2, **FEW},
    "dsa, batch norm": {"method": "dsa", "ipc": 2, "norm": "batch", **FEW},
    "dsa, more than the classes have": {"method": "dsa", "ipc": 2, **FEW, "batch_real": 256},
    "dc": {"method": "dc", "ipc": 2, **FEW},
    "idc": {"method": "idc", "ipc": 1, "formation": 2, **FEW, "image_lr": 0.05},
    "dm": {"method": "dm", "ipc": 2, "iterations": 4, "batch_real": 12},
    "dm, formation": {"method": "dm", "ipc": 1, "formation": 2, "iterations": 4, "batch_real": 12},
    "dance": {"method": "dance", "ipc": 1, "formation": 2, "iterations": 4, **POOL},
    "dd": {"method": "dd", "ipc": 2, "iterations": 3, "inner_steps": 2},
}
CHOSEN = ("random", "herding", "kcenter", "forgetting")


@pytest.fixture
def stores(tmp_path: Path) -> list[registry.Store]:
    """Two stores, in which nothing is found that was made in the other one."""
    return [registry.Store(tmp_path / name) for name in ("one", "two")]


def start_of(made: SyntheticSet) -> Tensor:
    """The images that a run of a method began with, as they are stored."""
    settings = made.recipe.settings
    images = initial_images(dsactl.load_dataset("digits"), made.recipe, str(settings.option("init"))).flatten(0, 1)
    return images if made.recipe.formation == 1 else Formation(made.recipe.formation).decode(images)


def make_pools(stores: Sequence[registry.Store]) -> None:
    """Train the experts of DANCE on a CPU for both stores, so that both have the same."""
    for store in stores:
        pool = {"networks": 2, "epochs": 1, "network": NetworkSpec(width=8), "precision": "float32"}
        dsactl.experts("digits", **pool, device="cpu", store=store)


@ON_EACH_DEVICE
@pytest.mark.parametrize("name", LEARNED)
def test_learned_images_go_the_same_way(name: str, device: str, stores: list[registry.Store]) -> None:
    options = {**SMALL, **LEARNED[name]}
    if options["method"] == "dance":
        make_pools(stores)
    here = dsactl.condense("digits", **options, device="cpu", store=stores[0])
    there = dsactl.condense("digits", **options, device=device, store=stores[1])
    moved = (here.images - start_of(here)).norm()
    assert moved > 0.01
    assert (there.images - here.images).norm() / moved < 0.02
    again = dsactl.condense("digits", **options, device=device, store=stores[1], fresh=True)
    assert torch.equal(again.images, there.images), "the same bits"


@ON_EACH_DEVICE
@pytest.mark.parametrize("name", ["dsa", "idc", "dm"])
def test_bfloat16_goes_about_the_same_way(name: str, device: str, stores: list[registry.Store]) -> None:
    options = {**SMALL, **LEARNED[name]}
    here = dsactl.condense("digits", **options, device="cpu", store=stores[0])
    there = dsactl.condense("digits", **{**options, "precision": "bfloat16"}, device=device, store=stores[1])
    ways = [(made.images - start_of(made)).flatten() for made in (here, there)]
    assert torch.cosine_similarity(*ways, dim=0) > 0.8


@ON_EACH_DEVICE
@pytest.mark.parametrize("name", ["dsa", "idc", "dm", "dance", "dd"])
def test_an_interrupted_run_goes_on_with_the_same_bits(name: str, device: str, stores: list[registry.Store]) -> None:
    options = {**SMALL, **LEARNED[name], "device": device}
    if options["method"] == "dance":
        make_pools(stores)
    whole = dsactl.condense("digits", **options, store=stores[0])
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense("digits", **options, store=stores[1], progress=Stopping(2))
    resumed = dsactl.condense("digits", **options, store=stores[1])
    assert torch.equal(resumed.images, whole.images)


@ON_EACH_DEVICE
def test_learned_labels_go_the_same_way(device: str, stores: list[registry.Store]) -> None:
    options = {**SMALL, "method": "ld", "ipc": 2, "iterations": 3}
    here = dsactl.condense("digits", **options, device="cpu", store=stores[0])
    there = dsactl.condense("digits", **options, device=device, store=stores[1])
    assert here.soft_labels is not None
    assert there.soft_labels is not None
    moved = (here.soft_labels - here.soft_labels.max(0).values).norm()
    assert (there.soft_labels - here.soft_labels).norm() / moved < 0.01


@ON_EACH_DEVICE
@pytest.mark.parametrize("method", CHOSEN)
def test_chosen_images_are_real_ones(method: str, device: str, stores: list[registry.Store]) -> None:
    options: dict[str, Any] = SMALL | {"epochs": 1} if method != "random" else {}
    made, again = (
        dsactl.condense("digits", ipc=2, method=method, **options, device=device, store=store) for store in stores
    )
    assert torch.equal(made.images, again.images)
    digits = dsactl.load_dataset("digits")
    train, real = digits.train, digits.normalise(digits.train.images_NCHW)
    for image, label in zip(made.images, made.labels, strict=True):
        of_class = real[train.labels_N == label]
        assert (of_class - image).abs().amax((1, 2, 3)).min() < 1e-5


@ON_EACH_DEVICE
@pytest.mark.parametrize("protocol", ["dsa", "dc", "idc"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_evaluation_by_each_protocol(protocol: str, norm: str, device: str, stores: list[registry.Store]) -> None:
    """Networks are trained side by side with instance norm, one by one with batch norm."""
    means = []
    for store, where in zip(stores, ("cpu", device), strict=True):
        made = dsactl.condense("digits", ipc=10, method="random", device="cpu", store=store)
        options = {"networks": 3, "epochs": 40, "network": NetworkSpec(width=16, norm=norm), "precision": "float32"}
        means.append(dsactl.evaluate(made, protocol, **options, device=where, store=store).mean)
    assert means[0] > 30, "better than guessing"
    assert means[1] == pytest.approx(means[0], abs=6)


@ON_EACH_DEVICE
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_twenty_networks_side_by_side_are_like_one_alone(
    precision: str, device: str, stores: list[registry.Store]
) -> None:
    found = []
    for store, networks in zip(stores, (20, 1), strict=True):
        made = dsactl.condense("digits", ipc=5, method="random", device="cpu", store=store)
        options = {"networks": networks, "epochs": 40, "network": NetworkSpec("mlp"), "precision": precision}
        found.append(dsactl.evaluate(made, **options, device=device, store=store))
    assert len(set(found[0].accuracies)) > 5, "each has its own weights and batches"
    assert found[1].accuracies[0] == pytest.approx(found[0].accuracies[0], abs=4)


@ON_EACH_DEVICE
def test_a_soft_labelled_set_is_evaluated_alike(device: str, stores: list[registry.Store]) -> None:
    """The pool is trained and the labels are computed on the device too."""
    labels, means, weights = [], [], []
    for store, where in zip(stores, ("cpu", device), strict=True):
        pool = dsactl.experts(
            "digits", networks=2, epochs=2, network=NetworkSpec(width=8), precision="float32", device=where, store=store
        )
        weights.append(torch.cat([each.flatten() for each in pool.network(1, 2)[0].values()]))
        made = dsactl.condense("digits", ipc=5, method="random", device="cpu", store=store)
        soft = dsactl.relabel(made, experts=pool, teacher="mean", device=where, store=store)
        labels.append(soft.soft_labels)
        options = {"networks": 2, "epochs": 40, "network": NetworkSpec(width=16), "precision": "float32"}
        means.append(dsactl.evaluate(soft, **options, device=where, store=store).mean)
    assert (weights[1] - weights[0]).norm() / weights[0].norm() < 0.02
    torch.testing.assert_close(labels[1], labels[0], rtol=0, atol=0.03)
    assert means[1] == pytest.approx(means[0], abs=6)


@ON_EACH_DEVICE
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", TRANSFORMATIONS)
def test_each_transformation_and_its_gradient(kind: str, count: int, device: str) -> None:
    """One that all images share, and one for each; drawn objects, and the same as rows of numbers."""
    images = torch.rand(4, 3, 12, 12, generator=generator(0, "images"))
    towards = torch.rand(4, 3, 12, 12, generator=generator(0, "towards"))
    omega = draw((kind,), count, (12, 12), generator(0, "omega"))  # type: ignore[arg-type]
    results = []
    for where, packed in [("cpu", False), (device, False), (device, True)]:
        own = images.to(where, copy=True).requires_grad_()
        changed = apply(own, pack(omega).to(where), (kind,)) if packed else augment(own, omega)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad((changed * towards.to(where)).sum(), own)
        results.append((changed.detach().cpu(), gradient.cpu()))
    for result in results[1:]:
        for ours, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@ON_EACH_DEVICE
def test_compositions_cutmix_and_formations(device: str) -> None:
    images = torch.rand(6, 3, 12, 12, generator=generator(0, "images"))
    kinds = ("color", "crop", "cutout", "flip", "scale", "rotate")
    omega = draw_composed(kinds, 6, (12, 12), generator(0, "omega"))
    mix = CutMix.draw(1.0, 6, (12, 12), generator(0, "mix"))
    targets = torch.eye(6)
    there = images.to(device)
    pairs = [
        (augment(there, omega), augment(images, omega)),
        (apply_composed(there, pack(omega).to(device), kinds), augment(images, omega)),
        (mix.images(there), mix.images(images)),
        (mix.targets(targets.to(device)), mix.targets(targets)),
        (augment_for_dc(there, generator(0, "dc")), augment_for_dc(images, generator(0, "dc"))),
        (Formation(2).decode(there), Formation(2).decode(images)),
        (Formation(2).encode(there[:4]), Formation(2).encode(images[:4])),
    ]
    pairs += [
        (augmenter(there, generator(0, "batch")), augmenter(images, generator(0, "batch")))
        for augmenter in (Augmenter(kinds, (12, 12)), ComposedAugmenter(kinds, (12, 12)))
    ]
    for ours, expected in pairs:
        assert ours.device.type == device
        torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-4)


@ON_EACH_DEVICE
def test_continual_learning_and_architecture_search(device: str, stores: list[registry.Store], tmp_path: Path) -> None:
    learned, chosen = [], []
    for number, (store, where) in enumerate(zip(stores, ("cpu", device), strict=True)):
        out: dict[str, Any] = {"out": tmp_path / f"continual-{number}", "device": where, "store": store}
        course = {"splits": 2, "memory": ["random"], "ipc": 2, "distillation": "on", "repeats": 1}
        result = dsactl.continual(["digits"], **course, steps=12, balance_steps=4, precision="float32", **out)
        learned.append(result.values["lines"][0]["means"][-1]["mean"])
        out["out"] = tmp_path / f"nas-{number}"
        search = {"where": "width=32,depth<=1", "sample": 2, "proxies": ["random"], "repeats": 1}
        found = dsactl.nas("digits", **search, epochs=10, whole_epochs=2, **out)
        chosen.append(found.values["rows"][0]["accuracies"][0])
    assert learned[1] == pytest.approx(learned[0], abs=10)
    assert chosen[1] == pytest.approx(chosen[0], abs=10)
