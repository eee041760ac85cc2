import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from reference import slow_distance, small_dataset
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dsactl.engine.mode import PLAIN
from dsactl.methods.gradient_matching.cost import MATCHING_GRADIENT, count_work
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.networks.build import build
from dsactl.networks.catalogue import ARCHITECTURES, NORMS, NetworkSpec
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.cost import making_operations, try_a_step

DATASET = small_dataset(channels=3, side=16)


def resolve(**options: object) -> Recipe:
    request = Request.parse({"dataset": "small", "ipc": 2, "width": 32, **options})
    return request.resolve("small", DATASET.train.checksum(), (3, 16, 16), mirrored=True, precision="float32")


def test_forward_operations_by_hand() -> None:
    # 16×16, 8×8 and 4×4 outputs; 9 weights per input channel; a multiplication and an addition each.
    layers = 16 * 16 * 32 * 27 + 8 * 8 * 32 * 288 + 4 * 4 * 32 * 288 + 32 * 4 * 3
    assert forward_operations(NetworkSpec(width=32), DATASET) == 2 * layers


@pytest.mark.parametrize(
    "spec",
    [*map(NetworkSpec, ARCHITECTURES), *(NetworkSpec(norm=norm) for norm in NORMS), NetworkSpec(pooling="none")],
    ids=lambda spec: spec.label(3, (32, 32)),
)
def test_forward_operations_are_those_that_torch_counts(spec: NetworkSpec) -> None:
    """A fraction of a second each."""
    dataset = small_dataset(channels=3, side=32)
    with FlopCounterMode(display=False) as counter:
        build(spec, 3, (32, 32), dataset.classes).eval()(torch.randn(1, 3, 32, 32))
    assert forward_operations(spec, dataset) == counter.get_total_flops()


def test_counting_loads_no_compiler() -> None:
    """It takes longer to load than a short run. A process of its own, three seconds."""
    code = (
        "import sys; from dsactl.benchmark.images import random_dataset\n"
        "from dsactl.runs.cost import forward_operations\n"
        "from dsactl.data.catalogue import CATALOGUE; from dsactl.networks.catalogue import NetworkSpec; import torch\n"
        "dataset = random_dataset('digits', CATALOGUE['digits'], 1, torch.device('cpu'))\n"
        "forward_operations(NetworkSpec(), dataset); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_gradients_cost_what_is_said() -> None:
    """Counted on plain autograd, for a network whose first layer does not weigh much."""
    network = build(NetworkSpec(width=32), 3, (16, 16), 3)
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    labels = torch.zeros(4, dtype=torch.long)
    forward = 4 * forward_operations(NetworkSpec(width=32), DATASET)
    with FlopCounterMode(display=False) as counter:
        gradient = torch.autograd.grad(F.cross_entropy(network(images.detach()), labels), list(network.parameters()))
    assert counter.get_total_flops() / forward == pytest.approx(GRADIENT, rel=0.15)
    with FlopCounterMode(display=False) as counter:
        synthetic = torch.autograd.grad(
            F.cross_entropy(network(images), labels), list(network.parameters()), create_graph=True
        )
        slow_distance(list(synthetic), list(gradient), "cos").backward(inputs=[images])
    assert counter.get_total_flops() / forward == pytest.approx(MATCHING_GRADIENT, rel=0.15)


def test_work_is_counted_over_the_loops() -> None:
    work = count_work(resolve(iterations=5, inner_steps=3, network_epochs=4, batch_train=4, batch_real=8), DATASET)
    assert work.inner_steps == 15
    assert work.network_steps == 5 * 2 * 4 * 2  # two batches of the six images
    forward = forward_operations(NetworkSpec(width=32), DATASET)
    assert work.operations == forward * (15 * (3 * 3 * 8 + 7 * 6) + 5 * 2 * 4 * 3 * 6)
    assert making_operations(resolve(method="random"), DATASET) == 0


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which a second passes whenever it is looked at, so that a step takes one."""
    clock = itertools.count()
    monkeypatch.setattr("dsactl.runs.cost.time.perf_counter", lambda: float(next(clock)))


@pytest.mark.usefixtures("ticks")
def test_other_methods_are_tried_too() -> None:
    for method in ("dd", "ld"):
        estimate = try_a_step(resolve(method=method, iterations=400), DATASET)
        assert estimate is not None
        assert estimate.seconds == 400
    for method in ("herding", "forgetting", "kcenter"):
        estimate = try_a_step(resolve(method=method, options={"epochs": 30}), DATASET)
        assert estimate is not None
        assert estimate.seconds == 30, "few images are all tried"


@pytest.mark.usefixtures("ticks")
def test_a_pass_is_tried_on_a_part_and_scaled_to_the_whole() -> None:
    real = small_dataset(channels=3, side=16, per_class=1000)
    estimate = try_a_step(resolve(method="herding", options={"epochs": 30}), real)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(30 * 3000 / (3 * 334))


@pytest.mark.usefixtures("ticks")
def test_a_trial_scales_with_the_run() -> None:
    for iterations in (10, 1000):
        estimate = try_a_step(resolve(iterations=iterations, inner_steps=2), DATASET)
        assert estimate is not None
        assert estimate.seconds == 2 * iterations
        assert estimate.memory > 1e7


def test_a_trial_counts_the_training_between_inner_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(recipe: Recipe, _: object) -> float:
        return 1.0 + 0.25 * recipe.settings.network_epochs * (recipe.settings.inner_steps > 1)

    monkeypatch.setattr("dsactl.methods.gradient_matching.cost._seconds_per_step", seconds)
    estimate = try_a_step(resolve(iterations=10, inner_steps=5, network_epochs=3), DATASET)
    assert estimate is not None
    assert estimate.seconds == 10 * (5 * 1.0 + 4 * 3 * 0.25)


def test_a_trial_of_matching_captures_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on without if capturing fails; a trial, which cannot, does not begin with it."""
    path = "dsactl.methods.gradient_matching.cost.choose_mode"
    monkeypatch.setattr(path, lambda *_, **__: replace(PLAIN, captured=True))
    assert try_a_step(resolve(iterations=10, formation=2), DATASET) is not None
