"""The commands that manage sets: ls, tag, rm, verify, prune, diff, show."""

import ast
import json
import os
import pty
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import processes
import pytest
import torch
from samples import manifest, put, tensors
from waiting import read_until

import dsactl
import registry
from dsactl.cli import condense_runs
from dsactl.cli.output import Output
from dsactl.runs.run import Outcome

pytest_plugins = ["registry_fixtures"]

Program = Callable[..., CompletedProcess[str]]


def references(quick: Program, *arguments: str) -> list[str]:
    ended = quick("ls", "--quiet", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def test_ls_filters_and_sorts(store: registry.Store, quick: Program) -> None:
    for version, mean in ((1, 70.0), (2, 90.0)):
        digest = store.read(registry.parse_name("a"), version).digest
        store.add_evaluation(digest, {"mean": mean, "std": 1.0, "n": 5, "network": "convnet", "created": "2026"})
    assert references(quick) == ["a:1", "a:2", "a:3", "lab/b:1"]
    assert references(quick, "--reverse") == ["lab/b:1", "a:3", "a:2", "a:1"]
    assert references(quick, "--sort", "accuracy", "--reverse")[:2] == ["a:2", "a:1"]
    assert references(quick, "--sort", "name") == ["a:1", "a:2", "a:3", "lab/b:1"]
    assert references(quick, "lab/*") == ["lab/b:1"]
    assert references(quick, "--dataset", "digits", "--method", "dsa", "--arch", "convnet", "--ipc", "2") != []
    for wrong in (("--dataset", "mnist"), ("--method", "dc"), ("--arch", "mlp"), ("--ipc", "1"), ("zzz",)):
        assert references(quick, *wrong) == []
    none = quick("ls", "zzz")
    assert (none.returncode, none.stdout) == (0, "")
    assert "No set matches (4 in the store)" in none.stderr
    assert json.loads(quick("ls", "zzz", "--json").stdout) == []
    (value,) = json.loads(quick("ls", "a", "--json", "--sort", "accuracy", "--reverse").stdout)[:1]
    assert value["reference"] == "a:2"
    assert value["evaluations"][0]["mean"] == 90.0
    assert value["images"] == [4, 1, 3, 3]
    bad = quick("ls", "--sort", "sise")
    assert bad.returncode == 2
    assert "Did you mean 'size'?" in bad.stderr


def test_a_set_without_a_picture(store: registry.Store, quick: Program, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = tensors(5)
    stored = store.put(registry.parse_name("bare"), arrays, manifest(arrays))
    shown = quick("show", "bare", "--no-picture").stdout
    assert "file" in shown
    assert "None" not in shown
    assert json.loads(quick("show", "bare", "--json").stdout)["picture"] is None
    for as_json in (False, True):
        condense_runs.answer([Outcome(stored, 1.0)], Output(as_json=as_json), None)
    said, value = capsys.readouterr().out.split("\n", 1)
    assert said.startswith("Stored bare:1")
    assert json.loads(value)[0]["picture"] is None


def test_ls_shows_the_most_representative_evaluation(store: registry.Store, quick: Program) -> None:
    digest = store.read(registry.parse_name("a"), 3).digest

    def measured(**changes: object) -> str:
        record = {"network": "convnet", "mean": 50.0, "std": 1.0, "n": 20, "epochs": 1000, "created": "2026-02-01"}
        store.add_evaluation(digest, {**record, **changes})
        (line,) = [line for line in quick("ls").stdout.splitlines() if line.startswith("a:3")]
        return " ".join(line.split())

    assert "12.0 1 mlp, 1 epoch " in measured(network="mlp", epochs=1, n=1, mean=12.0)
    assert "40.0 ± 1.0 5 mlp" in measured(network="mlp", n=5, mean=40.0)
    assert "50.0 ± 1.0 2 convnet" in measured(n=2)
    assert "51.0 ± 1.0 20 convnet" in measured(mean=51.0, created="2026-01-01")
    assert "51.0 ± 1.0 20 convnet" in measured(mean=99.0, n=1, epochs=1, created="2027-01-01")


def test_tags_are_set_listed_and_removed(store: registry.Store, quick: Program) -> None:
    assert quick("tag", "a:2", "best").stdout == "a:best is a:2\n"
    assert json.loads(quick("tag", "a", "--json").stdout) == {"best": 2}
    assert quick("tag", "a", "--quiet").stdout == "a:best\n"
    assert json.loads(quick("show", "a:best", "--json").stdout)["reference"] == "a:2"
    assert quick("tag", "a:best", "paper").stdout == "a:paper is a:2\n"
    assert quick("tag", "a", "best", "--remove").returncode == 0
    assert store.tags(registry.parse_name("a")) == {"paper": 2}
    for arguments, code, said in (
        (("tag", "a", "latest"), 2, "'latest' always is the newest version"),
        (("tag", "a", "7"), 2, "is not a tag"),
        (("tag", "a", "b" * 81), 2, "at most 80 long"),
        (("tag", "a", "--remove"), 2, "needs the name and the tag"),
        (("tag", "a", "nope", "--remove"), 1, "no tag 'nope'"),
        (("tag", "zzz", "x"), 1, "There is no set 'zzz'"),
        (
            ("tag", "mnist-dsa-convnet-ipc1", "x"),
            1,
            "bundled/mnist-dsa-convnet-ipc1:3 is bundled with dsactl",
        ),
        (("rm", "mnist-dsa-convnet-ipc1", "--yes"), 1, "is bundled with dsactl and cannot be changed"),
        (("rm", "mnist-dsa-convnet-ipc1:1", "--yes"), 1, "is bundled with dsactl and cannot be changed"),
        (("show", "mnist-dsa-convnet-ipc11"), 1, "Did you mean mnist-dsa-convnet-ipc1"),
    ):
        ended = quick(*arguments)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_rm_confirms_and_removes(store: registry.Store, quick: Program) -> None:
    store.tag(store.read(registry.parse_name("a"), 3), "best")
    several = quick("rm", "a")
    assert several.returncode == 2
    assert "a means 3 versions: a:1, a:2, a:3" in several.stderr
    unasked = quick("rm", "a:1")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    dry = quick("rm", "a:3", "a:best", "lab/b", "--dry-run")
    assert "Would remove a:3, lab/b:1" in dry.stdout
    assert "the tag a:best" in dry.stdout
    assert len(store.sets()) == 4
    done = json.loads(quick("rm", "a:3", "lab/b", "--yes", "--json").stdout)
    assert done["removed"] == ["a:3", "lab/b:1"]
    assert done["tags"] == ["a:best"]
    assert references(quick) == ["a:1", "a:2"]
    assert quick("rm", "a:3", "--yes").returncode == 1
    assert quick("rm", "a", "--all-versions", "--yes", "-q").stdout == "a:1\na:2\n"
    assert references(quick) == []


@pytest.mark.parametrize(("answer", "left"), [("n", 4), ("y", 3)])
def test_rm_asks_on_a_terminal(store: registry.Store, answer: str, left: int) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = processes.start("rm", "a:1", env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = read_until(ours, "[y/n]")
    os.write(ours, f"{answer}\n".encode())
    process.wait()
    os.close(ours)
    assert "Remove a:1" in said
    assert process.returncode == (130 if answer == "n" else 0)
    assert len(store.sets()) == left


def test_verify_and_prune(store: registry.Store, quick: Program) -> None:
    assert quick("verify").stdout == "4 versions checked: no errors\n"
    assert quick("prune", "--yes").stdout == "No unreferenced files\n"
    stray = store.home / "blobs" / ".tmp-1-2"
    stray.write_bytes(b"xyz")
    left = quick("verify")
    assert left.returncode == 0
    assert f"Unreferenced: {stray}" in left.stderr
    assert "Delete them: dsactl prune" in left.stderr
    assert "Would delete 1 file (3 B)" in quick("prune", "--dry-run").stdout
    assert quick("prune").returncode == 2
    assert json.loads(quick("prune", "--yes", "--json").stdout)["removed"] == [str(stray)]
    assert not stray.exists()
    stored = store.read(registry.parse_name("a"), 2)
    stored.file.write_bytes(b"?")
    bad = quick("verify", "--json")
    assert bad.returncode == 1
    value = json.loads(bad.stdout)
    assert len(value["faults"]) == 1
    assert str(stored.file) in value["faults"][0]
    assert str(stored.file) in bad.stderr
    assert quick("verify", "a:1", "lab/b", "mnist-dsa-convnet-ipc1").returncode == 0
    assert quick("verify", "a:2").returncode == 1


def test_diff_lists_the_differences(store: registry.Store, quick: Program) -> None:
    digest = store.read(registry.parse_name("a"), 1).digest
    store.add_evaluation(digest, {"mean": 70.0, "std": 1.0, "n": 5, "network": "convnet", "created": "2026"})
    shown = quick("diff", "a:1", "a:2")
    assert shown.returncode == 0
    assert "70.0 ± 1.0, n = 5" in shown.stdout
    assert "a:1 and a:2 have different content" in shown.stdout
    value = json.loads(quick("diff", "a:1", "a:2", "--json").stdout)
    assert not value["same_content"]
    assert set(value["differing"]) == {"digest", "accuracy % on convnet"}
    same = quick("diff", "a:1", "a:1")
    assert same.stdout == "a:1 and a:1 have the same content\n"
    against = json.loads(quick("diff", "a:1", "mnist-dsa-convnet-ipc1", "--json").stdout)["differing"]
    assert against["data set: name"] == ["digits", "mnist"]
    assert against["recipe: iterations"] == [None, 1000]


def test_show_prints_code_that_runs(quick: Program) -> None:
    for name in ("mnist-dsa-convnet-ipc1:1", "fashionmnist-dance-convnet-ipc1-formation2:1"):
        code = quick("show", name, "--code").stdout
        assert "import dsactl" in code
        names: dict[str, Any] = {}
        exec(compile(code.replace("epochs=1000", "epochs=1"), "code", "exec"), names)
        known = dsactl.load(name)
        torch.testing.assert_close(names["images"], known.images)
        assert torch.equal(names["labels"], known.labels)


def test_a_damaged_set_is_reported_and_the_rest_is_usable(store: registry.Store, quick: Program) -> None:
    stored = store.read(registry.parse_name("a"), 2)
    stored.record.write_text("{")
    listed = quick("ls", "--quiet")
    assert listed.stdout.split() == ["a:1", "a:3", "lab/b:1"]
    assert str(stored.record) in listed.stderr
    assert listed.returncode == 1
    assert quick("ls", "--bundled").returncode == 0
    assert quick("show", "a:2").returncode == 1
    assert quick("rm", "a:3", "--yes").returncode == 0
    assert stored.record.exists()
    assert quick("rm", "a:2", "--yes").stdout.startswith("Removed a:2")
    assert quick("verify").returncode == 0


def test_a_dangling_tag_can_be_removed(store: registry.Store, quick: Program) -> None:
    name = registry.parse_name("lab/b")
    store.tag(store.read(name, 1), "best")
    store.record_path(name, 1).unlink()
    said = quick("verify").stderr
    assert "Remove it: dsactl tag lab/b best --remove" in said
    assert json.loads(quick("verify", "--json").stdout)["faults"][-1].endswith("dsactl tag lab/b best --remove")
    assert quick("tag", "lab/b", "best", "--remove").returncode == 0
    assert "best" not in quick("verify").stderr


def test_an_ambiguous_digest_is_not_removed(store: registry.Store, quick: Program) -> None:
    stored = store.read(registry.parse_name("a"), 1)
    store.put(registry.parse_name("twin"), store.tensors(stored), stored.manifest)
    digest = f"@sha256:{stored.digest}"
    ended = quick("rm", digest, "--yes")
    assert ended.returncode == 2
    assert f"{digest} means 2 versions: a:1, twin:1" in ended.stderr
    assert quick("rm", digest, "--all-versions", "--yes", "-q").stdout == "a:1\ntwin:1\n"


HOSTILE = "x[/b] :dog: [link=file:///etc]y[/link] {{}} '\"\\"


def test_foreign_text_is_shown_verbatim(store: registry.Store, quick: Program) -> None:
    """Markup, emoji codes, quotes and code, wherever a manifest or a result has text."""
    name = registry.parse_name("evil")
    good = store.read(registry.parse_name("a"), 1)
    tensors = store.tensors(good)
    info = good.manifest.dataset.model_copy(update={"name": HOSTILE, "class_names": [HOSTILE, "b"]})
    manifest = good.manifest.model_copy(
        update={
            "dataset": info,
            "method": HOSTILE,
            "network": HOSTILE,
            "recipe": {HOSTILE: HOSTILE, "strategy": ["crop", "x\u2028import os"]},
            "provenance": {HOSTILE: HOSTILE},
        }
    )
    stored = store.put(name, tensors, manifest)
    result = {"network": HOSTILE, "mean": 1.0, "std": 0.5, "n": 3, "augmentation": HOSTILE, "created": HOSTILE}
    store.add_evaluation(stored.digest, result)
    for arguments in (("show", "evil"), ("ls",), ("diff", "evil", "a:1"), ("ls", "--json"), ("tag", "evil")):
        ended = quick(*arguments)
        assert ended.returncode == 0, ended.stderr
        assert "🐶" not in ended.stdout
    shown = quick("show", "evil").stdout
    assert shown.replace("\n", "").count("x[/b] :dog:") >= 5
    code = quick("show", "evil", "--code").stdout
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(imports) == 2
    assert "Augmentation of the set: crop." in code
    names = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.List))
    assert ast.literal_eval(names) == [HOSTILE, "b"]


def test_paths_are_shown_verbatim(quick: Program, tmp_path: Path) -> None:
    home = tmp_path / "x[" / "bold] :dog:"
    store = registry.Store(home)
    put(store)
    stray = home / "blobs" / ".tmp-1-2"
    stray.write_bytes(b"")
    for arguments in (("verify",), ("prune", "--dry-run"), ("prune", "--yes"), ("ls", "zzz"), ("rm", "zzz")):
        ended = quick(*arguments, DSACTL_HOME=str(home))
        assert "Internal error" not in ended.stderr
    assert f"The store {tmp_path / 'e[/b]'} is empty" in quick("ls", DSACTL_HOME=str(tmp_path / "e[/b]")).stderr
