"""Gradients through training, against a hand-made case and against finite differences in float64."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from compilers import needs_compiler
from reference import small_dataset
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dsactl.engine.random import generator
from dsactl.errors import RunError, UsageError
from dsactl.methods.gradient_matching.matching import loss_function
from dsactl.methods.unrolled import Batch, UnrolledLearner, adam, learner
from dsactl.methods.work import CondensedSet, MethodContext
from dsactl.networks.build import Parameters, initial_state, structure
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe, Request

DATASET = small_dataset()
METHODS = ("dd", "ld")
Batches = list[tuple[Tensor, Tensor, Tensor]]


class Notebook(MethodContext):
    """Work that remembers what was kept, and is interrupted on demand."""

    def __init__(self, recipe: Recipe, *, stop: int | None = None, earlier: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(DATASET, recipe)
        self.stop, self.earlier = stop, dict(earlier or {})
        self.kept: list[Mapping[str, Tensor]] = []
        self.copies: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def resume(self) -> dict[str, Tensor]:
        return dict(self.earlier)

    def keep(
        self, done: int, total: int, tensors: Mapping[str, Tensor], *, loss: float | None = None, doing: str = ""
    ) -> None:
        assert loss is not None
        assert doing
        assert 1 <= done <= total == self.recipe.settings.iterations
        self.kept.append(tensors)
        self.copies.append({name: tensor.detach().clone() for name, tensor in tensors.items()})
        self.losses.append(loss)
        if done == self.stop:
            raise KeyboardInterrupt


def recipe(method: str, precision: str = "float32", **options: object) -> Recipe:
    values = {"dataset": "small", "ipc": 2, "method": method, "iterations": 5, "inner_steps": 3, "batch_real": 20}
    values |= {"width": 4, "depth": 2, "activation": "swish", "network_lr": 0.3}
    values |= {"batch_synthetic": 1} if method == "dd" else {"batch_train": 4}
    values |= options
    return Request.parse(values).resolve(
        "small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision=precision
    )


def run(method: str, **options: object) -> tuple[CondensedSet, Notebook]:
    work = Notebook(recipe(method, **options))
    return find(method).load()(work), work


def test_one_step_of_a_linear_model_by_hand() -> None:
    """θ₁ = θ₀ − η/B Σ (p − y) xᵀ, so that every derivative can be written down."""
    classes, features, batch, rate = 3, 4, 5, 0.7
    source = np.random.default_rng(0)
    weight, images = source.normal(size=(classes, features)), source.normal(size=(batch, features))
    targets = source.dirichlet(np.ones(classes), size=batch)
    real, labels = source.normal(size=(6, features)), source.integers(classes, size=6)

    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    p = softmax(images @ weight.T)
    step = (p - targets).T @ images / batch
    after = softmax(real @ (weight - rate * step).T)
    loss = -np.log(after[np.arange(6), labels]).mean()
    v = (after - np.eye(classes)[labels]).T @ real / 6
    u = images @ v.T
    jacobian = p[:, :, None] * np.eye(classes) - p[:, :, None] * p[:, None, :]
    to_images = -rate / batch * ((p - targets) @ v + np.einsum("bij,bj->bi", jacobian, u) @ weight)
    to_targets = rate / batch * (u - (p * u).sum(1, keepdims=True))
    to_rate = -(v * step).sum()

    model = loss_function(nn.Linear(features, classes, bias=False).double())
    learned = [torch.tensor(value, requires_grad=True) for value in (images, targets, np.array(rate))]
    result = UnrolledLearner(model, model).unroll(
        {"weight": torch.tensor(weight)},
        1,
        lambda t: Batch(*learned),
        learned,
        (torch.tensor(real), torch.tensor(labels)),
    )
    assert result.loss.item() == pytest.approx(loss, rel=1e-6)
    for ours, by_hand in zip(result.gradient, (to_images, to_targets, np.array(to_rate)), strict=True):
        np.testing.assert_allclose(ours.numpy(), by_hand, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.parameters["weight"].numpy(), weight - rate * step, rtol=1e-6)


def trained(network: nn.Module, parameters: Parameters, batches: Batches) -> Parameters:
    """Plain SGD in float64, for finite differences."""
    for images, targets, rate in batches:
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
        slope = torch.autograd.grad(
            F.cross_entropy(functional_call(network, leaves, (images,)), targets), leaves.values()
        )
        parameters = {name: leaf.detach() - rate * g for (name, leaf), g in zip(leaves.items(), slope, strict=True)}
    return parameters


def final_loss(
    network: nn.Module,
    parameters: Parameters,
    batches: list[tuple[Tensor, Tensor, Tensor]],
    real: tuple[Tensor, Tensor],
) -> float:
    logits = functional_call(network, trained(network, parameters, batches), (real[0],))
    return F.cross_entropy(logits, real[1]).item()


def real_images(case: Recipe, iteration: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(60, generator=generator(case.seed, "real-batch", iteration))[: case.settings.batch_real]
    return DATASET.normalise(DATASET.train.images_NCHW[order]).double(), DATASET.train.labels_N[order]


def assert_slope(value: Callable[[Tensor], float], at: Tensor, gradient: Tensor) -> None:
    """The derivative along random directions."""
    source = torch.Generator().manual_seed(5)
    assert gradient.abs().max() > 1e-5
    for _ in range(3):
        direction = torch.randn(at.shape, generator=source, dtype=torch.float64)
        slope = (value(at + 1e-5 * direction) - value(at - 1e-5 * direction)) / 2e-5
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=2e-3, abs=2e-6)


def gradient_of(work: Notebook, name: str, iteration: int, beta: float) -> Tensor:
    """The gradient of an iteration, out of Adam's first moment: m = β m + (1 − β) g."""
    now = work.copies[iteration][f"{name}.m"].double()
    before = work.copies[iteration - 1][f"{name}.m"].double()
    return (now - beta * before) / (1 - beta)


@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("weights", ["random", "fixed"])
def test_dd_s_gradient_against_finite_differences(weights: str, steps: int) -> None:
    """Of the second iteration, over two networks, in parts of one image per class."""
    made, work = run("dd", iterations=2, inner_steps=steps, options={"weights": weights, "networks": 2})
    case, before = work.recipe, work.copies[0]
    network = structure(case.network, 1, (8, 8), 3)
    drawn = [generator(0, "network", 0 if weights == "fixed" else 1, index) for index in range(2)]
    states = [{n: p.double() for n, p in initial_state(network, source)[0].items()} for source in drawn]

    def value(images: Tensor, raw: Tensor) -> float:
        parts = [(images[[t % 2, 2 + t % 2, 4 + t % 2]], torch.arange(3), F.softplus(raw[t])) for t in range(steps)]
        return sum(final_loss(network, state, parts, real_images(case, 1)) for state in states) / 2

    images, raw = before["images"].double(), before["raw step sizes"].double()
    assert value(images, raw) == pytest.approx(work.losses[1], rel=1e-4)
    assert_slope(lambda z: value(z, raw), images, gradient_of(work, "images", 1, 0.5))
    assert_slope(lambda z: value(images, z), raw, gradient_of(work, "raw step sizes", 1, 0.5))
    rates = F.softplus(work.copies[1]["raw step sizes"]).tolist()
    assert made.provenance["step sizes"] == pytest.approx(rates, abs=1e-6)
    assert torch.equal(made.images_NCHW, work.copies[1]["images"])


@pytest.mark.parametrize("steps", [1, 4])
def test_ld_s_gradient_against_finite_differences(steps: int) -> None:
    """Of the second iteration, from where the first one left the network."""
    made, work = run("ld", iterations=2, inner_steps=steps)
    case, before = work.recipe, work.copies[0]
    network = structure(case.network, 1, (8, 8), 3)
    state = {n.removeprefix("network."): p.double() for n, p in before.items() if n.startswith("network.")}
    drawn = [torch.randperm(6, generator=generator(0, "set-batch", 1, t))[:4] for t in range(steps)]
    rate, images = torch.tensor(0.3, dtype=torch.float64), made.images_NCHW.double()

    def value(logits: Tensor) -> float:
        parts = [(images[chosen], logits[chosen].softmax(1), rate) for chosen in drawn]
        return final_loss(network, state, parts, real_images(case, 1))

    assert value(before["logits"].double()) == pytest.approx(work.losses[1], rel=1e-4)
    assert_slope(value, before["logits"].double(), gradient_of(work, "logits", 1, 0.9))
    parts = [(images[chosen], before["logits"].double()[chosen].softmax(1), rate) for chosen in drawn]
    for name, expected in trained(network, state, parts).items():
        torch.testing.assert_close(work.copies[1][f"network.{name}"].double(), expected, rtol=1e-4, atol=1e-5)


def test_adam_is_torch_s() -> None:
    source = torch.Generator().manual_seed(0)
    state = {"z": torch.randn(4, 3, generator=source)}
    theirs = state["z"].clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.1, betas=(0.5, 0.999))
    for step in range(1, 6):
        theirs.grad = torch.randn(4, 3, generator=source)
        state = adam(state, {"z": theirs.grad}, step, 0.1, (0.5, 0.999))
        optimiser.step()
        torch.testing.assert_close(state["z"], theirs.detach())


def test_ld_draws_a_fresh_network_when_the_loss_stops_falling() -> None:
    _, work = run("ld", iterations=16, inner_steps=1, network_lr=0.001, options={"patience": 2})
    network = structure(work.recipe.network, 1, (8, 8), 3)
    lowest, window, renewed = float("inf"), [], []
    for iteration, (loss, state) in enumerate(zip(work.losses, work.copies, strict=True)):
        window.append(loss)
        expected = len(window) == 2 and sum(window) >= lowest
        if len(window) == 2:
            lowest, window = float("inf") if expected else min(lowest, sum(window)), []
        fresh, _ = initial_state(network, generator(0, "network", iteration + 1))
        renewed.append(all(torch.equal(state[f"network.{name}"], tensor) for name, tensor in fresh.items()))
        assert renewed[-1] == expected
    assert 0 < sum(renewed) < 8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_going_on_gives_the_same_bits(method: str, stop: int) -> None:
    whole, work = run(method, **({"options": {"patience": 1}, "network_lr": 0.001} if method == "ld" else {}))
    halted = Notebook(work.recipe, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        find(method).load()(halted)
    again = Notebook(work.recipe, earlier=halted.copies[-1])
    made = find(method).load()(again)
    assert halted.losses + again.losses == work.losses
    assert torch.equal(made.images_NCHW, whole.images_NCHW)
    assert made.provenance == whole.provenance
    if method == "ld":
        assert torch.equal(made.soft_labels_NK, whole.soft_labels_NK)
    for kept, copy in zip(work.kept, work.copies, strict=True):
        assert all(torch.equal(kept[name], copy[name]) for name in copy), "what was kept is not changed by going on"


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_its_bits(method: str) -> None:
    torch.manual_seed(1)
    first = run(method)[1].copies[-1]
    torch.manual_seed(2)
    again = run(method)[1].copies[-1]
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    learned = {"dd": "images", "ld": "logits"}[method]
    assert not torch.equal(first[learned], run(method, seed=1)[1].copies[-1][learned])


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_goes_the_same_way(method: str) -> None:
    learned = {"dd": "images", "ld": "logits"}[method]
    exact, coarse = (
        run(method, precision=precision, iterations=1, width=16)[1].copies[0][f"{learned}.m"]
        for precision in ("float32", "bfloat16")
    )
    assert exact.dtype == coarse.dtype == torch.float32
    assert F.cosine_similarity(exact.flatten(), coarse.flatten(), dim=0) > 0.95


@needs_compiler
def test_our_own_layers_give_the_same_gradient() -> None:
    fast, fresh = learner(Notebook(recipe("dd", width=16, activation="relu")))
    slow = UnrolledLearner(fast.loss, fast.loss)
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = Batch(images, torch.arange(3), torch.tensor(0.1))
    real = (DATASET.at(torch.arange(60)), DATASET.train.labels_N)
    ours, plain = (each.unroll(fresh("network", 0), 3, lambda t: batch, [images], real) for each in (fast, slow))
    assert ours.loss.item() == pytest.approx(plain.loss.item(), rel=1e-4)
    assert (ours.gradient[0] - plain.gradient[0]).norm() / plain.gradient[0].norm() < 2e-3


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_ld_s_labels_stay_distributions_and_begin_as_the_images_classes(smoothing: float) -> None:
    options = {"smoothing": smoothing, "label_lr": 1e-6}
    start, _ = run("ld", iterations=1, options=options)
    expected = torch.full((6, 3), smoothing / 3) + (1 - smoothing) * torch.eye(3).repeat_interleave(2, 0)
    torch.testing.assert_close(start.soft_labels_NK, expected, rtol=0, atol=1e-5)
    made, _ = run("ld", iterations=20, options={**options, "label_lr": 0.5})
    torch.testing.assert_close(made.soft_labels_NK.sum(1), torch.ones(6))
    assert made.soft_labels_NK.min() >= 0
    assert (made.soft_labels_NK - expected).abs().max() > 0.05
    assert made.labels_N.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_what_diverges_says_so(method: str) -> None:
    with pytest.raises(RunError, match="diverged in iteration 1") as caught:
        run(method, network_lr=1e30)
    assert "`network_lr`" in caught.value.hint


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("dd", {"norm": "batch"}, "does not take networks with batch norm"),
        ("ld", {"norm": "batch"}, "does not take networks with batch norm"),
        ("dd", {"options": {"weights": "mine"}}, "`weights` must be random or fixed, not 'mine'"),
        ("dd", {"options": {"networks": 0}}, "`networks` must be at least 1, not 0"),
        ("dd", {"options": {"step_lr": -1.0}}, "`step_lr` must be above 0, not -1.0"),
        ("dd", {"ipc": 4}, "3 inner steps of 1 image per class do not reach all 4"),
        ("ld", {"options": {"smoothing": 1.0}}, "`smoothing` must be between 0 and 1, not 1.0"),
        ("ld", {"options": {"patience": 0}}, "`patience` must be above 0, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, options: dict[str, object], said: str) -> None:
    unfit = recipe(method, **options)
    with pytest.raises(UsageError, match=said):
        unfit.settings.check(unfit)


def test_another_network_than_one_with_batch_norm_is_named() -> None:
    for options, instead in (({"norm": "batch"}, '`norm="instance"`'), ({"arch": "resnet18bn"}, '`arch="resnet18"`.')):
        plain = {"width": None, "depth": None, "activation": None} if "arch" in options else {}
        unfit = recipe("dd", **options, **plain)
        with pytest.raises(UsageError, match="batch norm, such as ") as caught:
            unfit.settings.check(unfit)
        assert instead in caught.value.hint
