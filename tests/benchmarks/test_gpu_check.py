"""`make gpu`: a rehearsal on a CPU, its plan, options and report."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import authors, results
from benchmarks.gpu import steps as steps_module
from benchmarks.gpu.cells import Cell, default_cells
from benchmarks.gpu.options import Options, parse
from benchmarks.gpu.report import in_words, report
from benchmarks.gpu.running import DONE, FAILED, PASSED_OVER, Record
from benchmarks.gpu.steps import steps
from dsactl.paper import tables

ROOT = Path(__file__).resolve().parents[2]


def options(out: Path, *more: str) -> Options:
    return parse(["--out", str(out), "--device", "cpu", "--cells", "digits:1", *more])


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_rehearsal_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSACTL_HOME")
    arguments = ("--device", "cpu", "--scale", "0.002", "--out", str(tmp_path / "out"), "--cells", "digits:1,mnist:1")
    arguments = (*arguments, "--only", "machine,cell,study-continual,evaluation", "--limit", "250")
    first = check(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    records = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out" / "steps").glob("*.json")}
    assert {name: record["state"] for name, record in records.items()} == {
        "machine": DONE,
        "cell-digits-1-dsa": DONE,
        "cell-mnist-1-dsa": PASSED_OVER,
        "study-continual": DONE,
        "evaluation": DONE,
    }
    assert records["machine"]["results"]["torch"] == torch.__version__
    cell = records["cell-digits-1-dsa"]
    assert cell["results"]["reference"] == "digits-dsa-convnet-ipc1:1"
    assert (cell["exit"], cell["results"]["n"], cell["results"]["epochs"]) == (0, 1, 2)
    assert (tmp_path / "out" / "store" / "sets").is_dir()
    page = (tmp_path / "out" / "report.md").read_text()
    assert "no figure here is a result" in page
    assert "| passed over: mnist is not in " in page
    assert f"{cell['results']['mean']:.1f} %, n = 1" in page

    again = check(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 4
    assert (tmp_path / "out" / "report.md").read_text() == page


def test_the_times_of_a_short_log() -> None:
    begins, first = "[2026-01-01 10:00:00] training begins\n", "[2026-01-01 10:00:09] iter = 0000, loss = 1.0\n"
    assert authors.seconds_per_iteration(begins + first) == {"seconds_per_iteration": 9.0, "iterations": 1}
    assert authors.seconds_per_iteration(begins) == {}
    assert authors.seconds_per_iteration("Traceback (most recent call last):") == {}


def test_the_plan_at_full_scale(tmp_path: Path) -> None:
    planned = {each.name: each for each in steps(parse(["--out", str(tmp_path)]))}
    kinds = list(dict.fromkeys(each.kind for each in planned.values()))
    assert kinds == ["machine", "tests", "bench", "cell", "study", "evaluation"]
    cell = planned["cell-cifar10-10-dsa"]
    condense = "python -m dsactl condense cifar10 --ipc 10 --method dsa --device cuda --json"
    evaluate = "python -m dsactl evaluate @reference --networks 5 --device cuda --json"
    assert [" ".join(words) for words in cell.commands] == [condense, evaluate]
    assert cell.paper == (52.1, 0.5)
    assert planned["evaluation"].needs == "cell-cifar10-10-dsa"
    assert "--networks 20" in " ".join(planned["evaluation"].commands[1])
    assert "--formation 2" in " ".join(planned["cell-cifar10-10-dance-formation2"].commands[0])
    assert planned["cell-cifar10-10-dance-formation2"].paper is None
    files = planned["tests"].commands[0]
    assert {"tests/engine/test_each_device.py", "tests/engine/test_gpu_memory.py"} <= set(files)


def test_what_is_not_installed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = steps_module.find_spec
    monkeypatch.setattr(steps_module, "find_spec", lambda name: None if name in ("pytest", "scipy") else there(name))
    why = {each.name: each.impossible for each in steps(options(tmp_path))}
    assert why["tests"] == "not installed: pytest"
    assert why["study-nas"] == "not installed: scipy"
    assert why["bench-dsa-1"] == ""


def test_the_plan_of_a_rehearsal(tmp_path: Path) -> None:
    given = options(tmp_path, "--scale", "0.001", "--cells", "digits:1:dance:2")
    planned = {each.name: " ".join(each.commands[0]) for each in steps(given)}
    made = planned["cell-digits-1-dance-formation2"]
    assert "--iterations 10 --expert-epochs 1 --expert-networks 1 --device cpu" in made
    assert "--dataset digits" in planned["bench-dsa-10"], "the shapes of CIFAR-10 take minutes on a CPU"


def test_cells_begin_with_what_is_worth_most_per_minute() -> None:
    cells = default_cells()
    with_data = [cell.name for cell in cells if cell.dataset in ("mnist", "cifar10", "fashionmnist")]
    first = ["mnist-1-dsa", "cifar10-1-dsa", "fashionmnist-1-dsa", "cifar10-10-dsa", "mnist-10-dsa"]
    assert with_data[:5] == first
    assert [name for name in with_data if "-50-" in name] == with_data[-5:-2]
    assert with_data[-2:] == ["cifar10-10-dm-formation2", "cifar10-10-dance-formation2"]
    rows = tables()["accuracy"]["rows"]
    assert {(cell.dataset, cell.ipc) for cell in cells} == {(row["dataset"], row["ipc"]) for row in rows if row["dsa"]}
    assert Cell("cifar10", 10).paper == (52.1, 0.5)


@pytest.mark.parametrize(
    "cells", ["digits", "digits:0", "nothing:1", "digits:1:dsa:2:3", "digits:1:nothing", "digits:x"]
)
def test_cells_that_are_none(cells: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--cells", cells])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"--cells {cells}: write DATASET:IPC")
    assert len(said.splitlines()) == 1


def test_a_checkout_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--authors", str(tmp_path)])
    assert "has no main.py" in capsys.readouterr().err


def record(name: str, kind: str, **more: Any) -> Record:
    values: dict[str, Any] = {"title": name, "commands": [["python", "-m", "dsactl"]], "paper": None, "tag": None}
    return Record(name, kind, machine="a GPU", **{**values, **more})


def timing(seconds: float) -> dict[str, float]:
    return {"median": seconds, "low": seconds, "high": seconds, "repetitions": 5, "operations": 1e9, "share": 0.25}


def test_the_report() -> None:
    bench = {"dataset": "cifar10", "network": "convnet", "precision": "bfloat16", "mode": "cuda, captured graphs"}
    bench |= {"memory": 2.5e9, "inner_step": timing(0.02), "network_step": timing(0.001), "evaluation": timing(1.5)}
    theirs = {"seconds_per_iteration": 6.5, "iterations": 20}
    cell = {"making": 600, "mean": 52.04, "std": 0.3, "n": 5, "reference": "a:1"}
    records = [
        record("tests", "tests", state=FAILED, why="exit status 1", seconds=61, tail=["E   a | b", "1 failed"]),
        record("bench", "bench", state=DONE, seconds=30, results=bench, tag=["dsa", 10]),
        record("theirs", "authors", state=DONE, results=theirs, tag=["dsa", 10]),
        record("CIFAR-10, 10", "cell", state=DONE, seconds=700, paper=[52.1, 0.5], results=cell),
        record("later", "cell", why="needs 20 s, 3 s are left"),
    ]
    records[0].results = {"passed": 12, "failed": 1, "names": ["tests/a.py::test_b"]}
    page = report(records, 1.0)
    assert "5 steps: 3 done, 1 failed, 1 passed over." in page
    assert "\n1 step: 1 done." in report(records[1:2], 1.0)
    assert "| CIFAR-10, 10 | 52.0 ± 0.3 %, n = 5 | 52.1 ± 0.5 | 11 min 40 s (making 10 min 00 s) | done |" in page
    assert "| tests | 12 passed, 1 failed | – | 1 min 01 s | **failed**: exit status 1 |" in page
    assert "| later | – | – | – | passed over: needs 20 s, 3 s are left |" in page
    # 10 steps of 20 ms, and between them 9 times 50 epochs of one step of 1 ms.
    assert "| dsa, 10 | 20 ms | 25 % | 1 ms | 650 ms | 6.5 s | 10.0× | 1.5 s | 2.5 GB |" in page
    assert "- `tests/a.py::test_b`" in page
    assert "```text\nE   a | b\n1 failed\n```" in page
    assert "no figure here is a result" not in page
    records[2].machine = "another GPU"
    assert "| 650 ms | – | – | 1.5 s |" in report(records, 1.0), "speeds of two machines are not compared"
    records[2].machine, bench["dataset"] = records[1].machine, "digits"
    assert "| 650 ms | – | – | 1.5 s |" in report(records, 0.1), "nor those of two datasets"


def test_results_in_words() -> None:
    assert in_words(record("a", "cell", results={"making": 3.0, "reference": "a:1"})) == "made, not yet evaluated"
    assert (
        in_words(record("a", "study", results={"accuracies": [10, 20.25], "folder": "x"})) == "accuracies 10.0, 20.2 %"
    )
    assert in_words(record("a", "bench")) == "–"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path: Path) -> None:
    done = check("--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "make gpu DEVICE=cpu SCALE=0.01" in done.stderr
    assert not (tmp_path / "out").exists()


def test_only_steps_that_there_are(tmp_path: Path) -> None:
    done = check("--device", "cpu", "--out", str(tmp_path / "out"), "--only", "nothing")
    assert done.returncode == 2
    assert done.stderr.startswith("No step begins with nothing: machine, tests, bench-dsa-1, ")
    assert len(done.stderr.splitlines()) == 1


def test_the_machine_in_words() -> None:
    smi = "| NVIDIA-SMI 580.1 \n| NVIDIA-SMI 580.159.03     Driver Version: 580.159.03    CUDA Version: 13.0 |"
    torch_says = json.dumps({"gpu": "NVIDIA H200", "memory": 150e9, "torch": "2.11.0"})
    env = json.dumps({"engine": "cuda, captured graphs", "precision": "bfloat16"})
    found = results.machine([smi, torch_says, env])
    words = "NVIDIA H200, 150.0 GB, driver 580.159.03; cuda, captured graphs; bfloat16"
    assert in_words(record("a", "machine", results=found)) == words


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name in ("typer", "PIL") else name)
    with pytest.raises(SystemExit) as stop:
        command._check_packages()
    assert stop.value.code == 2
    assert "has no pillow, typer; put them on PYTHONPATH" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_installs_nothing(tmp_path: Path) -> None:
    variables = ("PYTHON=python9", f"VENV={tmp_path}/none", "LIMIT=5", "OUT=a b", "DEVICE=cpu", "AGAIN=1", "ONLY=cell")
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "gpu", *variables], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.replace("\\\n", " ").split())
    assert words.endswith("python9 -m benchmarks.gpu --limit 5 --out 'a b' --device cpu --only cell --again")
    assert "pip" not in words
