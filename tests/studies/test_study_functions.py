"""The studies as Python functions: results, refusals, failures and Ctrl-C."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from reference import write_folder
from samples import write_idx
from sessions import Told

import dsactl
from dsactl.engine.session import Session
from dsactl.errors import RunError, UnknownNameError, UsageError
from dsactl.studies.study import Study

Cli = Callable[..., tuple[int, str, str]]
FAST = {"networks": 1, "epochs": 1}
ONE_NETWORK = "depth=1,width=32,activation=relu,norm=none,pooling=avg"
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "transfer": (
        ("digits",),
        {"archs": ["mlp", "convnet"], "test_on": ["mlp"], "method": "dc", "iterations": 1, **FAST},
        "transfer digits --archs mlp,convnet --test-on mlp --method dc --iterations 1 --networks 1 --epochs 1",
    ),
    "ablate": (
        ("ipc", "digits"),
        {"ipc": [1, 2], "methods": ["random", "herding"], "arch": "mlp", **FAST},
        "ablate ipc digits --ipc 1,2 --methods random,herding --arch mlp --networks 1 --epochs 1",
    ),
    "nas": (
        ("digits",),
        {"proxies": ["random", "whole"], "where": ONE_NETWORK, "ipc": 1, "epochs": 1, "whole_epochs": 1, "repeats": 1},
        f"nas digits --proxy random,whole --where {ONE_NETWORK} --ipc 1 --epochs 1 --whole-epochs 1 --repeats 1 "
        "--ray off",
    ),
    "continual": (
        (["digits"],),
        {"splits": 2, "memory": ["none", "random"], "ipc": 1, "repeats": 1, "steps": 2, "balance_steps": 1},
        "continual --tasks digits --splits 2 --memory none,random --ipc 1 --repeats 1 --steps 2 --balance-steps 1 "
        "--ray off",
    ),
    "reproduce": (
        ("table3",),
        {"only": ["mlp:mlp"], "sets": 1, "networks": 1, "scale": 0.001},
        "reproduce table3 --only mlp:mlp --sets 1 --networks 1 --scale 0.001",
    ),
}
"""A fast call of each function: its arguments, its keywords, and the same as a command line."""


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tables of the paper train for few epochs, and results go to the test's folder."""
    for epochs in ("EPOCHS_AUGMENTED", "EPOCHS_PLAIN"):
        monkeypatch.setattr(f"dsactl.evaluation.resolve.{epochs}", 2)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_returns_what_its_command_prints(name: str, cli: Cli, tmp_path: Path) -> None:
    write_idx(tmp_path / "data", "MNIST")
    arguments, keywords, command = CALLS[name]
    told = Told()
    result = getattr(dsactl, name)(*arguments, **keywords, out=tmp_path / "results", device="cpu", progress=told)
    assert isinstance(result, dsactl.StudyResult)
    assert (result.folder, result.failed, told.failures) == (tmp_path / "results", "", [])
    assert {file for file in result.files if not (result.folder / file).is_file()} == set()
    assert result.files
    done = [done / total for done, total, *_ in told.updates]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    words = command.split()
    code, answer, said = cli(*words, "--device", "cpu", "--out", str(tmp_path / "results"), "--json")
    assert code == 0, said
    assert json.loads(answer) == json.loads(json.dumps(result.values)), "what is stored was not computed again"
    code, answer, said = cli(*words, "--device", "cpu", "--out", str(tmp_path / "results"))
    assert code == 0, said
    headings = [heading for heading, _ in result.tables]
    assert [line for line in answer.splitlines() if line in headings] == headings
    assert all(line.strip() in answer for line in str(result).splitlines())
    assert all(remark in said for remark in result.remarks)
    assert f"Written to {tmp_path / 'results'}: {', '.join(result.files)}" in said


@pytest.mark.parametrize(
    ("name", "wrong", "near"),
    [
        ("transfer", "arch", "archs"),
        ("transfer", "devise", "device"),
        ("ablate", "method_s", "methods"),
        ("nas", "proxy", "proxies"),
        ("continual", "repeat", "repeats"),
        ("reproduce", "scales", "scale"),
        ("reproduce", "progres", "progress"),
    ],
)
def test_an_unknown_keyword_is_refused_with_near_names(name: str, wrong: str, near: str) -> None:
    arguments, keywords, _ = CALLS[name]
    with pytest.raises(UnknownNameError, match=f"Unknown keyword '{wrong}'") as raised:
        getattr(dsactl, name)(*arguments, **keywords, **{wrong: 1})
    assert isinstance(raised.value, TypeError)
    assert repr(near) in raised.value.hint


@pytest.mark.parametrize(
    ("name", "option", "message", "hint"),
    [
        ("transfer", {"method": "random"}, '`method="random"` uses no network', '`method="dsa"`'),
        ("transfer", {"archs": "mlp"}, "`archs` takes a list", "Use `archs=['mlp']`."),
        ("transfer", {"test_on": Path("mlp")}, "`test_on` takes a list, not 'mlp'", "Use `test_on=['mlp']`."),
        ("transfer", {"archs": []}, "No network was given", "Known: "),
        ("transfer", {"networks": "5"}, "`networks` must be a whole number, not '5'", ""),
        ("transfer", {"sets": 0}, "`sets` must be at least 1, not 0", ""),
        ("ablate", {"method": "dc"}, "The study ipc takes `methods`, not `method`", '`methods=["dc"]`'),
        ("ablate", {"kinds": ["crop"]}, "`kinds` is for schemes and strategies, not for ipc", "Leave it out."),
        ("ablate", {"ipc": []}, "No number of images per class", "`ipc=[1, 10]`"),
        ("nas", {"where": "depth>>1"}, "'depth>>1' is not a valid condition", '`where="depth<=3,norm=instance|group"`'),
        ("nas", {"seed": -1}, "`seed` must be at least 0, not -1", ""),
        ("nas", {"batch": 0}, "`batch` must be at least 1, not 0", ""),
        ("continual", {"lr": 0.0}, "`lr` must be above 0 and below 1e6, not 0.0", ""),
        ("continual", {"splits": 3}, "10 classes cannot be split evenly", "Use `splits=2` or `splits=5`."),
        ("continual", {"memory": ["none"], "new_data": "condensed"}, '`memory="none"` has no set', "`memory`"),
        ("reproduce", {"scale": 2}, "`scale` must be above 0 and at most 1, not 2", ""),
        ("reproduce", {"only": "kip"}, "`only` takes a list, not 'kip'", "Use `only=['kip']`."),
        ("reproduce", {"only": []}, "No cell was given", "Leave out `only`"),
        ("reproduce", {"seed": -1}, "`seed` must be at least 0, not -1", ""),
    ],
)
def test_a_bad_option_is_refused_in_python_notation(
    name: str, option: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    arguments, keywords, _ = CALLS[name]
    with pytest.raises(UsageError) as raised:
        getattr(dsactl, name)(*arguments, **keywords | option, out=tmp_path / "results")
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert "--" not in f"{raised.value.message} {raised.value.hint}"
    assert not (tmp_path / "results").exists()


def test_a_part_that_a_figure_does_not_have_is_refused_beside_one_that_it_has() -> None:
    with pytest.raises(UsageError, match="figure6 has no part fog") as raised:
        dsactl.reproduce("figure6", only=["noise", "fog"])
    assert raised.value.hint == "Parts: noise, real."


FAILING = {
    "transfer": ("dsactl.studies.cells.evaluate_cached", "2 of 2 cells", "mlp:mlp: lost"),
    "ablate": ("dsactl.studies.cells.evaluate_cached", "4 of 4 cells", "random:1: lost"),
    "nas": ("dsactl.studies.nas.study.evaluate_cached", "2 networks", "random, depth1-width32-relu-nonorm-avg on all"),
    "continual": ("dsactl.studies.continual.learner.Learner.train", "4 of 4 runs", "none, repeat 1: lost"),
    "reproduce": ("dsactl.studies.cells.evaluate_cached", "1 of 1 cells", "mlp:mlp: lost"),
}
"""What fails in each study, the result's `failed`, and the beginning of the first message to the meter."""


@pytest.mark.parametrize("name", FAILING)
def test_the_meter_is_told_of_failures(name: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RunError("lost", "a hint")

    write_idx(tmp_path / "data", "MNIST")
    arguments, keywords, command = CALLS[name]
    target, failed, message = FAILING[name]
    told = Told()
    monkeypatch.setattr(target, fail)
    result = getattr(dsactl, name)(*arguments, **keywords, out=tmp_path / "results", device="cpu", progress=told)
    assert result.failed == failed
    assert len(told.failures) == int(failed.split()[0])
    assert told.failures[0][0].startswith(message)
    assert [file for file in result.files if not (result.folder / file).exists()] == []
    code, _, said = cli(*command.split(), "--device", "cpu", "--out", str(tmp_path / "results"))
    assert code == 1
    assert f"Error: {message}" in said
    assert f"Error: {failed} failed (see above); results that depend on them are missing." in said
    assert ("Written to " in said) is bool(result.files)


def test_a_set_that_fails_is_tried_once_for_all_its_cells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = []

    def fail(jobs: Sequence[object], session: Session) -> Iterator[tuple[int, RunError]]:
        tried.append(jobs)
        session.progress.update(1, 1, "failing")
        yield 0, RunError("lost", "a hint")

    monkeypatch.setattr("dsactl.studies.cells.make_all", fail)
    arguments, keywords, _ = CALLS["transfer"]
    told = Told()
    result = dsactl.transfer(
        *arguments, **keywords | {"archs": ["mlp"], "test_on": ["mlp", "convnet"]}, out=tmp_path / "out", progress=told
    )
    assert (result.failed, len(tried)) == ("2 of 2 cells", 1)
    assert [(done, total) for done, total, *_ in told.updates] == [(1, 3)]


def test_a_folder_may_be_a_path(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pictures")
    small = {"ipc": 1, "method": "dc", "iterations": 1, "networks": 1, "epochs": 1, "archs": ["mlp"]}
    result = dsactl.transfer(root, **small, out=tmp_path / "out")
    assert result.failed == ""


DONE = {
    "transfer": "0 of 2 cells are done, and all finished work is kept.",
    "ablate": "0 of 4 cells are done, and all finished work is kept.",
    "nas": "0 of 2 proxies are done, and all finished work is kept.",
    "continual": "0 of 4 runs are done, and all finished work is kept.",
    "reproduce": "0 of 1 cells are done, and all finished work is kept.",
}


@pytest.mark.parametrize("name", DONE)
def test_ctrl_c_has_a_note_on_what_is_kept(name: str, tmp_path: Path) -> None:
    def stop(done: float, _total: float, _doing: str) -> None:
        if done:
            raise KeyboardInterrupt

    write_idx(tmp_path / "data", "MNIST")
    arguments, keywords, _ = CALLS[name]
    with pytest.raises(KeyboardInterrupt) as raised:
        getattr(dsactl, name)(*arguments, **keywords, out=tmp_path / "results", device="cpu", progress=Told(stop))
    note = raised.value.__notes__[-1]
    assert note == f"Interrupted; {DONE[name]}\nRun the same again to continue from there."
    getattr(dsactl, name)(*arguments, **keywords, out=tmp_path / "results", device="cpu")


def test_every_study_has_a_function_of_its_command_s_name() -> None:
    assert {study.command for study in Study.__subclasses__()} >= {*CALLS}
    assert {*CALLS} <= {*dsactl.__all__}
