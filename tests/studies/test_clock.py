"""Accuracy over minutes, on digits: a step "takes" as long as the tests say, whatever the machine."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sessions import Stopping, Told, session

import dsactl
import registry
from dsactl.errors import DataError, RunError, UsageError
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, Job, prepare
from dsactl.runs.run import execute
from dsactl.studies.clock import making
from dsactl.studies.clock.curves import MINUTES, RELABEL, curves, in_order, steps_at, times
from dsactl.studies.clock.points import label

Cli = Callable[..., tuple[int, str, str]]
measured = making.seconds_per_step
STEP = 60.0
"""Seconds of a step: one fits in a minute, five in five."""
FAST: dict[str, Any] = {"dataset": ["digits"], "ipc": [1], "arch": "mlp", "networks": 2, "epochs": 2, "sets": 1}
FLAGS = ("--dataset", "digits", "--ipc", "1", "--arch", "mlp", "--networks", "2", "--epochs", "2", "--sets", "1")


@pytest.fixture(autouse=True)
def _steps_take_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(making, "seconds_per_step", lambda job, session: STEP)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are not drawn: that takes longer than all else here."""
    monkeypatch.setattr("dsactl.studies.clock.page.over_minutes", lambda series, whole, title: b"a plot")


@pytest.fixture
def pool() -> str:
    """A pool of experts of two networks and one epoch."""
    dsactl.experts("digits", network=dsactl.NetworkSpec("mlp"), networks=2, epochs=1, batch=128, name="tiny")
    return "tiny"


def job_of(method: str, **settings: Any) -> Job:
    return prepare(Request.of("digits", 2, method=method, arch="mlp", **settings), "cpu")


def test_every_method_is_on_the_page_with_its_numbers_and_a_plot(pool: str, tmp_path: Path) -> None:
    result = dsactl.reproduce("clock", **FAST, minutes=5, experts=pool, out=tmp_path / "out")
    points = result.values["points"]
    at_once = [("random", 0), ("herding", 0), ("relabel", 0)]
    runs = [(method, steps) for method in ("dsa", "dm", "dance") for steps in (1, 5)]
    assert [(each["method"], each["steps"]) for each in points if each["formation"] == 1] == at_once + runs
    assert len(points) == 2 * len(at_once + runs), "with formation 2, the same"
    assert {each["protocol"] for each in points} == {"dsa", "idc"}
    assert {each["method"] for each in points if each["pool_seconds"] is not None} == {"relabel", "dance"}
    assert not result.failed
    folder = tmp_path / "out"
    assert json.loads((folder / "clock.json").read_text())["points"] == points
    assert (folder / "clock-digits-ipc1.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "accuracy.md").read_text()
    assert "![digits, 1 image per class](clock-digits-ipc1.png)" in text
    for each in points:
        name = label((each["method"], each["formation"]))
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |") and _steps(each) in line]
        assert row.endswith(f"| {each['mean']:.1f} ± {each['std']:.1f} | 2 | 1 | {each['protocol']} |")
    assert "that fit in 1 and 5 minutes by" in text
    assert "Not the default: `arch='mlp'`, `epochs=2`. All other settings of the methods" in text
    assert "\nExperts: `tiny:1`, 2 networks of 1 epoch, batch 128.\n" in text
    assert set(result.files) == {"accuracy.md", "clock.csv", "clock.json", "clock-digits-ipc1.png"}
    assert {each.name.namespace for each in registry.Store().sets()} == {STUDIES}


def _steps(row: dict[str, Any]) -> str:
    return f" s | {row['steps'] or '–'} |"


@pytest.mark.parametrize("method", ["dsa", "dm", "dance"])
def test_a_set_on_the_way_is_the_set_of_a_shorter_run(method: str, pool: str) -> None:
    job = job_of(method, **({"experts": pool} if method == "dance" else {}))
    first, second = (making.run_until(job, 0, minutes, session()) for minutes in (1, 5))
    assert first is not None
    assert second is not None
    assert (first.steps, second.steps) == (1, 5)
    assert 0 < first.elapsed < second.elapsed
    assert (first.seconds, second.seconds) == (STEP, 5 * STEP)
    for made in (first, second):
        store = registry.Store()
        short = execute(job.with_steps(made.steps), session()).stored
        assert short.digest == made.stored.digest
        own, other = (store.read(each.name, each.version).manifest for each in (made.stored, short))
        assert own.recipe == other.recipe
        assert own.provenance.get("experts") == other.provenance.get("experts")
        assert own.provenance["environment"] == other.provenance["environment"]


def test_a_time_before_the_checkpoint_starts_the_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of("dm")
    later = making.run_until(job, 0, 5, session())
    earlier = making.run_until(job, 0, 1, session())
    assert later is not None
    assert earlier is not None
    monkeypatch.setattr(making, "carry_out", _fail)
    for minutes, made in ((1, earlier), (5, later)):
        again = making.run_until(job, 0, minutes, session())
        assert again is not None
        assert (again.stored.digest, again.elapsed) == (made.stored.digest, made.elapsed), "they are looked up"
    registry.Store().remove([(later.stored.name, later.stored.version)])
    with pytest.raises(AssertionError, match="was not to be computed"):
        making.run_until(job, 0, 5, session())


def _fail(*_: Any, **__: Any) -> None:
    raise AssertionError("this was not to be computed")


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_study_continues_and_computes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = {**FAST, "methods": ["random", "dsa"], "minutes": 5, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt) as stop:
        dsactl.reproduce("clock", **call, progress=Stopping(3.0))
    assert "2 of 6 points are done" in str(stop.value.__notes__)
    text = (tmp_path / "out" / "accuracy.md").read_text()
    assert "4 points of the last call are not finished." in text
    steps = [each["steps"] for each in json.loads((tmp_path / "out" / "clock.json").read_text())["points"]]
    assert steps == [0, 0], "the first points are the cheap ones"
    trained = _counted(monkeypatch, "dsactl.evaluation.evaluate.train_and_test")
    ran = _counted(monkeypatch, "dsactl.studies.clock.making.carry_out")
    whole = dsactl.reproduce("clock", **call).values["points"]
    assert [each["steps"] for each in whole] == [0, 0, 1, 5, 1, 5]
    assert len(ran) == 3, "the first set of the first run was made"
    before = len(trained)
    assert "not finished" not in (tmp_path / "out" / "accuracy.md").read_text()
    assert dsactl.reproduce("clock", **call).values["points"] == whole
    assert (len(trained), len(ran)) == (before, 3), "the same again has nothing left to do"


def _counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """Count the calls of a function."""
    module, _, function = name.rpartition(".")
    own, calls = getattr(__import__(module, fromlist=[function]), function), list[object]()

    def counting(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        return own(*arguments, **keywords)

    monkeypatch.setattr(name, counting)
    return calls


@pytest.mark.usefixtures("undrawn")
def test_later_calls_add_curves_and_sets_and_other_plans_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    dsactl.reproduce("clock", **FAST, methods=["random"], out=out)
    more = {**FAST, "sets": 2, "ipc": [2], "networks": 1}
    dsactl.reproduce("clock", **more, methods=["dm"], minutes=1, out=out)
    dsactl.reproduce("clock", **more, methods=["random"], formation=[2], out=out)
    points = json.loads((out / "clock.json").read_text())["points"]
    assert [(each["ipc"], each["method"], each["formation"], each["number"]) for each in points] == [
        (1, "random", 1, 0),
        (1, "random", 2, 0),
        *((2, "random", 2, number) for number in (0, 1)),
        *((2, "dm", formation, number) for formation in (1, 2) for number in (0, 1)),
    ]
    assert [each["n"] for each in points] == [2, 2, 1, 1, 1, 1, 1, 1]
    assert len({each["digest"] for each in points}) == len(points), "each set has a seed of its own"
    assert (out / "clock-digits-ipc2.png").exists()
    with pytest.raises(UsageError, match="another plan"):
        dsactl.reproduce("clock", **{**FAST, "seed": 1}, methods=["random"], out=out)


@pytest.mark.usefixtures("undrawn")
def test_a_plot_is_of_one_machine_and_a_folder_may_be_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    dsactl.reproduce("clock", **FAST, methods=["random"], formation=[1], out=out)
    monkeypatch.setattr("dsactl.engine.device.describe_machine", lambda device: "another one")
    before = (out / "clock.json").read_bytes()
    with pytest.raises(UsageError, match=r"has points of digits, 1 image per class, from another machine: .*cpu, "):
        dsactl.reproduce("clock", **FAST, methods=["dm"], formation=[1], out=out)
    assert (out / "clock.json").read_bytes() == before
    assert [each.name.name for each in registry.Store().sets()] == ["digits-random-ipc1"], "refused before any work"
    dsactl.reproduce("clock", **{**FAST, "ipc": [2]}, methods=["random"], formation=[1], out=out)
    machines = [each["machine"] for each in json.loads((out / "clock.json").read_text())["points"]]
    assert len(machines) == 2
    assert machines[1] == "another one"
    assert all(f"\nMachine: {each}.\n" in (out / "accuracy.md").read_text() for each in machines)


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_fails_is_reported_once_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_job: Job, _number: int, minutes: int, _session: object) -> None:
        raise RunError(f"It failed after {minutes} min.", "A hint.")

    monkeypatch.setattr(making, "run_until", fail)
    told = Told()
    call = {**FAST, "methods": ["dm", "random"], "minutes": 5}
    result = dsactl.reproduce("clock", **call, out=tmp_path / "out", progress=told)
    assert told.failures == [(f"digits:1:dm:{formation}: It failed after 1 min.", "A hint.") for formation in (1, 2)]
    assert (len(result.values["points"]), result.failed) == (2, "2 of 4 runs")


@pytest.mark.usefixtures("undrawn")
def test_a_dataset_that_is_not_here_stops_its_own_curves_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    told = Told()
    call = {**FAST, "dataset": ["svhn", "digits"], "methods": ["random", "dm"], "minutes": 1}
    result = dsactl.reproduce("clock", **call, out=tmp_path / "out", progress=told)
    (failure,) = told.failures
    assert failure[0].startswith("Curves of svhn are skipped: SVHN is not on this machine")
    assert {each["dataset"] for each in result.values["points"]} == {"digits"}
    assert result.failed == "4 of 8 runs"


@pytest.mark.usefixtures("undrawn")
def test_a_formation_that_does_not_divide_the_images_has_no_curve(tmp_path: Path) -> None:
    call = {**FAST, "dataset": ["digits@1x9x9"], "methods": ["random"]}
    told = Told()
    result = dsactl.reproduce("clock", **call, out=tmp_path / "out", progress=told)
    assert [each["formation"] for each in result.values["points"]] == [1]
    assert not result.failed
    said = "Curves of digits@1x9x9 with formation 2 are left out: `formation=2` does not divide images of 9×9 pixels."
    assert told.remarks == [said]
    again = dsactl.reproduce("clock", **call, formation=[2, 1], out=tmp_path / "out")
    assert [each["formation"] for each in again.values["points"]] == [1], "in whatever order"
    with pytest.raises(UsageError, match="`formation=2` does not divide images of 9×9 pixels"):
        dsactl.reproduce("clock", **call, formation=[2], out=tmp_path / "out")


@pytest.mark.usefixtures("undrawn")
def test_a_folder_whose_images_differ_in_size(tmp_path: Path) -> None:
    for folder, index in itertools.product("ab", range(10)):
        (tmp_path / "photos" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (9 + index, 12), 20 * index).save(tmp_path / "photos" / folder / f"{index}.png")
    call = {**FAST, "dataset": [str(tmp_path / "photos")], "methods": ["random", "dm"], "minutes": 1}
    with pytest.raises(DataError, match="image_size"):
        dsactl.reproduce("clock", **call, out=tmp_path / "out")
    result = dsactl.reproduce("clock", **call, image_size=8, out=tmp_path / "out")
    assert {(each["dataset"], each["method"]) for each in result.values["points"]} == {
        ("photos", "random"), ("photos", "dm"),
    }  # fmt: skip
    assert "`image_size=8`" in (tmp_path / "out" / "accuracy.md").read_text()
    with pytest.raises(UsageError, match="other image_size"):
        dsactl.reproduce("clock", **call, image_size=16, out=tmp_path / "out")
    (tmp_path / "photos" / "a" / "0.png").unlink()
    with pytest.raises(UsageError, match="has points of photos, whose images were others"):
        dsactl.reproduce("clock", **call, image_size=8, out=tmp_path / "out")
    two = {**call, "dataset": [str(tmp_path / "photos"), str(tmp_path / "photos" / ".." / "photos")]}
    with pytest.raises(UsageError, match="are both called photos"):
        dsactl.reproduce("clock", **two, image_size=8, out=tmp_path / "other")


@pytest.mark.usefixtures("undrawn")
def test_a_curve_that_cannot_be_made_leaves_the_others(tmp_path: Path) -> None:
    told = Told()
    call = {**FAST, "ipc": [1000, 1], "methods": ["random"], "formation": [1]}
    result = dsactl.reproduce("clock", **call, out=tmp_path / "out", progress=told)
    assert [each["ipc"] for each in result.values["points"]] == [1]
    (failure,) = told.failures
    assert failure[0].startswith("Curves of digits:1000:random:1 are skipped: ")
    assert result.failed == "1 of 2 runs"


def test_missing_experts_are_named_before_they_are_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class TrainingError(Exception):
        pass

    def train(*_: Any, **__: Any) -> Iterator[None]:
        raise TrainingError

    monkeypatch.setattr("dsactl.runs.experts.find_or_make", train)
    told = Told()
    with pytest.raises(TrainingError):
        dsactl.reproduce("clock", **FAST, methods=["relabel"], out=tmp_path / "out", progress=told)
    (remark,) = told.remarks
    assert "no pool of experts for digits that fits. One will be trained and stored: 5 networks of 60 epochs" in remark


def test_steps_of_times() -> None:
    def steps(seconds: float, most: int) -> list[int]:
        return [steps_at(minutes, seconds, most) for minutes in MINUTES]

    assert steps(60, 1000) == [1, 5, 20, 60]
    assert steps(60, 15) == [1, 5, 15, 0], "a run ends at its own number of steps"
    assert steps(100, 1000) == [0, 3, 12, 36]
    assert steps(4000, 1000) == [0] * 4
    assert times(10) == [1, 5, 10], "a run ends at the time that was given"
    assert [steps_at(minutes, 60, 1000) for minutes in times(10)] == [1, 5, 10]
    assert times(1) == [1]
    assert times(60) == list(MINUTES)


def test_cheap_points_come_first_and_first_sets_before_second_ones() -> None:
    found = curves(Request.of("digits", 1), [1], ["random", RELABEL, "dm", "dance"], [1, 2], None)
    assert [each.request.formation for each in found] == [1] * 4 + [2] * 4
    late = {each.name for each in found if each.experts}
    stops = in_order(found[:4], 2, 20, late)
    assert [(each.number, each.curve.method, each.minutes) for each in stops if each.number == 0] == [
        (0, "random", 0),
        *((0, "dm", minutes) for minutes in (1, 5)),
        (0, RELABEL, 0),
        *((0, "dance", minutes) for minutes in (1, 5)),
        (0, "dm", 20),
        (0, "dance", 20),
    ]
    assert [each.number for each in stops] == [0] * 8 + [1] * 8
    assert [each.curve.method for each in in_order(found[:4], 1, 1, ())] == ["random", RELABEL, "dm", "dance"]


def test_the_time_of_a_step_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_TIMED", 0.0)
    job = job_of("dm")
    assert making.known_seconds(registry.Store(), job) is None
    first = measured(job, session())
    assert first > 0
    monkeypatch.setattr(making, "measure", _fail)
    assert measured(job, session()) == first
    with pytest.raises(AssertionError):
        measured(job_of("dm", image_lr=0.5), session())


@pytest.mark.usefixtures("undrawn")
def test_stored_results_of_all_training_images_are_shown_if_they_are_the_usual_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsactl.synthetic.full_data.STEPS", 12)  # two epochs of digits
    call = {**FAST, "epochs": 3, "methods": ["random"], "device": "cpu", "out": tmp_path / "out"}

    def rows() -> list[str]:
        dsactl.reproduce("clock", **call)
        lines = (tmp_path / "out" / "accuracy.md").read_text().splitlines()
        return [line for line in lines if "all training images" in line]

    def measure(**how: Any) -> dsactl.Evaluation:
        return dsactl.evaluate_whole("digits", device="cpu", **{"network": dsactl.NetworkSpec("mlp"), **how})

    for other in ({"epochs": 1}, {"lr": 0.1}, {"protocol": "idc"}, {"strategy": "none"}, {"network": None}):
        measure(networks=1, **other)
    assert rows() == []
    found = measure(networks=2)
    shown = f"{found.mean:.1f} ± {found.std:.1f} | 2"
    assert rows() == [f"| all training images, 2 epochs | – | – | – | {shown} | – | dsa |"]


def test_a_dry_run_counts_what_is_left_and_stores_nothing(cli: Cli) -> None:
    call = ("reproduce", "clock", *FLAGS, "--methods", "random,dm,dance", "--device", "cpu", "--dry-run")
    code, answer, said = cli(*call, "--json")
    assert code == 0, said
    cost = json.loads(answer)
    assert cost["curves"] == [f"digits:1:{method}:{each}" for each in (1, 2) for method in ("random", "dm", "dance")]
    assert cost["points"] >= 6
    assert cost["networks"] == 2 * cost["points"]
    assert min(cost["pools"], cost["making"], cost["testing"]) > 0
    assert cost["total"] == pytest.approx(cost["pools"] + cost["making"] + cost["testing"])
    assert registry.Store().entries()[0] == []
    assert "Experts that are missing would be trained first" in cli(*call)[1]


@pytest.mark.usefixtures("undrawn")
def test_the_command_is_the_function(cli: Cli, tmp_path: Path) -> None:
    code, answer, said = cli("reproduce", "clock", *FLAGS, "--methods", "random", "--out", "out", "--json")
    assert code == 0, said
    same = dsactl.reproduce("clock", **FAST, methods=["random"], out=tmp_path / "out")
    assert json.loads(answer)["points"] == same.values["points"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clock", "--only", "mnist"), "--only is not for clock."),
        (("table1", "--minutes", "5"), "--minutes is not for table1."),
        (("clock", "--minutes", "0"), "--minutes must be at least 1, not 0."),
        (("clock", "--minutes", "61"), "--minutes must be from 1 to 60, not 61."),
        (("clock", "--methods", "dd"), "There is no curve of 'dd'."),
        (("clock", "--methods", "dn"), "Unknown method 'dn'"),
        (("clock", "--dataset", "nothing"), "nothing"),
        (("clock", "--ipc", "x"), "--ipc 'x' is not a number of images per class"),
        (("clock", "--formation", "0"), "--formation '0' is not a number of images along each side"),
        (("clock", "--experts", "tiny"), "--experts names a pool for one dataset."),
        (("clock", "--protocol", "magic"), "magic"),
        (("clock", "--protocol", "mtt"), "--protocol mtt needs learning rates that were learned with the sets"),
        (("clock", "--arch", "magic"), "magic"),
        (("clock", "--dataset", "digits", "--image-size", "8"), "are only for image folders"),
        (("table1", "--image-size", "8"), "--image-size is not for table1."),
        (("clock", "--dataset", "digits", "--experts", "tiny"), "tiny"),
    ],
)
def test_what_makes_no_sense_is_refused(refused: Callable[..., str], arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("reproduce", *arguments)
