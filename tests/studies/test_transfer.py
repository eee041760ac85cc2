"""Cross-architecture transfer, from the command line, on real data at a small scale."""

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
from PIL import Image
from sessions import session

import dsactl
import registry
from dsactl.recipes.recipe import Request
from dsactl.studies.cells import fill
from dsactl.studies.transfer import transfer_entries

Cli = Callable[..., tuple[int, str, str]]
SMALL = ("digits", "--archs", "mlp,convnet", "--iterations", "3", "--networks", "2", "--epochs", "3")
MATRIX = [("mlp", "mlp"), ("mlp", "convnet"), ("convnet", "mlp"), ("convnet", "convnet")]


def test_the_matrix_is_filled_kept_and_found_again(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "table"
    code, answer, said = cli("transfer", *SMALL, "--out", str(out), "--json")
    assert code == 0, said
    cells = json.loads(answer)["cells"]
    assert [(cell["condensed on"], cell["tested on"]) for cell in cells] == MATRIX
    assert [cell["network"] for cell in cells] == ["mlp", "convnet"] * 2
    store = registry.Store()
    for cell in cells:
        assert cell["mean"] == pytest.approx(sum(cell["accuracies"]) / 2)
        assert cell["n"] == 2
        records = store.evaluations(cell["digests"][0])
        assert cell["accuracies"] in [record["accuracies"] for record in records]
        assert dsactl.load(cell["references"][0]).recipe.network.arch == cell["condensed on"]
    kept = json.loads((out / "transfer.json").read_text())
    assert kept["cells"] == cells
    with (out / "transfer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [cell["mean"] for cell in cells]
    assert min(Image.open(out / "transfer.png").size) > 200
    before = len(store.sets())
    code, answer, _ = cli("transfer", *SMALL, "--out", str(out))
    assert code == 0
    assert "convnet" in answer.splitlines()[-1]
    assert len(store.sets()) == before == 2
    assert json.loads((out / "transfer.json").read_text())["cells"] == cells, "nothing was measured twice"


def test_sets_with_formation_are_tested(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the protocol that the method's sets are made for; a loaded set is what networks are trained on."""
    monkeypatch.chdir(tmp_path)
    own = ("--archs", "mlp", "--test-on", "convnet", "--method", "idc", "--formation", "2")
    code, answer, said = cli("transfer", *SMALL, *own, "--iterations", "1", "--json")
    assert code == 0, said
    (cell,) = json.loads(answer)["cells"]
    assert cell["references"] == ["studies/digits-idc-mlp-ipc1-formation2:1"]
    (record,) = registry.Store().evaluations(cell["digests"][0])
    assert (record["network"], record["protocol"]["name"]) == ("convnet", "idc")
    assert len(dsactl.load(cell["references"][0]).images) == 40
    assert (tmp_path / "digits-transfer-idc-ipc1-formation2" / "transfer.png").exists()


def test_another_plan_s_folder_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("transfer", *SMALL, "--out", str(tmp_path / "a"), "--archs", "mlp")[0] == 0
    before = (tmp_path / "a" / "transfer.json").read_bytes()
    code, _, said = cli("transfer", *SMALL, "--out", str(tmp_path / "a"), "--ipc", "2")
    assert code == 2
    assert "has the results of another plan (other ipc)" in said
    assert "(other formation)" in cli("transfer", *SMALL, "--out", str(tmp_path / "a"), "--formation", "2")[2]
    assert (tmp_path / "a" / "transfer.json").read_bytes() == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "transfer.json").write_text("notes")
    assert "is not a study's results" in cli("transfer", *SMALL, "--out", str(tmp_path / "b"))[2]
    (tmp_path / "c").write_text("a file")
    assert "is not a folder" in cli("transfer", *SMALL, "--out", str(tmp_path / "c"))[2]


def test_what_cannot_work_is_refused_before_any_work(cli: Cli, refused: Callable[..., str], tmp_path: Path) -> None:
    for arguments, said in (
        (("--archs", "mlp,lenet"), "lenet cannot take 1×8×8 images"),
        (("--archs", "mlp,lenet,convnet"), "Networks that can: --archs mlp,convnet"),
        (("--archs", "mlp,resnet"), "Unknown network 'resnet'"),
        (("--archs", ","), "No network was given"),
        (("--archs", "mlp", "--method", "dsaa"), "Unknown method 'dsaa'"),
        (("--archs", "mlp", "--method", "random"), "--method random uses no network"),
        (("--archs", "mlp", "--formation", "3"), "--formation 3 does not divide images of 8×8 pixels"),
        (("--archs", "mlp", "--ipc", "500"), "fewer than --ipc 500"),
    ):
        assert said in refused("transfer", "digits", "--out", str(tmp_path / "x"), *arguments)
    assert registry.Store().sets() == []
    _, plan, _ = cli("transfer", "digits", "--archs", "mlp,convnet", "--sets", "5", "--dry-run")
    assert "4 cells: mlp:mlp, mlp:convnet, convnet:mlp, convnet:convnet" in plan
    assert "10 sets would be made: " in plan
    assert "400 networks would be trained and tested" in plan


def test_a_dry_run_downloads_nothing(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    said = refused("transfer", "mnist", "--archs", "mlp", "--dry-run")
    assert "mnist is not on this machine, and --dry-run downloads nothing" in said


def interrupted(command: tuple[str, ...], results: Path) -> tuple[int, str, str] | None:
    """Run a command and press Ctrl-C when it has a result; None if it was faster than that."""
    process, end = processes.start(*command), time.monotonic() + processes.PATIENCE
    while process.poll() is None and not (results.exists() and json.loads(results.read_text())["cells"]):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    answer, said = process.communicate()
    return (process.returncode, answer, said) if process.returncode else None


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    """Three of four cells are left to do, some seconds; where they are done at once, with more epochs."""
    for epochs in ("50", "1000", "20000"):
        out = tmp_path / epochs
        command = ("transfer", *SMALL, "--epochs", epochs, "--out", str(out))
        if stopped := interrupted(command, out / "transfer.json"):
            break
    assert stopped
    code, answer, said = stopped
    assert (code, answer) == (130, ""), said
    assert "of 4 cells are done, and all finished work is kept" in said
    assert "Traceback" not in said
    first = json.loads((out / "transfer.json").read_text())["cells"][0]
    again = processes.run(*command)
    assert again.returncode == 0, again.stderr
    cells = json.loads((out / "transfer.json").read_text())["cells"]
    assert cells[0] == first, "not measured again: the time it took is the same"
    assert len(cells) == 4


def test_the_paper_s_figures_stand_beside_its_own_cells_only() -> None:
    def paper(request: Request, row: str, column: str) -> tuple[float, float] | None:
        (entry,) = transfer_entries(request, [row], [column], dsactl.Protocol())
        return entry.paper

    assert paper(Request("mnist", 1), "vgg11", "convnet") == (88.9, 0.7)
    assert paper(Request("mnist", 1), "mlp", "vgg11bn") is None
    assert paper(Request("mnist", 10), "mlp", "mlp") is None
    (entry,) = transfer_entries(Request("mnist", 1), ["vgg11"], ["resnet18"], dsactl.Protocol())
    assert (entry.request.arch, entry.protocol.network.arch) == ("vgg11bn", "resnet18")


def test_batch_norm_is_for_algorithm_1() -> None:
    for method, arch in (("dsa", "vgg11bn"), ("dc", "vgg11bn"), ("dd", "vgg11"), ("herding", "vgg11")):
        (entry,) = transfer_entries(Request("mnist", 1, method), ["vgg11"], ["mlp"], dsactl.Protocol())
        assert entry.request.arch == arch


def test_several_sets_are_pooled() -> None:
    entries = transfer_entries(
        Request.of("digits", 1, iterations=2), ["mlp"], ["mlp"], dsactl.Protocol(networks=3, epochs=2)
    )
    ((entry, cell),) = fill(entries, 2, session())
    assert entry.key == ("mlp", "mlp")
    assert cell.n == 6
    assert len(set(cell.digests)) == 2
    assert cell.references == ("studies/digits-dsa-mlp-ipc1:1", "studies/digits-dsa-mlp-ipc1:2")
