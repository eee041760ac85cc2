"""Streams that are no terminal, lack letters, or are closed; names that would control a terminal; lines of progress."""

import json
import re
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from dsactl.cli import progress as bars
from dsactl.cli.main import main
from dsactl.cli.output import Output
from dsactl.cli.streams import printable

Cli = Callable[..., tuple[int, str, str]]
BUNDLED = "bundled/mnist-dsa-convnet-ipc1"


def write_pictures(folder: Path, names: list[str]) -> None:
    """Write three pictures of noise per class."""
    noise = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(3):
            pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command line on streams of an encoding; returns exit code and both streams."""

    def run(encoding: str, *arguments: str) -> tuple[int, str, str]:
        streams = [TextIOWrapper(BytesIO(), encoding), TextIOWrapper(BytesIO(), encoding, errors="backslashreplace")]
        monkeypatch.setattr(sys, "argv", ["dsactl", *arguments])
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stop:
            main()
        texts = []
        for stream in streams:
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
        return int(stop.value.code or 0), texts[0], texts[1]

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [
        "ls --bundled",
        f"show {BUNDLED}",
        f"show {BUNDLED} --picture",
        "condense --help",
        "datasets",
        "archs",
        f"diff {BUNDLED}:1 {BUNDLED}:2",
    ],
)
def test_letters_that_a_stream_lacks_are_replaced(
    encoded: Callable[..., tuple[int, str, str]], encoding: str, words: str
) -> None:
    code, out, err = encoded(encoding, *words.split())
    assert (code, "Internal" in err) == (0, False), err
    assert len(out) > 50


def test_json_is_ascii_and_names_are_replaced(tmp_path: Path, encoded: Callable[..., tuple[int, str, str]]) -> None:
    write_pictures(tmp_path / "cats", ["猫", "b"])
    asked = ("condense", str(tmp_path / "cats"), "--ipc", "1", "--method", "random", "--name", "cats")
    assert encoded("ascii", *asked)[0] == 0
    code, out, _ = encoded("latin-1", "show", "cats")
    assert (code, "b, ?" in out) == (0, True)
    code, out, _ = encoded("latin-1", "show", "cats", "--json")
    assert out.isascii()
    assert (code, json.loads(out)["manifest"]["dataset"]["class_names"]) == (0, ["b", "猫"])


def test_bytes_of_names_that_are_no_text_are_written_as_they_are() -> None:
    from dsactl.cli.streams import replace_unencodable

    kept, stream = sys.stdout, TextIOWrapper(BytesIO(), "utf-8")
    sys.stdout = stream
    try:
        replace_unencodable()
    finally:
        sys.stdout = kept
    stream.write(b"\xff-".decode("utf-8", "surrogateescape") + "猫\ud800")
    stream.flush()
    assert stream.buffer.getvalue() == b"\xff-" + "猫?".encode()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_forced_colours_make_no_terminal(
    name: str, program: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    plain = program("ls", "--bundled")
    forced = program("ls", "--bundled", NO_COLOR="", **{name: "1"})
    assert re.sub(r"\x1b\[[0-9;]*m", "", forced.stdout) == plain.stdout  # type: ignore[attr-defined]
    made = program("condense", "digits", "--ipc", "1", "--method", "herding", "--width", "8", "--epochs", "1",
                   NO_COLOR="", **{name: "1"})  # fmt: skip
    assert made.returncode == 0  # type: ignore[attr-defined]
    assert not re.search(r"\x1b\[[0-9?]*[A-Zlh]", made.stderr), "nothing moves in a log"  # type: ignore[attr-defined]
    shown = program("show", BUNDLED, NO_COLOR="", **{name: "1"})
    assert "▀" not in shown.stdout  # type: ignore[attr-defined]


def test_a_picture_without_colours_is_made_of_letters(cli: Cli) -> None:
    code, out, _ = cli("show", BUNDLED, "--picture")
    rows = out.splitlines()[-10:]
    assert code == 0
    assert "▀" not in out
    assert set("".join(rows)) <= set(" .:-=+*#%@")
    assert len({*"".join(rows)}) > 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("猫 שלום é a‍b\tc", "猫 שלום é a‍b\tc"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\rc\x07\x9b", "a\\nb\\rc\\x07\\x9b"),
        ("abc\u202egnp.exe\u2028", "abc\\u202egnp.exe\\u2028"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_names_of_folders_control_no_terminal(tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = tmp_path / "p\x1b[2Jq\nr"
    write_pictures(folder, ["a\x1b[31m", "b\u202ec"])
    for words in (("condense", str(folder), "--ipc", "1"), ("evaluate", BUNDLED, "--data", f"{folder}/nothing")):
        said = refused(*words)
        assert "\x1b" not in said
        assert "p\\x1b[2Jq\\nr/" in said


def lines_of(updates: list[tuple[float, str]], seconds: float, capsys: pytest.CaptureFixture[str],
             monkeypatch: pytest.MonkeyPatch) -> list[str]:  # fmt: skip
    """Return the lines of a meter of 3 networks that is updated every so many seconds."""
    now = [1000.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    with Output().progress("evaluating a", 3, "networks") as bar:
        for done, doing in updates:
            bar.update(done, 3, doing)
            now[0] += seconds
    return capsys.readouterr().err.splitlines()


def test_the_last_line_of_progress_is_that_of_finished_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = [(0.0, "0 stored"), (1.5, "0 stored"), (2.8, "0 stored"), (3.0, "0 stored"), (3.0, "3 stored")]
    assert lines_of(updates, 20.0, capsys, monkeypatch) == [
        "evaluating a: 0/3 networks, 0 stored",
        "evaluating a: 1/3 networks, 13.3 s each, 20.0 s left, 0 stored",
        "evaluating a: 2/3 networks, 14.3 s each, 2.9 s left, 0 stored",
        "evaluating a: 3/3 networks, 3 stored",
    ]


def test_work_that_stopped_has_no_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lines_of([(0.0, ""), (1.0, "")], 1.0, capsys, monkeypatch) == ["evaluating a: 0/3 networks"]
    assert lines_of([], 1.0, capsys, monkeypatch) == []


def test_one_of_something_is_singular(cli: Cli) -> None:
    assert cli("condense", "digits", "--ipc", "1", "--method", "random", "--name", "one")[0] == 0
    code, _, err = cli("evaluate", "one", "--arch", "mlp", "--networks", "1", "--epochs", "1")
    assert code == 0
    assert "\n1 epoch, " in err
    assert "1 epochs" not in cli("ls", "one")[1] + cli("diff", "one", BUNDLED)[1]


def test_without_an_input_nothing_is_removed(cli: Cli) -> None:
    assert cli("condense", "digits", "--ipc", "1", "--method", "random", "--name", "one")[0] == 0
    code, _, err = cli("rm", "one")
    assert (code, "Confirm with --yes." in err) == (2, True)
    assert cli("ls", "--quiet")[1] == "one:1\n"


def test_a_terminal_of_no_columns_has_the_usual_number(
    program: Callable[..., CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    usual = program("archs").stdout
    assert usual.startswith("name ")
    assert program("archs", COLUMNS="0", LINES="0").stdout == usual
