"""Distribution matching against a slow, paper-shaped version, finite differences, and cases that are known by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import pytest
import torch
from compilers import needs_compiler
from reference import small_dataset
from sessions import Told
from torch import Tensor, nn

import dsactl
from dsactl.augmentation.strategy import Strategy, parse_strategy
from dsactl.augmentation.transforms import augment, draw
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.random import generator
from dsactl.methods.distribution_matching.method import choose_mode, class_bytes, distribution_matching
from dsactl.methods.distribution_matching.settings import DistributionMatching
from dsactl.methods.distribution_matching.step import DrawShared, FeatureMatching, feature_function
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.work import MethodContext
from dsactl.networks.build import build, feature_extractor, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import fuse
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe, Request

DATASET = small_dataset()


def recipe(**options: object) -> Recipe:
    values = {"dataset": "small", "ipc": 2, "method": "dm", "iterations": 3, "width": 8, "batch_real": 12, **options}
    if values.get("arch"):
        del values["width"]
    return Request.parse(values).resolve(
        "small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision="float32"
    )


def slow_condense(real: Dataset, recipe: Recipe) -> Iterator[Tensor]:
    """Distribution matching with modules, hooks, one class after the other and torch's SGD, from dsactl's draws."""
    settings, stored = recipe.settings_as(DistributionMatching), parametrisation(recipe.formation)
    images = initial_images(real, recipe, settings.init).requires_grad_()
    optimiser = torch.optim.SGD([images], lr=settings.image_lr, momentum=settings.image_momentum)
    for k in range(settings.iterations):
        network = build(recipe.network, real.channels, real.size, real.classes)
        state, _ = initial_state(network, generator(recipe.seed, "network", k))
        network.load_state_dict(state, strict=False)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        seen: list[Tensor] = []
        last.register_forward_pre_hook(lambda _module, inputs, seen=seen: seen.append(inputs[0]))
        loss = torch.zeros(())
        for label in range(real.classes):
            batch = real.draw(label, settings.batch_real, generator(recipe.seed, "real-batch", k, label))
            omega = draw(recipe.strategy, 1, real.size, generator(recipe.seed, "transformation", k, label))
            network(augment(batch, omega))
            network(augment(stored.decode(images[label]), omega))
            synthetic, goal = seen.pop(), seen.pop()
            for own, theirs in zip(synthetic.mean(0), goal.mean(0).detach(), strict=True):
                loss = loss + (own - theirs) ** 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield images.detach().clone()


CASES = {
    "as published": recipe(),
    "one image per class": recipe(ipc=1),
    "formation 2": recipe(ipc=1, formation=2),
    "noise, all real images": recipe(init="noise", batch_real=1000),
    "not augmented": recipe(strategy="none"),
    "mlp": recipe(arch="mlp", image_lr=0.1),
    "without norm": recipe(arch="convnet", norm="none"),
    "alexnet": recipe(arch="alexnet"),
}


@pytest.mark.parametrize("name", CASES)
def test_against_the_paper_shaped_version(name: str) -> None:
    case, kept = CASES[name], []

    class Context(MethodContext):
        def keep(self, _done: int, _total: int, tensors: Mapping[str, Tensor], **_: object) -> None:
            kept.append(tensors["images"])

    made = distribution_matching(Context(DATASET, case))
    slow = list(slow_condense(DATASET, case))
    start = initial_images(DATASET, case, case.settings.init)
    assert len(kept) == len(slow) == 3
    for step, (ours, theirs) in enumerate(zip(kept, slow, strict=True)):
        assert (ours - theirs).norm() / (theirs - start).norm() < 2e-3, f"step {step}"
    assert torch.equal(made.images_NCHW, kept[-1].flatten(0, 1))
    assert made.labels_N.tolist() == [label for label in range(DATASET.classes) for _ in range(case.ipc)]


def tiny(images: int = 1) -> Dataset:
    """Three classes of 4×4 pixels in float64."""
    pixels = torch.randint(0, 256, (3 * images, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    split = ImageSet.from_tensors(pixels, torch.arange(3).repeat_interleave(images), 3)
    return Dataset("tiny", ("a", "b", "c"), (0.5,), (0.25,), mirrored=False, train=split, test=split)


def one_of(real: Dataset, own: Recipe) -> DrawShared:
    return partial(draw, own.strategy, 1, real.size)


def matching(
    real: Dataset, spec: NetworkSpec, own: Recipe, *, fused: bool = False, chunk: int = 1
) -> tuple[FeatureMatching, dict[str, Tensor]]:
    extractor = feature_extractor(structure(spec, 1, real.size, real.classes)).train()
    parameters, _ = initial_state(structure(spec, 1, real.size, real.classes), generator(0, "test"))
    features = feature_function(fuse(extractor) if fused else extractor)
    match = FeatureMatching(real, own, one_of(real, own), features, batch_real=256, chunk=chunk)
    return match, parameters


def test_a_set_that_is_the_real_batch_has_no_loss_and_no_gradient() -> None:
    real, own = tiny(), recipe(ipc=1, strategy="crop_scale_rotate_color_cutout")
    match, parameters = matching(real, NetworkSpec(width=8, depth=1), own)
    images_KICHW = real.at(torch.arange(3)).unsqueeze(1)
    distance_K, gradient_KICHW = match(parameters, {}, images_KICHW, 0)
    assert not distance_K.any()
    assert not gradient_KICHW.any()


def test_the_gradient_against_finite_differences() -> None:
    class Doubles(Dataset):
        def normalise(self, pixels_NCHW: Tensor) -> Tensor:
            return super().normalise(pixels_NCHW).double()

    real, own = Doubles(**vars(tiny(images=5))), recipe(ipc=2, strategy="color_scale")
    match, parameters = matching(real, NetworkSpec(width=4, depth=1, activation="sigmoid"), own, chunk=3)
    doubles = {name: tensor.double() for name, tensor in parameters.items()}
    source = torch.Generator().manual_seed(2)
    images_KICHW = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64, generator=source)
    direction = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64, generator=source)
    _, gradient_KICHW = match(doubles, {}, images_KICHW, 0)
    after, before = (match(doubles, {}, images_KICHW + sign * 1e-5 * direction, 0)[0].sum() for sign in (1, -1))
    torch.testing.assert_close((gradient_KICHW * direction).sum(), (after - before) / 2e-5, rtol=1e-6, atol=0)


def test_on_a_linear_network_the_means_become_equal() -> None:
    """Without norm, activation, pooling and augmentation, the minimum is where the means of the pixels are equal."""
    real, own = tiny(images=7), replace(recipe(ipc=2), strategy=Strategy())
    linear = nn.Linear(16, 64)
    basis, _ = torch.linalg.qr(torch.randn(64, 16, generator=torch.Generator().manual_seed(4)))
    linear.weight = nn.Parameter(basis)  # orthogonal columns: with others it converges as slowly as chance has it
    extractor = nn.Sequential(nn.Flatten(), linear)
    state = {name: tensor.detach() for name, tensor in extractor.named_parameters()}
    match = FeatureMatching(real, own, one_of(real, own), feature_function(extractor), batch_real=256)
    images_KICHW = torch.randn(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    for k in range(200):
        _, gradient_KICHW = match(state, {}, images_KICHW, k)
        images_KICHW = images_KICHW - 0.1 * gradient_KICHW
    wanted = torch.stack([real.at(torch.arange(7) + 7 * label).mean(0) for label in range(3)])
    torch.testing.assert_close(images_KICHW.mean(1), wanted, atol=1e-3, rtol=0)


@needs_compiler
def test_fused_layers_agree_with_plain_ones() -> None:
    own, spec = recipe(), NetworkSpec(width=16)
    images_KICHW = initial_images(DATASET, own, "real")
    (plain, parameters), (fused, _) = (matching(DATASET, spec, own, fused=each) for each in (False, True))
    for ours, theirs in zip(
        fused(parameters, {}, images_KICHW, 0), plain(parameters, {}, images_KICHW, 0), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_classes_together_agree_with_classes_one_by_one() -> None:
    own, spec = recipe(), NetworkSpec(width=8)
    images_KICHW = initial_images(DATASET, own, "real")
    (one, parameters), (all_, _) = (matching(DATASET, spec, own, chunk=each) for each in (1, DATASET.classes))
    results = (match(parameters, {}, images_KICHW, 0) for match in (all_, one))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_interrupted_run_goes_on_to_the_same_bits() -> None:
    def stop(done: float, _total: float, _doing: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    options = {"method": "dm", "ipc": 2, "width": 8, "iterations": 4, "formation": 2, "batch_real": 8}
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense("digits", **options, progress=Told(stop))
    resumed = dsactl.condense("digits", **options)
    assert torch.equal(resumed.images, dsactl.condense("digits", **options, fresh=True).images)


def test_learning_lowers_the_loss() -> None:
    told = Told()
    options = {"method": "dm", "ipc": 1, "width": 16, "init": "noise", "strategy": "none"}
    dsactl.condense("digits", **options, iterations=1, progress=told)
    dsactl.condense("digits", **options, iterations=60, progress=told)
    losses = [figures["loss"] for *_, figures in told.updates if figures]
    assert losses[-1] < 0.5 * losses[0]


def test_large_sets_have_a_larger_rate() -> None:
    assert (recipe(ipc=99).settings.image_lr, recipe(ipc=100).settings.image_lr) == (1.0, 10.0)


def test_a_run_that_diverges_says_what_to_change() -> None:
    with pytest.raises(dsactl.Error, match="diverged") as refused:
        dsactl.condense("digits", method="dm", ipc=1, width=8, iterations=40, image_lr=1e30)
    assert "`image_lr`" in refused.value.hint


GIB = 2**30
LARGE = small_dataset(classes=10, per_class=1, channels=3, side=128)
LARGE_RECIPE = Request.parse({"dataset": "small", "ipc": 10, "method": "dm"}).resolve(
    "small", LARGE.train.checksum(), (3, 128, 128), mirrored=True, precision="float32"
)


class OnGpu(MethodContext):
    """A run on a GPU, as far as the mode is chosen."""

    device = torch.device("cuda")  # type: ignore[assignment]


@pytest.mark.parametrize("kinds", ["none", "color_scale_rotate"])
@pytest.mark.parametrize("images", [1, 10, 40])
def test_classes_at_once_fit_into_half_of_the_free_gpu_memory(
    images: int, kinds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, strategy = OnGpu(LARGE, LARGE_RECIPE), parse_strategy(kinds)

    def chosen(free: float) -> int:
        monkeypatch.setattr("dsactl.methods.distribution_matching.method.free_gpu_memory", lambda _: int(free))
        return choose_mode(work, images, strategy).chunk

    assert chosen(1000 * GIB) == 10
    assert chosen(0) == 1
    need = class_bytes(work, images, strategy)
    for free in (8, 24, 80):
        chunk = chosen(free * GIB)
        assert chunk == 1 or 2 * chunk * need <= free * GIB
        assert chunk == 10 or 2 * 2 * chunk * need > free * GIB
    assert chosen(2 * 5.9 * need) == chosen(2 * 4.1 * need) == 4


def test_a_pass_needs_the_memory_of_its_outputs() -> None:
    """The first block of the network alone has three outputs of 128 channels, and each has a gradient."""
    need = class_bytes(MethodContext(LARGE, LARGE_RECIPE), 10, parse_strategy("none"))
    assert 1 < need / (2 * 4 * 10 * 3 * 128 * 128 * 128) < 1.6


def test_a_large_gpu_takes_as_many_images_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsactl.methods.distribution_matching.method.free_gpu_memory", lambda _: 16 * GIB)
    real = small_dataset(classes=100, per_class=1)
    assert choose_mode(OnGpu(real, recipe()), 50, parse_strategy("none")).chunk == 4096 // 50
    assert choose_mode(MethodContext(real, recipe()), 50, parse_strategy("none")).chunk == 128 // 50
