"""Runs in processes of their own, stopped by real signals."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from compilers import needs_torch_compile
from reference import write_folder
from sessions import Stopping, Told, session

import dsactl
import registry
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.compilation import can_compile
from dsactl.engine.progress import Progress
from dsactl.errors import DataError, DeviceError, NetworkError, RunError
from dsactl.methods.gradient_matching import inner_step, method
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs import run, runner
from dsactl.runs.job import Job, load_source, prepare, run_folder
from dsactl.runs.run import execute, has_checkpoint

# Three inner steps with a trained network between them, so that a stop can fall into any part.
OPTIONS = ("condense", "digits@classes0-3", "--ipc", "2", "--iterations", "30", "--width", "16", "--inner-steps", "3")
OPTIONS += ("--network-epochs", "3", "--batch-real", "64", "--seed", "5", "--checkpoint-every", "0.05", "--json")


def start(home: Path) -> processes.Forked:
    return processes.start(*OPTIONS, env={**os.environ, "DSACTL_HOME": str(home), "NO_COLOR": "1"})


def steps_done(home: Path) -> int:
    """Steps that the run's events tell of."""
    lines = [line for path in home.glob("runs/*/events.jsonl") for line in path.read_text().splitlines()]
    return json.loads(lines[-1])["step"] if lines else 0


def keeps_checkpoint(home: Path) -> bool:
    return bool(list(home.glob("runs/*/checkpoint.safetensors")))


def is_finished(home: Path) -> bool:
    return bool(list(home.glob("runs/*/finished.json")))


def finish(home: Path) -> dict[str, object]:
    process = start(home)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return json.loads(out)[0]


@pytest.mark.slow
def test_interrupted_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    """SIGINT, SIGTERM and SIGKILL at any moments; the set is that of an uninterrupted run.

    Thirteen processes, four times the work of a run. A moment is a part of what a whole run takes on this machine.
    """
    whole = finish(tmp_path / "whole")
    assert isinstance(whole["seconds"], float)
    chance = random.Random(0)
    for number, (name, code) in enumerate((("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9))):
        home = tmp_path / f"stopped-{number}"
        stops = []
        for _ in range(2):
            before = steps_done(home)
            process = start(home)
            while (steps_done(home) <= before or not keeps_checkpoint(home)) and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.4 * whole["seconds"]))
            process.send_signal(getattr(signal, name))
            out, err = process.communicate(timeout=60)
            if is_finished(home):
                break  # it was faster: the signal came when the set was stored
            assert process.returncode == code, err
            assert out == ""
            if name in ("SIGINT", "SIGTERM"):
                assert "the checkpoint was written" in err
                assert "Run the same again to continue from there." in err
            assert keeps_checkpoint(home)
            stops.append(steps_done(home))
        assert stops, "no stop fell into the run"
        sys.stdout.write(f"{name} after {stops} of 90 steps\n")
        stopped = finish(home)
        assert stopped["digest"] == whole["digest"]
        assert not keeps_checkpoint(home)
        # And once more: the answer is there at once.
        assert finish(home) == {**stopped, "repeated": True}


def job(**options: object) -> Job:
    values = {"dataset": "digits", "ipc": 1, "width": 8, "iterations": 3, **options}
    return prepare(Request.parse(values), "cpu")


def test_a_run_is_repeated_looked_up_and_started_afresh() -> None:
    store = registry.Store()
    first = execute(job(), session(store))
    assert not first.repeated
    assert execute(job(), session(store)).repeated
    fresh = execute(job(), session(store), fresh=True)
    assert not fresh.repeated
    assert fresh.stored == first.stored
    other = execute(job(seed=1), session(store))
    assert other.stored.reference == "digits-dsa-convnet-width8-ipc1:2"
    assert other.stored.digest != first.stored.digest


def test_several_sets_have_seeds_of_their_own() -> None:
    jobs = [job().with_seed(index) for index in range(3)]
    assert jobs[0].recipe == job().recipe
    assert len({each.recipe.seed for each in jobs}) == 3
    assert len({each.recipe.digest() for each in jobs}) == 3


def test_an_error_keeps_the_work_and_ctrl_c_comes_through() -> None:
    store, stopped, rest = registry.Store(), Stopping(2), Told()
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(store, stopped))
    assert list(dict.fromkeys(stopped.seen)) == [0, 1, 2]
    path = run_folder(store, job().recipe) / "checkpoint.safetensors"
    _, about = read(path)
    assert about["done"] == 2
    went_on = execute(job(), session(store, rest))
    assert list(dict.fromkeys(rest.seen)) == [2, 3]
    assert went_on.stored.digest == execute(job(), session(store), fresh=True).stored.digest


def test_ctrl_c_says_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a note of the exception: before the first step, between steps, before the next update, and at the end."""
    store = registry.Store()
    go_on = "Run the same again to continue from there."

    def notes(stop: Progress | None = None, **how: bool) -> list[str]:
        with pytest.raises(KeyboardInterrupt) as caught:
            execute(job(), session(store, stop), **how)
        return caught.value.__notes__

    assert notes(Stopping(0)) == ["Interrupted before the first step; no checkpoint was written."]
    assert notes(Stopping(2)) == [f"Interrupted at step 2 of 3; the checkpoint was written.\n{go_on}"]
    again = "Run the same again, without `fresh=True`, to continue from there."
    assert notes(Stopping(1), fresh=True) == [f"Interrupted at step 1 of 3; the checkpoint was written.\n{again}"]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "run_method", interrupted)
        assert notes() == [f"Interrupted; the checkpoint was written.\n{go_on}"]
    with monkeypatch.context() as patch:
        patch.setattr(run, "store_product", interrupted)
        assert notes() == [f"Interrupted at step 3 of 3; the checkpoint was written.\n{go_on}"]
    with monkeypatch.context() as patch:
        patch.setattr(run, "Outcome", interrupted)
        assert notes() == ["Interrupted; the set is stored."]
    assert execute(job(), session(store)).repeated


def test_events_have_the_norms_of_images_and_gradient() -> None:
    small: dict[str, Any] = {"ipc": 1, "method": "dm", "width": 8, "image_lr": 0.5, "device": "cpu"}
    before, after = (dsactl.condense("digits", iterations=steps, **small).images for steps in (1, 2))
    [figures] = [run.figures for run in dsactl.list_runs() if run.total == 2]
    assert figures["image norm"] == pytest.approx(after.norm().item(), rel=1e-5)
    assert 0.5 * figures["gradient norm"] == pytest.approx((after - before).norm().item(), rel=1e-4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_for_the_log_of_events_keeps_the_work() -> None:
    store = registry.Store()
    folder = run_folder(store, job().recipe)
    folder.mkdir(parents=True)
    (folder / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(registry.StoreError, match="No space left") as caught:
        execute(job(), session(store))
    assert "Free space" in caught.value.hint
    assert read(folder / "checkpoint.safetensors")[1]["done"] == 1
    (folder / "events.jsonl").unlink()
    assert execute(job(), session(store)).stored.digest == execute(job(), session(store), fresh=True).stored.digest


def read(path: Path):  # type: ignore[no-untyped-def]
    return read_checkpoint(path.read_bytes(), path, torch.device("cpu"))


def interrupted(store: registry.Store, **options: object) -> Path:
    with pytest.raises(KeyboardInterrupt):
        execute(job(**options), session(store, Stopping(1)))
    return run_folder(store, job(**options).recipe) / "checkpoint.safetensors"


def test_a_checkpoint_beside_a_finished_run_is_of_no_consequence() -> None:
    """As a process leaves it that is killed just before it removes it."""
    store = registry.Store()
    path = interrupted(store)
    left = path.read_bytes()
    made = execute(job(), session(store)).stored
    path.write_bytes(left)
    assert not has_checkpoint(store, job().recipe)
    execute(job(precision="bfloat16"), session(store))
    assert execute(job(), session(store)).repeated
    assert not path.exists()
    store.remove([made.place])
    assert interrupted(store) == path
    assert has_checkpoint(store, job().recipe), "of the set that is made anew"
    assert execute(job(), session(store)).stored.digest == made.digest


def test_foreign_and_damaged_checkpoints_are_refused_with_the_way_out() -> None:
    store = registry.Store()
    path = interrupted(store)
    tensors, about = read(path)
    save_checkpoint(path, tensors, {**about, "mode": {**about["mode"], "device": "cuda"}})
    with pytest.raises(RunError, match=r"was written on cuda.*"):
        execute(job(), session(store))
    save_checkpoint(path, {**tensors, "images": tensors["images"][:5]}, about)
    with pytest.raises(RunError, match="has images of another shape"):
        execute(job(), session(store))
    save_checkpoint(path, {}, about)
    with pytest.raises(RunError, match="is damaged"):
        execute(job(), session(store))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"is damaged"):
        execute(job(), session(store))
    assert execute(job(), session(store), fresh=True).stored.version == 1


def test_a_run_goes_on_with_as_many_processes_as_it_began() -> None:
    store = registry.Store()
    path = interrupted(store)
    tensors, about = read(path)
    save_checkpoint(path, tensors, {**about, "mode": {**about["mode"], "processes": 4}})
    with pytest.raises(RunError, match=r"written on cpu.*, 4 processes; .* use 4 processes, started by torchrun"):
        execute(job(), session(store))


def test_another_precision_does_not_begin_again_silently() -> None:
    store = registry.Store()
    interrupted(store, precision="bfloat16")
    with pytest.raises(RunError, match=r'unfinished bfloat16 run .* use `precision="bfloat16"`; .* `fresh=True`'):
        execute(job(precision="float32"), session(store))
    assert execute(job(precision="float32"), session(store), fresh=True).stored.version == 1
    assert execute(job(precision="bfloat16"), session(store)).stored.version == 2


def test_a_finished_run_answers_beside_one_in_another_precision() -> None:
    store = registry.Store()
    done = execute(job(precision="float32"), session(store))
    interrupted(store, precision="bfloat16")
    assert execute(job(precision="float32"), session(store)).stored == done.stored


def test_one_process_at_a_time_works_on_a_run() -> None:
    store = registry.Store()

    def again(done: float, _total: float, _doing: str) -> None:
        if done == 1:
            with pytest.raises(RunError, match="Another process is making"):
                execute(job(), session(store))

    assert execute(job(), session(store, Told(again))).stored.version == 1


def test_divergence_is_an_error_that_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "EVENT_SECONDS", 0.0)
    store = registry.Store()
    with pytest.raises(RunError, match=r"diverged in iteration \d+: .* smaller `image_lr` than 1e\+38"):
        execute(job(image_lr=1e38, strategy="color", distance="mse"), session(store))
    assert store.sets() == []


def test_bad_input_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "condense", None)
    with pytest.raises(DataError, match="fewer than `ipc=140`"):
        job(ipc=140)
    with pytest.raises(NetworkError, match="lenet cannot take 1×8×8 images"):
        job(arch="lenet", width=None)
    with pytest.raises(DeviceError, match="Unknown device 'gpu'"):
        prepare(Request.parse({"dataset": "digits", "ipc": 1}), "gpu")
    with pytest.raises(registry.BadNameError, match="is not a name"):
        job(name="../elsewhere")
    assert not registry.default_home().exists()


def test_a_folder_s_place_stays_on_this_machine(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "private" / "shapes")
    store = registry.Store()
    request = Request.parse({"dataset": str(folder), "ipc": 1, "method": "random"})
    made = execute(prepare(request), session(store))
    assert made.stored.reference == "shapes-random-ipc1:1"
    assert str(tmp_path / "private") not in made.stored.file.read_bytes().decode("latin1")
    assert "private" not in made.stored.picture.with_suffix(".json").read_text()
    assert load_source(store, prepare(request).recipe).train.counts == (8, 8)
    folder.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="is not a folder"):
        load_source(store, Recipe.from_dict(made.stored.manifest.recipe))


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "batch", "ipc": 2, "inner_steps": 2, "network_epochs": 1},
        {"method": "dc", "ipc": 3, "inner_steps": 2, "network_epochs": 1, "batch_synthetic": 2},
        {"precision": "bfloat16"},
    ],
    ids=["batch norm", "dc from noise", "bfloat16"],
)
def test_runs_of_every_kind_go_on(options: dict[str, object]) -> None:
    store = registry.Store()
    options = {**options, "iterations": 4}
    total = 4 * int(options.get("inner_steps", 1))
    with pytest.raises(KeyboardInterrupt):
        execute(job(**options), session(store, Stopping(total // 2 + 1)))
    went_on = execute(job(**options), session(store)).stored.digest
    assert execute(job(**options), session(store), fresh=True).stored.digest == went_on


@needs_torch_compile
@pytest.mark.slow
def test_compiled_runs_go_on_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_compile("cpu")
    monkeypatch.setattr(method, "COMPILE_OPERATIONS", 0)
    options = {"depth": 1, "batch_real": 64, "iterations": 4}
    path = interrupted(store := registry.Store(), **options)
    assert read(path)[1]["mode"]["compiled"] is True
    went_on = execute(job(**options), session(store)).stored.digest
    assert execute(job(**options), session(store), fresh=True).stored.digest == went_on


def test_a_run_that_stopped_after_its_last_step_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the disk was full: nothing is left to compute, or to try out."""
    monkeypatch.setattr(method, "_worth_compiling", lambda _: True)
    monkeypatch.setattr(inner_step, "compiled", lambda function: function)
    store = registry.Store()
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(store, Stopping(3)))
    went_on = execute(job(), session(store)).stored.digest
    assert execute(job(), session(store), fresh=True).stored.digest == went_on


def test_without_a_working_compiler_runs_go_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_function: object) -> object:
        def fail(*_: object) -> None:
            raise RuntimeError("no compiler")

        return fail

    monkeypatch.setattr(method, "_worth_compiling", lambda _: True)
    monkeypatch.setattr(inner_step, "compiled", broken)
    store = registry.Store()
    path = interrupted(store)
    tensors, about = read(path)
    assert about["mode"]["compiled"] is False
    save_checkpoint(path, tensors, {**about, "mode": {**about["mode"], "compiled": True}})
    with pytest.raises(RunError, match=r"started on cpu.* compiled.*, which fails here \(RuntimeError: no compiler\)"):
        execute(job(), session(store))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_after_divergence_only_another_precision_is_advised(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(runner, "EVENT_SECONDS", 0.0)
    store = registry.Store()
    options = {"image_lr": 1e38, "strategy": "color", "distance": "mse"}
    with pytest.raises(RunError, match="diverged") as caught:
        execute(job(precision=precision, **options), session(store))
    assert caught.value.hint.endswith(
        ' or `precision="float32"` with `fresh=True`.' if precision == "bfloat16" else " `image_lr` than 1e+38."
    )
