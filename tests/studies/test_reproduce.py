"""The paper's tables as documents, from the command line; the HTML is opened in a real browser."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess as Ended

import numpy as np
import pytest
from PIL import Image
from samples import write_idx
from sessions import session

import registry
from dsactl.augmentation.strategy import Strategy
from dsactl.errors import UsageError
from dsactl.recipes.recipe import Request
from dsactl.runs.job import prepare
from dsactl.runs.run import execute
from dsactl.studies.cells import Cell
from dsactl.studies.document import Document, to_html, to_markdown
from dsactl.studies.evolution import watch_condensing
from dsactl.studies.figures import Part, parts
from dsactl.studies.folder import Folder
from dsactl.studies.papers import plan, scaled_request
from dsactl.studies.plots import against_the_paper
from dsactl.studies.titles import TABLES

Program = Callable[..., Ended[str]]
Cli = Callable[..., tuple[int, str, str]]
FAST = ("--sets", "1", "--networks", "2", "--scale", "0.002", "--json")


def cell(mean: float = 50.0, paper: tuple[float, float] | None = (60.0, 2.0)) -> Cell:
    return Cell(
        ("a:1",),
        ("d",),
        "convnet",
        (mean - 1, mean + 1),
        1000,
        "dsa crop",
        "cpu, 2 threads",
        "dsactl 1",
        ("dsactl 1, torch 2",),
        60.0,
        90.0,
        paper,
    )


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are trained for 5 epochs in place of the 1000 or 300 of every table, in this process."""
    for epochs in ("EPOCHS_AUGMENTED", "EPOCHS_PLAIN"):
        monkeypatch.setattr(f"dsactl.evaluation.resolve.{epochs}", 5)


@pytest.mark.usefixtures("briefly")
def test_a_table_grows_call_by_call(program: Program, cli: Cli, tmp_path: Path) -> None:
    """The first call is a process of its own, which trains for 1000 epochs: some seconds."""
    write_idx(tmp_path / "data", "MNIST")
    out = ("--out", str(tmp_path / "t"))
    first = program("reproduce", "table3", "--only", "mlp:mlp", *FAST, *out)
    assert first.returncode == 0, first.stderr
    (made,) = json.loads(first.stdout)["cells"]
    assert (made["condensed on"], made["tested on"], made["n"], made["paper"]) == ("mlp", "mlp", 2, [76.5, 1.2])
    code, answer, said = cli("reproduce", "table3", "--only", "mlp:lenet", *FAST, *out)
    assert code == 0, said
    assert len(json.loads(answer)["cells"]) == 1
    kept = json.loads((tmp_path / "t" / "table3.json").read_text())
    assert [each["tested on"] for each in kept["cells"]] == ["mlp", "lenet"]
    assert kept["cells"][0] == made
    text = (tmp_path / "t" / "table3.md").read_text()
    assert "2 of 36 cells are finished." in text
    less = "1 of 5 sets, 2 of 20 networks, 2 of 1000 iterations"
    assert f"| mlp | mlp | {made['mean']:.1f} ± {made['std']:.1f} | 76.5 ± 1.2 | – | 2 | {less} |" in text
    assert made["made_in"][0].startswith("dsactl ")
    assert "![" in text
    assert (tmp_path / "t" / "table3.png").exists()
    code, _, said = cli("reproduce", "table3", "--only", "mlp:mlp", *FAST, *out, "--seed", "1")
    assert code == 2
    assert "has the results of another plan (other seed)" in said


@pytest.mark.usefixtures("briefly")
def test_data_that_is_not_here_stops_its_own_cells_alone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "data", "MNIST")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    cells = ("--only", "svhn:1:random,mnist:1:random", *FAST, "--out", str(tmp_path / "t"))
    code, answer, said = cli("reproduce", "table1", *cells)
    assert code == 1
    assert "Cells of svhn are skipped: SVHN is not on this machine" in said
    assert "1 of 2 cells failed (see above); results that depend on them are missing." in said
    assert [each["data set"] for each in json.loads(answer)["cells"]] == ["mnist"]
    dry = json.loads(cli("reproduce", "table1", *cells, "--dry-run")[1])
    assert (dry["absent"], dry["networks"]) == (["svhn"], 2)
    code, _, said = cli("reproduce", "table1", "--only", "svhn:1", *FAST, "--dry-run")
    assert code == 1
    assert "svhn is not on this machine, and --dry-run downloads nothing" in said


def test_a_figure_grows_too(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a narrow network that is not trained on the way: of the usual one an iteration takes half a minute."""

    def narrow(scale: float, seed: int) -> Request:
        return replace(scaled_request(scale, seed), width=8).varied(inner_steps=1)

    monkeypatch.setattr("dsactl.studies.reproduce.scaled_request", narrow)
    write_idx(tmp_path / "data", "MNIST", (120, 20))
    out = ("--scale", "0.001", "--json", "--out", str(tmp_path / "f"))
    code, answer, said = cli("reproduce", "figure2", "--only", "mnist", *out)
    assert code == 0, said
    assert json.loads(answer)["pictures"] == ["figure2-mnist.png"]
    (stored,) = registry.Store().sets()
    assert (tmp_path / "f" / "figure2-mnist.png").read_bytes() == registry.Store().picture_bytes(stored)
    page = (tmp_path / "f" / "figure2.html").read_text()
    assert "1 of 4 pictures are finished." in page
    assert page.count("<img ") == 1
    caption = (
        r"!\[mnist, ten images per class; 1 of 1000 iterations; made in \S+ min with dsactl .*\]\(figure2-mnist.png\)"
    )
    assert re.search(caption, (tmp_path / "f" / "figure2.md").read_text())
    assert "has no part digits" in cli("reproduce", "figure2", "--only", "digits", *out)[2]


def test_a_figure_comes_with_its_cost(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request.of("digits", 1, width=8, iterations=2)
    pair = (request, replace(request, strategy=Strategy()))
    part = Part("cifar10", "two sets", pair, lambda session: b"")
    monkeypatch.setattr("dsactl.studies.figures.parts", lambda *_: [part])
    code, answer, said = cli("reproduce", "figure5", "--device", "cpu", "--dry-run", "--json")
    assert code == 0, said
    cost = json.loads(answer)
    assert cost["cells"] == ["cifar10:set", "cifar10:none"]
    assert (cost["sets"], cost["networks"], cost["testing"]) == (2, 0, 0.0)
    assert cost["making"] > 0
    assert registry.Store().sets() == []


def test_figure_6_is_counted_until_it_was_watched(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request.of("digits", 1, width=8, iterations=2)
    assert all(part.watched for part in parts("figure6", request, 1))
    part = Part("real", "a way", (request,), lambda session: b"", watched=True)
    monkeypatch.setattr("dsactl.studies.figures.parts", lambda *_: [part])

    def sets() -> int:
        return int(json.loads(cli("reproduce", "figure6", "--device", "cpu", "--dry-run", "--json")[1])["sets"])

    execute(prepare(request, "cpu"), session())
    assert sets() == 1, "it is run again, to be watched"
    watch_condensing(request, session())
    assert sets() == 0


def test_what_makes_no_sense_is_refused(cli: Cli) -> None:
    for arguments, said in (
        (("table7",), "Unknown table 'table7'"),
        (("table3", "--only", "convmet"), "table3 has no cell that begins with convmet"),
        (("table3", "--only", "mlp:mlp,convmet"), "table3 has no cell that begins with convmet"),
        (("table3", "--only", ","), "No cell was given"),
    ):
        code, answer, error = cli("reproduce", *arguments)
        assert (code, answer) == (2, "")
        assert said in error


def test_the_plans_have_the_paper_s_cells() -> None:
    sizes = {name: len(plan(name, 5, 20, 1.0).entries) for name in TABLES}
    assert sizes == {"table1": 12 * 5 + 2 + 6 + 4, "table2": 2 * 4 + 1 + 1, "table3": 36, "table4": 28, "table5": 30}
    table = {entry.key: entry for entry in plan("table1", 5, 20, 1.0).entries}
    dd = table["mnist", "10", "dd"]
    assert (dd.request.arch, dd.protocol.network.arch, dd.paper) == ("lenet", "lenet", (79.5, 8.1))
    assert table["cifar10", "50", "dsa"].paper == (60.6, 0.5)
    assert table["cifar10", "50", "dsa"].request.settings.get("iterations") is None
    assert table["svhn", "all", "whole"].paper == (95.4, 0.1)
    assert {entry.remark for entry in table.values()} == {""}
    for method in ("random", "herding", "forgetting"):
        assert table["cifar10", "1", method].protocol.strategy == "dc", "the paper's are from DC's"
    assert {key[2] for key, entry in table.items() if not entry.comparable} == {"dd", "ld", "whole"}
    scaled = {entry.key: entry for entry in plan("table1", 1, 10, 0.1).entries}
    assert scaled["mnist", "1", "dsa"].request.settings.get("iterations") == 100
    assert not scaled["mnist", "1", "dsa"].comparable, "with fewer iterations"
    assert scaled["mnist", "1", "herding"].comparable
    assert scaled["mnist", "1", "dsa"].remark == "1 of 5 sets, 10 of 20 networks, 100 of 1000 iterations"
    assert scaled["mnist", "1", "herding"].request.settings.get("iterations") is None
    assert scaled["mnist", "1", "herding"].remark == "1 of 5 sets, 10 of 20 networks"
    assert scaled["mnist", "1", "ld"].request.settings.get("iterations") == 50
    assert scaled["mnist", "all", "whole"].remark == "10 of 20 networks"
    only = plan("table1", 5, 20, 1.0).only(["mnist:1", "cifar10:10:dsa"])
    assert {entry.key[:2] for entry in only.entries} == {("mnist", "1"), ("cifar10", "10")}
    assert all(
        entry.paper for name in ("table2", "table3", "table4", "table5") for entry in plan(name, 5, 20, 1.0).entries
    )


def test_cells_survive_their_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "table", {"seed": 0})
    cells = {("a", "b"): cell(), ("a", "c"): cell(paper=None)}
    assert folder.add(cells, ("row", "column")) == cells
    other = Folder(tmp_path, "table", {"seed": 0})
    more = {("z", "z"): cell(1.0)}
    assert other.add(more, ("row", "column")) == cells | more, "what another process wrote stays"
    cells |= more
    assert Folder(tmp_path, "table", {"seed": 0}).cells(("row", "column")) == cells
    for path, text in (("a", '["x"]'), ("b", "[]")):
        folder = Folder(tmp_path / path, "table", {"seed": 0})
        folder.add({("a", "b"): cell(1.0)}, ("row", "column"))
        file = tmp_path / path / "table.json"
        value = json.loads(file.read_text())
        value["cells"][0]["accuracies"] = json.loads(text)
        file.write_text(json.dumps(value))
        with pytest.raises(Exception, match="is damaged"):
            folder.cells(("row", "column"))
    begun = [Folder(tmp_path / "c", "table", {"seed": seed}) for seed in (0, 1)]
    begun[0].add({("a", "b"): cell(1.0)}, ("row", "column"))
    with pytest.raises(Exception, match="another plan"):
        begun[1].add({("z", "z"): cell(2.0)}, ("row", "column"))
    folder = Folder(tmp_path, "table", {"seed": 0})
    (tmp_path / "table.json").write_text('{"plan": {"seed": 0}, "cells": [{"row": "a"}]}')
    with pytest.raises(Exception, match="is damaged"):
        folder.cells(("row", "column"))


def test_a_folder_is_one_study_s(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"about": "a study"}')
    (tmp_path / "more.json").mkdir()
    Folder(tmp_path, "first", {}).add({}, ())
    Folder(tmp_path, "first", {}).add({}, ())
    with pytest.raises(UsageError, match="has the results of first"):
        Folder(tmp_path, "second", {})


HOSTILE = '<script>document.title="bad"</script> | *x*'


def document(pictures: dict[str, bytes]) -> Document:
    cells = {("mnist", HOSTILE): cell(), ("cifar10", "dsa"): cell(30.0, None)}
    return Document(f"Table {HOSTILE}", [f"About {HOSTILE}"], ("data set", "method"), cells, 5, pictures)


def test_markdown_says_ours_the_paper_s_and_how_far() -> None:
    text = to_markdown(document({}), {"A plot": "plot.png"})
    heads = "ours, % | the paper's, % | difference (paper's σ) | n | scaled down | time: sets, networks |"
    assert f"| data set | method | {heads} sets made with | networks trained with |" in text
    how = "dsactl 1, torch 2 | dsactl 1, cpu, 2 threads, 1000 epochs, augmentation dsa crop |"
    assert f"| 50.0 ± 1.0 | 60.0 ± 2.0 | -5.0 | 2 | no | 60 s, 90 s | {how}" in text
    assert "| cifar10 | dsa | 30.0 ± 1.0 | – | – | 2 |" in text
    assert "![A plot](plot.png)" in text
    assert "2 of 5 cells are finished." in text
    rows = [line for line in text.splitlines() if line.startswith("| mnist")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 11, "a bar in a name is no column"


@pytest.fixture
def browser() -> Callable[..., Ended[str]]:
    """Open a page in a headless Chromium; returns its document, and its console on the standard error."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium")

    def run(page: Path, *arguments: str) -> Ended[str]:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        command += ["--virtual-time-budget=3000", "--window-size=1000,1600", *arguments, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_the_page_opens_in_a_browser_with_its_pictures_and_no_error(
    browser: Callable[..., Ended[str]], tmp_path: Path
) -> None:
    plot = against_the_paper({"mnist dsa": cell()})
    page = to_html(document({f"A plot {HOSTILE}": plot}))
    assert "http" not in page, "it needs nothing else"
    # What the page itself can tell: that each picture was decoded, and how large it is.
    probe = "<script>document.body.dataset.sizes = [...document.images].map(i => i.complete * i.naturalWidth)</script>"
    (tmp_path / "probe.html").write_text(page.replace("</body>", f"{probe}</body>"))
    opened = browser(tmp_path / "probe.html", "--dump-dom")
    assert opened.returncode == 0
    assert f'data-sizes="{Image.open(io.BytesIO(plot)).width}"' in opened.stdout
    assert "CONSOLE" not in opened.stderr
    assert opened.stdout.count("<tr>") == 3
    assert "<title>Table &lt;script&gt;" in opened.stdout, "what a name says is shown, not run"
    (tmp_path / "page.html").write_text(page)
    browser(tmp_path / "page.html", f"--screenshot={tmp_path / 'shot.png'}")
    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert (pixels < 100).mean() > 0.005, "there is something to see"
    (tmp_path / "bad.html").write_text("<script>nothing_of_that_name()</script>")
    assert "CONSOLE" in browser(tmp_path / "bad.html", "--dump-dom").stderr, "an error would have been seen"
