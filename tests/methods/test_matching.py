import contextlib

import pytest
import torch
from reference import TENSORS, VALUES, golden_image, golden_parameters, slow_distance
from torch import Tensor
from torch.nn import functional as F

from dsactl.errors import NetworkError
from dsactl.methods.gradient_matching.matching import distance, loss_function, matching_gradient, real_gradient
from dsactl.networks.build import Parameters, build, initial_state, structure
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS, NetworkSpec


def random_gradients(seed: int) -> Parameters:
    source = torch.Generator().manual_seed(seed)
    shapes = {"conv": (5, 3, 2, 2), "linear": (4, 7), "layer": (3, 4, 4), "bias": (5,), "dead": (2, 6)}
    gradients = {name: torch.randn(shape, generator=source, dtype=torch.float64) for name, shape in shapes.items()}
    gradients["dead"][0] = 0  # a unit that no image reaches
    return gradients


@pytest.mark.parametrize("metric", ["ours", "mse", "cos"])
def test_distance_against_a_loop_over_rows(metric: str) -> None:
    synthetic, real = random_gradients(1), random_gradients(2)
    expected = slow_distance(list(synthetic.values()), list(real.values()), metric)
    assert distance(synthetic, real, metric).item() == pytest.approx(expected.item(), rel=1e-12)


def test_distance_of_equal_gradients_is_zero_and_biases_do_not_count() -> None:
    gradients = random_gradients(3)
    gradients.pop("dead")  # 1 − 0/(0 + ε) = 1: a dead row is never matched
    assert distance(gradients, gradients).item() == pytest.approx(0, abs=1e-4)
    changed = {**gradients, "bias": gradients["bias"] + 1}
    assert distance(gradients, changed).item() == distance(gradients, gradients).item()
    assert distance(gradients, changed, "mse").item() == pytest.approx(5)


def test_the_gradient_of_a_dead_row_is_finite() -> None:
    real = random_gradients(4)
    synthetic = {name: torch.zeros_like(tensor).requires_grad_() for name, tensor in real.items()}
    for metric in ("ours", "mse", "cos"):
        gradients = torch.autograd.grad(distance(synthetic, real, metric), synthetic.values(), allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def stacked(gradients: list[Parameters]) -> Parameters:
    return {name: torch.stack([gradient[name] for gradient in gradients]) for name in gradients[0]}


def in_float64(state: Parameters) -> Parameters:
    return {name: tensor.double() for name, tensor in state.items() if tensor.is_floating_point()}


@pytest.mark.parametrize("all_at_once", [True, False])
@pytest.mark.parametrize("case", VALUES["steps"])
def test_a_matching_step_matches_the_authors_program(case: str, all_at_once: bool) -> None:
    expected = VALUES["steps"][case]
    channels, side, classes = expected["channels"], expected["size"], expected["classes"]
    count, ipc = expected["real_per_class"], expected["ipc"]
    network = build(NetworkSpec("convnet"), channels, (side, side), 10)
    parameters = golden_parameters(network)
    real = golden_image(classes * count, channels, side, side, 2).view(classes, count, channels, side, side)
    synthetic = golden_image(classes * ipc, channels, side, side, 5).view(classes, ipc, channels, side, side)
    loss = loss_function(network)
    real_K = stacked([real_gradient(loss, parameters, {}, real[label], label) for label in range(classes)])
    matching = matching_gradient(loss, metric=expected["metric"], stacked=all_at_once)
    distance_K, gradient_KICHW = matching(parameters, {}, synthetic, torch.arange(classes), real_K)
    expected_K = torch.tensor(expected["distance_per_class"], dtype=torch.float64)
    torch.testing.assert_close(distance_K, expected_K, rtol=1e-5, atol=0)
    golden = TENSORS[f"grad-{case}"].view_as(gradient_KICHW)
    assert (gradient_KICHW - golden).norm() / golden.norm() < 1e-5


@pytest.mark.parametrize("spec", [NetworkSpec(width=4, depth=2, activation="swish"), NetworkSpec("mlp")])
@pytest.mark.parametrize("metric", ["ours", "mse", "cos"])
def test_the_gradient_against_finite_differences(spec: NetworkSpec, metric: str) -> None:
    """In float64, the derivative of the distance along random directions of the images."""
    source = torch.Generator().manual_seed(0)
    network = build(spec, 1, (8, 8), 3).double()
    parameters = in_float64(initial_state(network, source)[0])
    images = torch.randn(2, 2, 1, 8, 8, generator=source, dtype=torch.float64)
    labels = torch.tensor([2, 0])

    def plain_gradient(batch: Tensor, label: Tensor) -> list[Tensor]:
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
        logits = torch.func.functional_call(network, leaves, (batch,))
        return list(torch.autograd.grad(F.cross_entropy(logits, label.expand(len(batch))), list(leaves.values())))

    real = [plain_gradient(torch.randn(4, 1, 8, 8, generator=source, dtype=torch.float64), label) for label in labels]

    def value(batch: Tensor) -> Tensor:
        return sum(
            slow_distance(plain_gradient(images_ICHW, label), gradient, metric)
            for images_ICHW, label, gradient in zip(batch, labels, real, strict=True)
        )

    real_K = {name: torch.stack([g[i] for g in real]) for i, name in enumerate(parameters)}
    matching = matching_gradient(loss_function(network), metric=metric, stacked=False)
    _, gradient_KICHW = matching(parameters, {}, images, labels, real_K)
    for _ in range(3):
        direction = torch.randn(images.shape, generator=source, dtype=torch.float64)
        step = 1e-5
        slope = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
        assert (gradient_KICHW * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "spec",
    [NetworkSpec(norm=norm, width=8) for norm in ("instance", "batch", "layer", "group", "none")]
    + [NetworkSpec("mlp"), NetworkSpec("resnet18bn_ap")],
    ids=lambda spec: spec.label(1, (8, 8)),
)
def test_all_classes_at_once_agree_with_one_by_one(spec: NetworkSpec) -> None:
    source = torch.Generator().manual_seed(1)
    network = build(spec, 1, (8, 8), 3).eval()
    parameters, buffers = (in_float64(part) for part in initial_state(network, source))
    loss = loss_function(network)
    batches = torch.randn(3, 6, 1, 8, 8, generator=source, dtype=torch.float64)
    real_K = stacked([real_gradient(loss, parameters, buffers, batches[label], label) for label in range(3)])
    images = torch.randn(3, 2, 1, 8, 8, generator=source, dtype=torch.float64)
    results = [
        matching_gradient(loss, stacked=at_once)(parameters, buffers, images, torch.arange(3), real_K)
        for at_once in (True, False)
    ]
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-10, atol=1e-10)
    difference = (results[0][1] - results[1][1]).norm() / results[1][1].norm()
    assert difference < 1e-9


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "one by one"])
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_given_in_float64_stays_in_float64(norm: str, stacked: bool) -> None:
    """To 1e-12 of the same in float64 modules, which a step through float32 anywhere would not reach."""
    source = torch.Generator().manual_seed(5)
    network = structure(NetworkSpec(width=8, depth=2, norm=norm), 1, (8, 8), 3).eval()
    parameters, buffers = (in_float64(part) for part in initial_state(network, source))
    images = torch.randn(1, 2, 1, 8, 8, generator=source, dtype=torch.float64)
    batch = torch.randn(4, 1, 8, 8, generator=source, dtype=torch.float64)
    loss = loss_function(network)
    real = real_gradient(loss, parameters, buffers, batch, 1)
    real_K = {name: tensor[None] for name, tensor in real.items()}
    match = matching_gradient(loss, stacked=stacked)
    distance_K, gradient = match(parameters, buffers, images, torch.tensor([1]), real_K)
    assert distance_K.dtype == gradient.dtype == loss(parameters, buffers, batch, torch.zeros(4).long()).dtype
    assert distance_K.dtype == torch.float64
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    logits = torch.func.functional_call(network, (leaves, buffers), (images[0],))
    plain = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([1, 1])), list(leaves.values()))
    expected = slow_distance([g.detach() for g in plain], list(real.values()), "ours")
    assert distance_K.item() == pytest.approx(expected.item(), rel=1e-12)


def test_bfloat16_gradients_point_the_same_way() -> None:
    source = torch.Generator().manual_seed(2)
    network = build(NetworkSpec(), 1, (28, 28), 10)
    parameters, _ = initial_state(network, source)
    batch, images = (torch.randn(n, 1, 28, 28, generator=source) for n in (16, 2))
    found = []
    for precision in ("float32", "bfloat16"):
        loss = loss_function(network, precision)
        real_K = stacked([real_gradient(loss, parameters, {}, batch, 0)])
        distance_K, gradient = matching_gradient(loss)(parameters, {}, images[None], torch.tensor([0]), real_K)
        assert distance_K.dtype == gradient.dtype == torch.float32
        found.append(gradient.flatten())
    assert F.cosine_similarity(found[0], found[1], dim=0) > 0.98


@pytest.mark.parametrize("at_once", [1, 5, 12, 100])
def test_a_real_batch_in_parts_has_the_whole_batch_s_gradient(at_once: int) -> None:
    network = structure(NetworkSpec(width=8), 3, (16, 16), 10)
    source = torch.Generator().manual_seed(0)
    parameters, buffers = (in_float64(part) for part in initial_state(network, source))
    images, loss = torch.randn(12, 3, 16, 16, generator=source, dtype=torch.float64), loss_function(network)
    whole = real_gradient(loss, parameters, buffers, images, 7)
    parts = real_gradient(loss, parameters, buffers, images, torch.tensor(7), at_once)
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-10, atol=1e-12)


VARIANTS = [NetworkSpec(arch) for arch in ARCHITECTURES] + [NetworkSpec(width=16, norm=norm) for norm in NORMS]
VARIANTS += [NetworkSpec(width=16, activation=kind) for kind in ACTIVATIONS]
VARIANTS += [NetworkSpec(width=16, pooling=kind) for kind in POOLINGS]


def smallest(spec: NetworkSpec) -> int:
    """The side of the smallest pictures that a network takes."""
    for side in (8, 16, 28, 32):
        with contextlib.suppress(NetworkError), torch.device("meta"):
            structure(spec, 3, (side, side), 10)
            return side
    raise AssertionError(spec)


@pytest.mark.parametrize("spec", VARIANTS, ids=lambda spec: spec.label(3, (32, 32)))
def test_every_network_can_be_matched_in_bfloat16(spec: NetworkSpec) -> None:
    """torch has no second derivative of some layers in bfloat16, and finds out while it works.

    On few and small pictures: a processor without bfloat16 takes ten times as long for it.
    """
    side = smallest(spec)
    network = structure(spec, 3, (side, side), 10).train(not spec.has_batch_norm)
    source = torch.Generator().manual_seed(0)
    parameters, buffers = initial_state(network, source)
    images, others = (torch.randn(*counts, 3, side, side, generator=source) for counts in ((2, 1), (2,)))

    def distances(precision: str, stacked: bool) -> Tensor:
        loss = loss_function(network, precision)
        real = real_gradient(loss, parameters, buffers, others, 1)
        stack_2 = {name: torch.stack([tensor, tensor]) for name, tensor in real.items()}
        distance_2, gradient = matching_gradient(loss, stacked=stacked)(
            parameters, buffers, images, torch.arange(2), stack_2
        )
        assert distance_2.dtype == gradient.dtype == torch.float32
        return distance_2

    for stacked in (True, False):
        exact = distances("float32", stacked)
        torch.testing.assert_close(distances("bfloat16", stacked), exact, rtol=0.1, atol=0.0)
