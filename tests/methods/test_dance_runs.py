"""Runs of DANCE and their pools of experts: made, found, named, waited for, refused."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from away import Away
from filelock import BaseFileLock, FileLock
from sessions import Stopping, Told, session

import dsactl
import registry
from dsactl.cli.recipe_to_command import set_command
from dsactl.engine.locks import hold
from dsactl.expert_pools import make
from dsactl.expert_pools.make import find_pool, pool_folder
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Request
from dsactl.runs.experts import Pools, pool_job
from dsactl.runs.job import prepare, run_folder
from dsactl.runs.parallel import make_all
from dsactl.runs.run import execute

FEW: dict[str, Any] = {"method": "dance", "width": 8, "precision": "float32", "batch_real": 12}
EXPERTS = {"expert_networks": 2, "expert_epochs": 1}


def test_the_pool_is_made_once_and_found_again() -> None:
    made = dsactl.condense("digits", ipc=1, **FEW, **EXPERTS, iterations=2)
    pool = dsactl.load_experts("digits-experts-convnet-width8")
    assert (pool.networks, pool.epochs, pool.recipe.seed) == (2, (0, 1), 0)
    stored = registry.Store().find(registry.parse_reference(made.reference))
    assert stored.manifest.provenance["experts"] == f"{pool.reference} @sha256:{pool.digest}"
    told = Told()
    dsactl.condense("digits", ipc=1, **FEW, **EXPERTS, iterations=3, seed=1, progress=told)
    assert not any("training" in doing for _, _, doing, _ in told.updates)
    named = dsactl.condense("digits", ipc=1, **FEW, experts="digits-experts-convnet-width8", iterations=2)
    assert named.recipe.settings.option("experts") == f"@sha256:{pool.digest}"
    assert named.recipe.settings.option("expert_epochs") == 1
    assert torch.equal(named.images, made.images)
    soft = registry.Store().find(registry.parse_reference(dsactl.relabel(made, experts=pool).reference))
    known = soft.manifest.provenance
    assert (known["experts"], known["teacher"]) == (stored.manifest.provenance["experts"], pool.reference)


def test_an_interrupted_run_goes_on_to_the_same_bits() -> None:
    options = {**FEW, **EXPERTS, "ipc": 1, "iterations": 4, "formation": 2}
    dsactl.experts("digits", networks=2, epochs=1, network=NetworkSpec(width=8), precision="float32")
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense("digits", **options, progress=Stopping(2))
    resumed = dsactl.condense("digits", **options)
    assert torch.equal(resumed.images, dsactl.condense("digits", **options, fresh=True).images)


def test_workers_are_given_the_pool() -> None:
    jobs = [
        prepare(Request.parse({"dataset": "digits", "ipc": 1, "iterations": 2, "seed": seed, **FEW, **EXPERTS}), "cpu")
        for seed in (0, 1)
    ]
    made = dict(make_all(jobs, session(executor=Away())))
    here = execute(jobs[0], session(), fresh=True)
    first = made[0]
    assert not isinstance(first, Exception)
    assert first.stored.manifest.tensors == here.stored.manifest.tensors


def test_the_named_pool_is_refused_if_it_does_not_fit(refused: Callable[..., str]) -> None:
    small = NetworkSpec(width=8)
    pool = dsactl.experts("digits", networks=1, epochs=2, network=small, keep=(2,), name="late")
    dsactl.experts("digits@validation", networks=1, epochs=1, network=small, name="other-images")
    dsactl.experts("digits", networks=1, epochs=1, network=NetworkSpec(width=16), name="wide")
    dsactl.condense("digits", ipc=1, method="random", name="a-set")
    asked = ("condense", "digits", "--ipc", "1", "--method", "dance", "--width", "8", "--iterations", "1")
    cases = {
        "late": r"late:1 does not have the initial weights of its experts.*keeps epoch 0",
        "other-images": r"other-images:1 was trained on other images than those of digits.*dsactl experts digits",
        "wide": r"wide:1 has networks convnet-width16, and the recipe has convnet-width8",
        "a-set": r"a-set:1 is a set",
        "nothing": r"nothing",
    }
    for name, message in cases.items():
        assert re.search(message, refused(*asked, "--experts", name), re.DOTALL)
    both = ("--experts", f"@sha256:{pool.digest}", "--expert-epochs", "3")
    assert "--expert-epochs is 3, and late:1 has 2" in refused(*asked, *both)


def test_a_missing_pool_is_announced_and_made(cli: Callable[..., tuple[int, str, str]]) -> None:
    small = ("--width", "8", "--iterations", "2", "--expert-networks", "2", "--expert-epochs", "1")
    asked = ("condense", "digits", "--ipc", "1", "--method", "dance", *small, "--precision", "float32")
    code, out, err = cli(*asked, "--dry-run")
    assert code == 0, err
    assert re.search(
        r"experts +2 networks of 1 epoch, (about .*|under a second) one after the other, which are trained first", out
    )
    assert re.search(r"work per set +2 iterations", out)
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, **FEW, **EXPERTS}), "cpu")
    assert find_pool(registry.Store(), pool_job(job)) is None
    code, out, err = cli(*asked)
    assert code == 0, err
    assert "no fitting pool of experts for digits. One is trained now: 2 networks of 1 epoch, " in err
    assert "Stored digits-dance-convnet-width8-ipc1:1" in out
    assert find_pool(registry.Store(), pool_job(job)) is not None
    for more in ((), ("--fresh",), ("--seed", "1")):
        code, out, err = cli(*asked, *more)
        assert (code, "trained now" in err) == (0, False)


def test_before_experts_are_trained_the_run_is_listed_and_others_are_named(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = dsactl.experts("digits", networks=2, epochs=1, network=NetworkSpec(width=8), precision="float32")

    def train(*_: object, **__: object) -> None:
        raise dsactl.Error("It is not trained here.")

    monkeypatch.setattr("dsactl.cli.expert_pools.make", train)
    asked = ("condense", "digits", "--ipc", "1", "--method", "dance", "--width", "8", "--precision", "float32")
    said = (
        f"The store has experts with other settings, which --experts takes: {kept.reference} (2 networks of 1 epoch)."
    )
    assert said in " ".join(cli(*asked)[2].split())
    assert [(run.kind, run.state, run.done) for run in dsactl.list_runs(unfinished=True)] == [("set", "stopped", 0)]
    assert said not in " ".join(cli(*asked, "--expert-epochs", "7")[2].split()), "they are not what was asked for"
    (run,) = (run for run in dsactl.list_runs(unfinished=True) if run.recipe.settings.option("expert_epochs") == 60)
    other = run_folder(registry.Store(), replace(run.recipe, precision="bfloat16"))
    other.mkdir(parents=True)
    (other / "checkpoint.safetensors").touch()
    assert "An unfinished bfloat16 run of this recipe exists" in " ".join(cli(*asked)[2].split())
    assert "It is not trained here." in cli(*asked, "--fresh")[2], "a run that starts over is not refused"


def test_experts_that_another_process_trains_are_waited_for(
    cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--width", "8", "--iterations", "2", "--expert-networks", "2", "--expert-epochs", "1")
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, **FEW, **EXPERTS}), "cpu")
    folder = pool_folder(registry.Store(), pool_job(job).recipe)
    folder.mkdir(parents=True)
    held, waited_for = Event(), Event()

    def train() -> None:
        with FileLock(folder / "lock"):
            held.set()
            waited_for.wait(60)

    def told(path: Path, waiting: Callable[[], None] | None = None) -> BaseFileLock:
        def wait() -> None:
            assert waiting is not None
            waiting()
            waited_for.set()

        return hold(path, wait)

    monkeypatch.setattr(make, "hold", told)

    Thread(target=train).start()
    assert held.wait(10)
    code, out, err = cli("condense", "digits", "--ipc", "1", "--method", "dance", *small, "--precision", "float32")
    assert code == 0, err
    assert "waiting for another process that trains these experts" in err
    assert "Stored digits-dance" in out


def test_without_experts_no_pool_is_made() -> None:
    job = prepare(Request.parse({"dataset": "digits", "ipc": 1, **FEW, "blend": "fresh", "calibration": 0}), "cpu")
    assert Pools().obtain(job, session()) is None


@pytest.mark.parametrize("setting", [{"experts": "name"}, {"expert_epochs": 3}])
def test_settings_of_experts_that_are_not_used_are_refused(setting: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"blend": "fresh", "calibration": 0, "iterations": 1, "width": 8}
    if "experts" in setting:
        dsactl.experts("digits", networks=1, epochs=1, network=NetworkSpec(width=8), name="name")
    with pytest.raises(dsactl.Error, match=r"no experts are used"):
        dsactl.condense("digits", ipc=1, method="dance", **asked, **setting)


def test_the_command_of_a_set_with_a_named_pool_makes_it_again(cli: Callable[..., tuple[int, str, str]]) -> None:
    dsactl.experts("digits", networks=2, epochs=1, network=NetworkSpec(width=8), precision="float32", name="few")
    made = dsactl.condense("digits", ipc=1, **FEW, experts="few", iterations=2)
    command = set_command(registry.Store().find(registry.parse_reference(made.reference)).manifest)
    assert command is not None
    assert "expert_networks" not in command
    code, out, err = cli(*shlex.split(command)[1:])
    assert code == 0, err
    assert f"Already stored: {made.reference}" in out
    assert cli(*shlex.split(command)[1:], "--option", "expert_networks=2")[0] == 0
