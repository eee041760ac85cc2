"""The commands that keep sets: ls, tag, rm, verify, prune, diff, show."""

import ast
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hub.worker import Worker
from samples import put

import registry

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture
def store() -> registry.Store:
    """The user's store, with three versions of one name and one of another."""
    store = registry.Store()
    for seed in range(3):
        put(store, seed, registry.parse_name("a"))
    put(store, 9, registry.parse_name("lab/b"))
    return store


@pytest.fixture(scope="module")
def _worker() -> Iterator[Worker]:
    with Worker({**os.environ, "NO_COLOR": "1"}) as worker:
        yield worker


@pytest.fixture
def quick(_worker: Worker, tmp_path: Path) -> Program:
    """Run the real command line in a process that has it loaded; returns what a finished process would."""

    def run(*arguments: str, **environment: str) -> CompletedProcess[str]:
        own = {name: os.environ[name] for name in ("DSACTL_HOME", "DSACTL_DATA")}
        return _worker.run(arguments, {**own, **environment}, tmp_path)

    return run


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
    assert "None of the 4 sets" in none.stderr
    assert json.loads(quick("ls", "zzz", "--json").stdout) == []
    (value,) = json.loads(quick("ls", "a", "--json", "--sort", "accuracy", "--reverse").stdout)[:1]
    assert value["reference"] == "a:2"
    assert value["evaluations"][0]["mean"] == 90.0
    assert value["images"] == [4, 1, 3, 3]
    bad = quick("ls", "--sort", "sise")
    assert bad.returncode == 2
    assert "Did you mean 'size'?" in bad.stderr


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.usefixtures("store")
def test_no_name_or_digest_is_broken_on_a_narrow_terminal(quick: Program, store: registry.Store, columns: int) -> None:
    narrow = {"COLUMNS": str(columns)}
    heads, *rows = quick("ls", **narrow).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["a:1", "a:2", "a:3", "lab/b:1"]
    assert heads.split()[:1] == ["set"]
    assert ("size" in heads, "stored" in heads) == (columns == 120, columns >= 80)
    assert "accuracy %" in heads
    assert all(len(row) <= max(columns, 54) for row in (heads, *rows))
    digest = store.read(registry.parse_name("a"), 1).digest
    shown = quick("show", "a:1", **narrow).stdout
    assert f"@sha256:{digest}" in shown
    assert str(store.home) in shown
    assert "a:1" in quick("diff", "a:1", "a:2", **narrow).stdout.splitlines()[0]


def test_ls_shows_the_evaluation_that_says_most(store: registry.Store, quick: Program) -> None:
    digest = store.read(registry.parse_name("a"), 3).digest

    def measured(**changes: object) -> str:
        record = {"network": "convnet", "mean": 50.0, "std": 1.0, "n": 20, "epochs": 1000, "created": "2026-02-01"}
        store.add_evaluation(digest, {**record, **changes})
        (line,) = [line for line in quick("ls").stdout.splitlines() if line.startswith("a:3")]
        return " ".join(line.split())

    assert "12.0 1 mlp, 1 epochs" in measured(network="mlp", epochs=1, n=1, mean=12.0)
    assert "40.0 ± 1.0 5 mlp" in measured(network="mlp", n=5, mean=40.0)
    assert "50.0 ± 1.0 2 convnet" in measured(n=2)
    assert "51.0 ± 1.0 20 convnet" in measured(mean=51.0, created="2026-01-01")
    assert "51.0 ± 1.0 20 convnet" in measured(mean=99.0, n=1, epochs=1, created="2027-01-01")


def test_tables_are_laid_out_for_a_width() -> None:
    from dsactl.cli.tables import Facts, Table

    rows = Table(("set", "size", "ö"), right=("size",), optional=("size",))
    rows.add("a", "1 kB", "界")
    rows.add("bb", "10 kB", "")
    assert list(rows.lines(None)) == ["set   size  ö", "a     1 kB  界", "bb   10 kB"]
    assert list(rows.lines(8)) == ["set  ö", "a    界", "bb"]
    folded = Table(("name", "what"), rows=[("mnist-dsa", "one two three")])
    assert list(folded.lines(20)) == ["name       what", "mnist-dsa  one two", "           three"]
    assert list(folded.lines(3))[-1] == "           three", "never less than the longest words"
    facts = Facts()
    facts.add("words", "one two three")
    facts.add("path", "/a folder/with spaces", whole=True)
    assert list(facts.lines(12)) == ["words  one", "       two", "       three", "path   /a folder/with spaces"]
    assert list(facts.lines(None)) == ["words  one two three", "path   /a folder/with spaces"]


def test_tags_from_setting_to_removal(store: registry.Store, quick: Program) -> None:
    assert quick("tag", "a:2", "best").stdout == "a:best is a:2\n"
    assert json.loads(quick("tag", "a", "--json").stdout) == {"best": 2}
    assert quick("tag", "a", "--quiet").stdout == "a:best\n"
    assert json.loads(quick("show", "a:best", "--json").stdout)["reference"] == "a:2"
    assert quick("tag", "a:best", "paper").stdout == "a:paper is a:2\n"
    assert quick("tag", "a", "best", "--remove").returncode == 0
    assert store.tags(registry.parse_name("a")) == {"paper": 2}
    for arguments, code, said in (
        (("tag", "a", "latest"), 2, "'latest' is the newest version by itself"),
        (("tag", "a", "7"), 2, "is not a tag"),
        (("tag", "a", "--remove"), 2, "needs the name and the tag"),
        (("tag", "a", "nope", "--remove"), 1, "no tag 'nope'"),
        (("tag", "zzz", "x"), 1, "There is no set 'zzz'"),
        (
            ("tag", "mnist-dsa-convnet-ipc1", "x"),
            1,
            "bundled/mnist-dsa-convnet-ipc1:3 comes with dsactl",
        ),
        (("rm", "mnist-dsa-convnet-ipc1", "--yes"), 1, "comes with dsactl and is not changed"),
        (("rm", "mnist-dsa-convnet-ipc1:1", "--yes"), 1, "comes with dsactl and is not changed"),
        (("show", "mnist-dsa-convnet-ipc11"), 1, "Did you mean mnist-dsa-convnet-ipc1"),
    ):
        ended = quick(*arguments)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert said in ended.stderr
        assert "Traceback" not in ended.stderr


def test_rm_asks_says_and_removes(store: registry.Store, quick: Program) -> None:
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
    command = [sys.executable, "-m", "dsactl", "rm", "a:1"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    )
    os.close(theirs)
    said = b""
    while b"[y/n]" not in said:
        said += os.read(ours, 1000)
    os.write(ours, f"{answer}\n".encode())
    process.wait(30)
    os.close(ours)
    assert b"Remove a:1" in said
    assert process.returncode == (130 if answer == "n" else 0)
    assert len(store.sets()) == left


def test_verify_and_prune(store: registry.Store, quick: Program) -> None:
    assert quick("verify").stdout == "4 sets checked: everything is whole\n"
    assert quick("prune", "--yes").stdout == "Nothing is left over\n"
    stray = store.home / "blobs" / ".tmp-1-2"
    stray.write_bytes(b"xyz")
    left = quick("verify")
    assert left.returncode == 0
    assert f"Left over: {stray}" in left.stderr
    assert "Take them away: dsactl prune" in left.stderr
    assert "Would remove 1 file (3 B)" in quick("prune", "--dry-run").stdout
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


def test_diff_names_what_differs(store: registry.Store, quick: Program) -> None:
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
    code = quick("show", "mnist-dsa-convnet-ipc1:1", "--code").stdout
    assert "import dsactl" in code
    ran = subprocess.run(
        [sys.executable, "-c", code.replace("epochs=1000", "epochs=1") + "\nprint(images.shape, labels.tolist())"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "torch.Size([10, 1, 28, 28]) [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" in ran.stdout


def test_show_draws_the_images_where_it_is_wanted(quick: Program) -> None:
    drawn = quick("show", "mnist-dsa-convnet-ipc1", "--picture").stdout
    lines = [line for line in drawn.splitlines() if "▀" in line]
    assert 15 < len(lines) < 40, "two rows of five"
    assert {len(line) for line in lines} == {80}
    assert "▀" not in quick("show", "mnist-dsa-convnet-ipc1").stdout


def test_half_blocks_have_the_colours_of_the_picture() -> None:
    import io

    import numpy as np
    from PIL import Image

    from dsactl.cli import half_blocks

    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    text = half_blocks.draw(buffer.getvalue(), 10)
    assert text.plain == "▀▀▀\n▀▀▀\n"
    styles = [span.style for span in text.spans]
    for place, style in enumerate(styles):
        row, column = divmod(place, 3)
        for colour, half in ((style.color, 0), (style.bgcolor, 1)):  # type: ignore[union-attr]
            assert tuple(colour.triplet) == tuple(pixels[2 * row + half, column])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dsactl show a", ["a"]),
        ("dsactl show lab/", ["lab/b"]),
        ("dsactl tag a:", ["1", "2", "3", "best"]),
        ("dsactl show a:b", ["best"]),
        ("dsactl rm a:1 l", ["lab/b"]),
        ("dsactl show mnist-dsa", ["mnist-dsa-convnet-ipc1"]),
        ("dsactl show bundled/mnist", ["bundled/mnist-dsa-convnet-ipc1"]),
        ("dsactl show mnist-dsa-convnet-ipc1:", ["1", "2", "3"]),
        ("dsactl show bundled/mnist-dsa-convnet-ipc1:", ["1", "2", "3"]),
        ("dsactl condense digits --method d", ["dsa", "dc", "dd"]),
        ("dsactl export a --format p", ["png", "parquet"]),
        ("dsactl show ../", []),
    ],
)
def test_references_are_completed(store: registry.Store, program: Program, typed: str, offered: list[str]) -> None:
    store.tag(store.read(registry.parse_name("a"), 3), "best")
    words = typed.replace(":", " : ").split()  # as bash breaks them
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    completed = program(_DSACTL_COMPLETE="complete_bash", **asked)
    assert completed.stdout.split() == offered
    assert "Traceback" not in completed.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes_versions(store: registry.Store) -> None:
    """An interactive bash on a terminal, with the script that `dsactl --show-completion` prints."""
    store.tag(store.read(registry.parse_name("a"), 3), "best")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "dumb",
        "PS1": "$ ",
        "SHELL": shutil.which("bash") or "",
    }
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)

    def type_and_read(keys: str, until: str) -> str:
        os.write(ours, keys.encode())
        said = ""
        end = time.monotonic() + 30
        while until not in said:
            assert time.monotonic() < end, said
            if select.select([ours], [], [], 0.1)[0]:
                said += os.read(ours, 4096).decode(errors="replace")
        return said

    try:
        type_and_read("source <(dsactl --show-completion bash); echo rea''dy\n", "\nready")
        type_and_read("dsactl show a:b\t", "a:best ")
        type_and_read("; dsactl tag a:\t\t", "1     2     3     best")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def test_a_damaged_store_is_told_and_the_rest_is_used(store: registry.Store, quick: Program) -> None:
    stored = store.read(registry.parse_name("a"), 2)
    stored.record.write_text("{")
    listed = quick("ls", "--quiet")
    assert listed.stdout.split() == ["a:1", "a:3", "lab/b:1"]
    assert str(stored.record) in listed.stderr
    assert quick("show", "a:2").returncode == 1
    assert quick("rm", "a:3", "--yes").returncode == 0
    assert stored.record.exists()
    assert quick("rm", "a:2", "--yes").stdout.startswith("Removed a:2")
    assert quick("verify").returncode == 0


def test_a_tag_that_points_nowhere_can_be_taken_away(store: registry.Store, quick: Program) -> None:
    name = registry.parse_name("lab/b")
    store.tag(store.read(name, 1), "best")
    store.record_path(name, 1).unlink()
    said = quick("verify").stderr
    assert "Take it away: dsactl tag lab/b best --remove" in said
    assert quick("tag", "lab/b", "best", "--remove").returncode == 0
    assert "best" not in quick("verify").stderr


def test_a_digest_that_two_names_have_is_not_removed_by_guess(store: registry.Store, quick: Program) -> None:
    stored = store.read(registry.parse_name("a"), 1)
    store.put(registry.parse_name("twin"), store.tensors(stored), stored.manifest)
    digest = f"@sha256:{stored.digest}"
    ended = quick("rm", digest, "--yes")
    assert ended.returncode == 2
    assert f"{digest} means 2 versions: a:1, twin:1" in ended.stderr
    assert quick("rm", digest, "--all-versions", "--yes", "-q").stdout == "a:1\ntwin:1\n"


HOSTILE = "x[/b] :dog: [link=file:///etc]y[/link] {{}} '\"\\"


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(store: registry.Store, quick: Program) -> None:
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
    assert "Made for the augmentation: crop." in code
    names = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.List))
    assert ast.literal_eval(names) == [HOSTILE, "b"]


def test_paths_are_shown_as_they_are(quick: Program, tmp_path: Path) -> None:
    home = tmp_path / "x[" / "bold] :dog:"
    store = registry.Store(home)
    put(store)
    stray = home / "blobs" / ".tmp-1-2"
    stray.write_bytes(b"")
    for arguments in (("verify",), ("prune", "--dry-run"), ("prune", "--yes"), ("ls", "zzz"), ("rm", "zzz")):
        ended = quick(*arguments, DSACTL_HOME=str(home))
        assert "Internal error" not in ended.stderr
    assert f"The store {tmp_path / 'e[/b]'} is empty" in quick("ls", DSACTL_HOME=str(tmp_path / "e[/b]")).stderr
