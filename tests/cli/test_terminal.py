"""Output on a terminal: narrow tables, images as characters, completion in bash."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import processes
import pytest
from waiting import read_until

import registry

pytest_plugins = ["registry_fixtures"]

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.usefixtures("store")
def test_names_and_digests_are_not_split_on_a_narrow_terminal(
    quick: Program, store: registry.Store, columns: int
) -> None:
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


def test_tables_are_laid_out_for_a_width() -> None:
    from dsactl.text.tables import Facts, Table

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


def test_show_draws_the_images_on_request(quick: Program) -> None:
    drawn = quick("show", "mnist-dsa-convnet-ipc1", "--picture").stdout
    plain = quick("show", "mnist-dsa-convnet-ipc1").stdout
    lines = drawn.removeprefix(plain).rstrip("\n").split("\n")
    assert 15 < len(lines) < 40, "two rows of five"
    assert {len(line) for line in lines} == {80}
    assert len({*"".join(lines)}) == 10, "ten shades, as there are no colours"
    assert "@@@" not in plain


def test_half_blocks_have_the_colours_of_the_picture() -> None:
    import io

    import numpy as np
    from PIL import Image

    from dsactl.cli import terminal_image

    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    text = terminal_image.draw(buffer.getvalue(), 10)
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
        ("dsactl condense digits --method d", ["dsa", "dc", "dm", "dance", "dd"]),
        ("dsactl export a --format p", ["pt", "png", "parquet"]),
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


def on_a_terminal(
    *arguments: str, columns: int = 100, code: int = 0, at: tuple[str, Callable[[], None]] | None = None
) -> str:
    """Return the output of a command on a terminal; at some text, a function is called."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = processes.start(*arguments, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = ""
    if at is not None:
        text, call = at
        said = read_until(ours, text)
        call()
    said += read_until(ours, None)
    os.close(ours)
    assert process.wait() == code, said
    return said


def test_a_terminal_wraps_between_words() -> None:
    def lines(*arguments: str, columns: int, code: int) -> list[str]:
        said = on_a_terminal(*arguments, columns=columns, code=code)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", said).strip().split("\n")

    name = "a-name-that-is-longer-than-the-terminal-is-wide"
    assert lines("show", name, columns=40, code=1) == ["Error: There is no set", f"'{name}'.", "  See: dsactl ls"]
    assert lines("evaluate", "--method", "whole", "nothing", columns=40, code=2) == [
        "Error: Unknown dataset 'nothing'.",
        "  Known: cifar10, cifar100, digits,",
        "  fashionmnist, mnist, svhn, usps. List",
        "  them: dsactl datasets. Or give a",
        "  folder.",
    ]
    (line,) = (line for line in lines("condense", "--help", columns=120, code=0) if "Each default says" in line)
    assert len(line.strip()) > 100, "paragraphs are only wrapped at the terminal's width"


def test_a_terminal_shows_a_bar_and_pictures() -> None:
    made = on_a_terminal("condense", "digits", "--ipc", "1", "--width", "8", "--iterations", "3")
    assert "\x1b[?25l" in made, "the cursor is hidden while a bar moves"
    assert "\x1b[?25h" in made
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", made)
    assert re.search(r"digits-dsa-convnet-width8-ipc1 +━+ +3/3 steps +\S+/s +0:00:\d\d +left +0:00:00", drawn)
    assert re.search(r"\n +distance \d+\.\d, matching gradients", drawn)
    assert "Stored digits-dsa-convnet-width8-ipc1:1" in drawn
    shown = on_a_terminal("show", "digits-dsa-convnet-width8-ipc1")
    assert "▀" in shown
    assert "\x1b[38;2;" in shown or "\x1b[38;5;" in shown
    assert "convnet-width8" in shown


def test_a_terminal_shows_a_run_of_another_process_to_its_end(tmp_path: Path) -> None:
    options = ("--ipc", "1", "--width", "8", "--batch-real", "16", "--iterations", "150")
    run = processes.start("condense", "digits@classes0-3", *options)
    end = time.monotonic() + 120
    while not list((tmp_path / "home").glob("runs/*/events.jsonl")):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    run.send_signal(signal.SIGSTOP)  # so that it cannot end before it is seen
    try:
        said = on_a_terminal("runs", "--follow", at=("━", lambda: run.send_signal(signal.SIGCONT)))
        run.communicate()
    finally:
        run.kill()
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1, "the cursor is hidden meanwhile"
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    name = "digits-classes0-3-dsa-convnet-width8-ipc1"
    assert re.search(rf"{name} ━+ \d+/150 steps  \d+ %", drawn)
    assert re.search(r"\n  distance \d+\.?\d*  ", drawn)
    assert re.search(rf"{name}:1 finished in \d", drawn)
    assert re.search(rf"{name}:1 +0? *finished +150/150", drawn.splitlines()[-1]), "and the list stays"


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

    def type_and_read(keys: str, until: str) -> None:
        os.write(ours, keys.encode())
        read_until(ours, until)

    try:
        type_and_read("source <(dsactl --show-completion bash); echo rea''dy\n", "\nready")
        type_and_read("dsactl show a:b\t", "a:best ")
        type_and_read("; dsactl tag a:\t\t", "1     2     3     best")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def test_a_place_that_is_no_number_completes_nothing(program: Program) -> None:
    completed = program(_DSACTL_COMPLETE="complete_bash", COMP_WORDS="dsactl", COMP_CWORD="abc")
    assert "Traceback" not in completed.stderr
