"""DANCE against distribution matching, a slow version of its steps, finite differences, and pools that do not fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from compilers import needs_compiler
from reference import small_dataset
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

import dsactl
from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.strategy import KINDS, Strategy, parse_strategy
from dsactl.augmentation.transforms import augment
from dsactl.data.dataset import Dataset
from dsactl.engine.mode import Mode
from dsactl.engine.random import generator
from dsactl.expert_pools.pool import ExpertPool
from dsactl.methods.dance import method
from dsactl.methods.dance.calibration import Calibration
from dsactl.methods.dance.method import dance
from dsactl.methods.dance.networks import Networks, blend
from dsactl.methods.dance.settings import Dance
from dsactl.methods.distribution_matching.method import distribution_matching
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.work import CondensedSet, MethodContext
from dsactl.networks.build import feature_extractor, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.experts import untrained_experts

DATASET = small_dataset()
EVERY_KIND = " ".join(KINDS)
UNIT = replace(DATASET, mean=(0.0,), std=(1.0,))  # normalised images are pixels
FEW: dict[str, Any] = {"method": "dance", "width": 8, "precision": "float32", "batch_real": 12}
EXPERTS = {"expert_networks": 2, "expert_epochs": 1}


def recipe(dataset: Dataset = DATASET, **options: object) -> Recipe:
    values: dict[str, Any] = {"dataset": "small", "ipc": 2, "iterations": 3, **FEW, **EXPERTS, **options}
    return Request.parse(values).resolve(
        "small", dataset.train.checksum(), (1, 8, 8), mirrored=True, precision="float32"
    )


def pool_of(own: Recipe, dataset: Dataset = DATASET) -> ExpertPool:
    """Two experts whose trained weights are those of other seeds."""
    one = untrained_experts(own, dataset)
    assert one is not None
    source = torch.Generator().manual_seed(5)
    network = structure(one.spec, 1, dataset.size, dataset.classes)
    tensors = {
        f"{index}.{epoch}.{name}": tensor
        for index in range(2)
        for epoch in (0, 1)
        for part in initial_state(network, source)
        for name, tensor in part.items()
    }
    return replace(one, recipe=replace(one.recipe, networks=2), tensors=tensors, digest="ab" * 32)


def steps_of(function: Any, dataset: Dataset, own: Recipe, experts: ExpertPool | None = None) -> list[Tensor]:
    """The images after each step."""
    kept = []

    class Context(MethodContext):
        def keep(self, _done: int, _total: int, tensors: Mapping[str, Tensor], **_: object) -> None:
            kept.append(tensors["images"])

    made: CondensedSet = function(Context(dataset, own, experts=experts))
    assert torch.equal(made.images_NCHW, kept[-1].flatten(0, 1))
    return kept


@pytest.mark.parametrize("formation", [1, 2])
def test_on_fresh_networks_without_calibration_it_is_distribution_matching(formation: int) -> None:
    same = {
        "ipc": 2,
        "batch_real": 12,
        "iterations": 4,
        "width": 8,
        "formation": formation,
        "strategy": EVERY_KIND,
    }
    alike = {"blend": "fresh", "calibration": 0, "clamp": "off", "image_momentum": 0.5}
    alike |= {"matching_strategy": EVERY_KIND, "combination": "one"}
    ours = steps_of(dance, UNIT, recipe(UNIT, **same, **alike, image_lr=1.0))
    theirs = steps_of(distribution_matching, UNIT, replace_method(recipe(UNIT, **same), "dm"))
    assert len(ours) == len(theirs) == 4
    assert all(map(torch.equal, ours, theirs))


def replace_method(own: Recipe, method: str) -> Recipe:
    """The recipe of another method, with its defaults and the same real batch and iterations."""
    common = {"batch_real": own.settings.option("batch_real"), "iterations": own.settings.option("iterations")}
    request = Request.parse({"dataset": "small", "ipc": own.ipc, "method": method, **common})
    return replace(own, method=method, settings=request.method_settings())


def slow_dance(real: Dataset, own: Recipe, pool: ExpertPool) -> list[Tensor]:
    """DANCE's two steps with torch's SGD for each, one class after the other, from dsactl's draws."""
    settings, stored = own.settings_as(Dance), parametrisation(own.formation)
    images, made = initial_images(real, own, settings.init), []
    (mean,), (std,) = real.mean, real.std
    assert own.network is not None

    def omega(purpose: str, k: int, label: int) -> Any:
        return draw_composed(
            parse_strategy(settings.matching_strategy), 1, real.size, generator(own.seed, purpose, k, label)
        )

    for k in range(settings.iterations):
        index = int(torch.randint(2, (1,), generator=generator(own.seed, "expert", k)))
        share = torch.rand(1, generator=generator(own.seed, "blend", k)).item()
        (initial, _), (trained, _) = pool.network(index, 0), pool.network(index, 1)
        between = {name: share * initial[name] + (1 - share) * trained[name] for name in initial}
        network = structure(own.network, 1, real.size, real.classes)
        extractor = feature_extractor(structure(own.network, 1, real.size, real.classes))
        features = {name: between[name] for name, _ in extractor.named_parameters()}
        for phase in ("match", "calibrate"):
            images = images.detach().requires_grad_()
            loss = torch.zeros(())
            for label in range(real.classes):
                decoded = stored.decode(images[label])
                if phase == "match":
                    ours = omega("transformation", k, label)
                    batch = real.draw(label, settings.batch_real, generator(own.seed, "real-batch", k, label))
                    goal = functional_call(extractor, features, (augment(batch, ours),)).flatten(1).mean(0)
                    found = functional_call(extractor, features, (augment(decoded, ours),)).flatten(1).mean(0)
                    loss = loss + (goal - found).square().sum()
                else:
                    logits = functional_call(
                        network, trained, (augment(decoded, omega("calibration-transformation", k, label)),)
                    )
                    loss = loss + functional.cross_entropy(logits, torch.full((len(logits),), label))
            loss.backward()
            assert images.grad is not None
            # lr counts for pixels: u = σ x + μ, so that du = lr · dL/du is dx = lr/σ² · dL/dx
            images = (images - settings.image_lr / std**2 * images.grad).detach()
        pixels = (images * std + mean).clamp(0, 1)
        images = (pixels - mean) / std
        made.append(images)
    return made


@pytest.mark.parametrize(
    "options", [{}, {"formation": 2, "ipc": 1}, {"matching_strategy": "flip color rotate"}], ids=str
)
def test_against_the_slow_version(options: dict[str, Any]) -> None:
    own = recipe(**options, image_lr=0.02)
    pool = pool_of(own)
    ours, theirs = steps_of(dance, DATASET, own, pool), slow_dance(DATASET, own, pool)
    start = initial_images(DATASET, own, "real")
    assert len(ours) == len(theirs) == 3
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert (one - other).norm() / (other - start).norm() < 2e-3, f"step {step}"


def test_a_blend_is_the_stored_network_at_both_ends_and_between_them_in_the_middle() -> None:
    own = recipe()
    pool = pool_of(own)
    initial, trained = pool.network(1, 0), pool.network(1, 1)
    for share, wanted in ((1.0, initial), (0.0, trained)):
        found = blend(initial, trained, share)
        assert all(torch.equal(found[0][name], wanted[0][name]) for name in wanted[0])
    half, _ = blend(initial, trained, 0.25)
    for name, tensor in half.items():
        torch.testing.assert_close(tensor, 0.25 * initial[0][name] + 0.75 * trained[0][name])


@pytest.mark.parametrize(("setting", "epoch"), [("initial", 0), ("trained", 1)])
def test_every_expert_is_drawn_with_the_weights_that_the_settings_name(setting: str, epoch: int) -> None:
    own = recipe(blend=setting)
    pool = pool_of(own)
    networks, seen = Networks(MethodContext(DATASET, own, experts=pool)), set()
    for k in range(20):
        matched, trained = networks(k)
        assert trained is not None
        names = sorted(matched[0])
        (index,) = (
            index
            for index in range(2)
            if all(torch.equal(matched[0][name], pool.network(index, epoch)[0][name]) for name in names)
        )
        assert all(torch.equal(trained[0][name], pool.network(index, 1)[0][name]) for name in names)
        seen.add(index)
    assert seen == {0, 1}


def is_network(parameters: Mapping[str, Tensor], pool: ExpertPool, index: int, epoch: int) -> bool:
    wanted, _ = pool.network(index, epoch)
    return all(torch.equal(parameters[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("method", ["dm", "dance"])
@pytest.mark.parametrize("network", [{"norm": "batch"}, {"arch": "vgg11bn"}])
def test_networks_with_batch_norm_are_refused(method: str, network: dict[str, str]) -> None:
    """Equal images would not have equal features, since their batches differ."""
    with pytest.raises(dsactl.Error, match="does not take networks with batch norm") as refused:
        dsactl.condense("digits@1x32x32", ipc=1, method=method, iterations=1, **network)
    assert "instance norm" in refused.value.hint


def test_a_damaged_checkpoint_is_refused() -> None:
    own = recipe()

    class Later(MethodContext):
        done = 1

        def resume(self) -> dict[str, Tensor]:
            return {"images": initial_images(DATASET, own, "real")}

    for function in (dance, distribution_matching):
        mine = own if function is dance else replace_method(own, "dm")
        with pytest.raises(dsactl.Error, match="has no 'velocity'"):
            function(Later(DATASET, mine, experts=pool_of(own)))


def test_noise_begins_within_the_range_of_pixels() -> None:
    images = method._start(MethodContext(DATASET, recipe(init="noise")))["images"]
    pixels = images * 0.25 + 0.5
    assert (pixels.min() > -1e-6, pixels.max() < 1 + 1e-6) == (True, True)
    assert initial_images(DATASET, recipe(init="noise"), "noise").max() > 2


def test_the_gradient_of_the_calibration_agrees_with_finite_differences() -> None:
    own = recipe(formation=2)
    network = structure(NetworkSpec(width=4, depth=1, activation="sigmoid"), 1, DATASET.size, DATASET.classes).eval()
    parameters, _ = initial_state(network, generator(0, "test"))
    doubles = {name: tensor.double() for name, tensor in parameters.items()}

    def draw_one(source: torch.Generator) -> Any:
        return draw_composed(parse_strategy("color scale"), 1, DATASET.size, source)

    calibrate = Calibration(own, network, draw_one, weight=0.7, batch_synthetic=200, chunk=2)
    source = torch.Generator().manual_seed(2)
    images_KICHW = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64, generator=source)
    direction = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64, generator=source)
    loss_K, gradient_KICHW = calibrate(doubles, {}, images_KICHW, 0)
    after, before = (calibrate(doubles, {}, images_KICHW + sign * 1e-5 * direction, 0)[0].sum() for sign in (1, -1))
    torch.testing.assert_close((gradient_KICHW * direction).sum(), (after - before) / 2e-5, rtol=1e-6, atol=0)
    once = Calibration(own, network, draw_one, batch_synthetic=200)(doubles, {}, images_KICHW, 0)
    torch.testing.assert_close(loss_K, 0.7 * once[0])


def test_of_many_images_only_some_are_used_in_each_step() -> None:
    own = recipe(ipc=4, batch_synthetic=3, matching_strategy="none", iterations=1, image_lr=0.1, clamp="off")
    start = initial_images(DATASET, own, "real")
    for calibration in (0, 1):
        (after,) = steps_of(dance, DATASET, own.with_settings(calibration=calibration), pool_of(own))
        moved = (after != start).flatten(2).any(2).sum(1)
        assert (moved >= 3).all() if calibration else (moved == 3).all()


def test_pixels_stay_between_0_and_1() -> None:
    own = recipe(image_lr=5.0, iterations=2)
    for images in steps_of(dance, DATASET, own, pool_of(own)):
        pixels = images * 0.25 + 0.5
        assert pixels.min() > -1e-6
        assert pixels.max() < 1 + 1e-6
    free = steps_of(dance, DATASET, own.with_settings(clamp="off"), pool_of(own))
    assert (free[-1] * 0.25 + 0.5).max() > 1.5


@needs_compiler
def test_fused_layers_agree_with_plain_ones() -> None:
    own = recipe(width=16)

    class Plain(MethodContext):
        def settle_mode(self, *_: object) -> Mode:
            return Mode("cpu")

    plain = dance(Plain(DATASET, own, experts=pool_of(own)))
    fused = dance(MethodContext(DATASET, own, experts=pool_of(own)))
    moved = (plain.images_NCHW - initial_images(DATASET, own, "real").flatten(0, 1)).norm()
    assert (fused.images_NCHW - plain.images_NCHW).norm() / moved < 2e-3


def test_the_defaults_are_the_published_ones() -> None:
    request = Request.parse({"dataset": "small", "ipc": 10, "method": "dance"})
    made = request.resolve("small", "00", (3, 32, 32), mirrored=True, precision="float32")
    settings = made.settings_as(Dance)
    assert (settings.iterations, settings.image_lr, settings.batch_real, settings.batch_synthetic) == (
        10000,
        0.2,
        128,
        200,
    )
    assert (settings.matching_strategy, made.strategy) == ("color_crop_cutout", Strategy(KINDS))
    pool = settings.pool_request(made)
    assert (pool.networks, pool.epochs, pool.batch, pool.lr, pool.keep, pool.seed) == (5, 60, 64, 0.01, None, 0)


def test_a_run_does_not_go_on_with_another_pool() -> None:
    own = recipe()
    begun = pool_of(own)
    other = replace(begun, digest="cd" * 32)
    states: list[dict[str, Tensor]] = []

    class First(MethodContext):
        def keep(self, _done: int, _total: int, tensors: Mapping[str, Tensor], **_: object) -> None:
            states.append(dict(tensors))

    class Later(MethodContext):
        done = 1

        def resume(self) -> dict[str, Tensor]:
            return dict(states[0])

    whole = dance(First(DATASET, own, experts=begun))
    assert torch.equal(dance(Later(DATASET, own, experts=begun)).images_NCHW, whole.images_NCHW)
    with pytest.raises(dsactl.Error, match=r"written with another pool of experts than untrained") as refused:
        dance(Later(DATASET, own, experts=other))
    assert "fresh=True" in refused.value.hint
