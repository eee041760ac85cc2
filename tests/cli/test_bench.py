import json
import math
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

import registry
from dsactl.benchmark.evaluation import Lengths


def test_bench_counts_the_timed_operations(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncompiled and with a small matrix product, so that it takes a second; the timed steps are the same."""
    monkeypatch.setattr("dsactl.benchmark.timing.MATRICES", (256,))
    monkeypatch.setattr("dsactl.engine.mode.can_compile", lambda device_type: False)
    shapes = ("--dataset", "digits", "--ipc", "2", "--arch", "mlp", "--precision", "float32")
    code, out, err = cli("bench", *shapes, "--json")
    assert code == 0, err
    value = json.loads(out)
    assert (value["dataset"], value["ipc"], value["network"], value["precision"]) == ("digits", 2, "mlp", "float32")
    forward = 2 * (64 * 128 + 128 * 128 + 128 * 10)
    expected = {
        "inner_step": forward * 10 * (3 * 256 + 7 * 2),
        "network_step": forward * 3 * 20,
        "evaluation": forward * (3 * 20 * 1000 + 360),
    }
    for name, operations in expected.items():
        timing = value[name]
        assert timing["operations"] == pytest.approx(operations)
        assert 0 < timing["low"] <= timing["median"] <= timing["high"]
        assert timing["share"] == pytest.approx(operations / timing["median"] / value["matrix_product"])
    assert value["memory"] > 2**24
    assert math.isfinite(value["matrix_product"])
    assert not registry.default_home().exists(), "nothing is written"


@pytest.mark.parametrize(("method", "formation", "passes"), [("dm", 1, 256 + 2 * 2), ("dance", 2, 128 + 2 * 2 * 8)])
def test_iterations_of_other_methods_are_timed(
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    formation: int,
    passes: int,
) -> None:
    """Of dm one step, of dance two, each a forward and a backward pass to the images."""
    monkeypatch.setattr("dsactl.benchmark.timing.MATRICES", (256,))
    shapes = ("--dataset", "digits", "--ipc", "2", "--arch", "mlp", "--precision", "float32")
    code, out, err = cli("bench", *shapes, "--method", method, "--formation", str(formation), "--json")
    assert code == 0, err
    value, forward = json.loads(out), 2 * (64 * 128 + 128 * 128 + 128 * 10)
    timing = value["iteration"]
    assert value["method"] == method
    assert timing["operations"] == pytest.approx(forward * 10 * passes)
    assert timing["repetitions"] >= 3
    assert 0 < timing["low"] <= timing["median"] <= timing["high"]
    assert "inner_step" not in value
    assert not registry.default_home().exists(), "nothing is written"


def test_a_method_without_such_steps_is_refused(cli: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = cli("bench", "--method", "random")
    assert (code, "does not measure" in err) == (2, True)


def test_parts_are_scaled_up_on_a_slow_machine(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsactl.benchmark.timing.MATRICES", (256,))
    monkeypatch.setattr("dsactl.benchmark.timing.SECONDS", 1e-6)
    monkeypatch.setattr("dsactl.engine.mode.can_compile", lambda device_type: False)
    code, out, err = cli("bench", "--dataset", "digits", "--ipc", "2", "--arch", "mlp", "--json")
    assert code == 0, err
    forward = 2 * (64 * 128 + 128 * 128 + 128 * 10)
    value = json.loads(out)
    assert value["inner_step"]["operations"] == pytest.approx(forward * 10 * (3 * 256 + 7 * 2)), "of all classes"
    assert value["scaled"] == [
        "the inner step from 1 of its 10 classes",
        "the evaluation from 1 and 3 of 1000 epochs, and 1 and 2 of 360 test images",
    ]
    assert "Scaled up: the inner step from 1 of its 10 classes; the evaluation from" in err


@pytest.mark.parametrize(
    ("epochs", "tests", "cuda", "expected"),
    [
        (1e6, 1e6, False, Lengths(10, (2500, 10_000))),
        (1e6, 1e6, True, Lengths(200, (2500, 10_000))),
        (27, 3500, False, Lengths(5, (500, 2000))),
        (0, 0, True, Lengths(1, (1, 2))),
    ],
)
def test_evaluation_lengths_fit_the_time(epochs: float, tests: float, cuda: bool, expected: Lengths) -> None:
    assert Lengths.fitting(10_000, epochs=epochs, tests=tests, cuda=cuda) == expected


def test_an_unknown_dataset_is_refused(program: Callable[..., CompletedProcess[str]]) -> None:
    done = program("bench", "--dataset", "cifar")
    assert done.returncode == 2
    assert "Did you mean 'cifar10'" in done.stderr
