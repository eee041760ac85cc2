import json
import math
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

import registry


def test_the_yardstick_counts_what_it_times(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncompiled, and held against a small matrix product: what is timed is the same, in a second."""
    monkeypatch.setattr("dsactl.bench.MATRICES", (256,))
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


def test_only_named_shapes_are_known(program: Callable[..., CompletedProcess[str]]) -> None:
    done = program("bench", "--dataset", "cifar")
    assert done.returncode == 2
    assert "Did you mean 'cifar10'" in done.stderr
