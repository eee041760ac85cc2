"""Messages and exit codes for exceptions, and translation of Python notation."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dsactl.cli.errors import report
from dsactl.cli.flags import COMMANDS, translate
from dsactl.cli.main import program_of
from dsactl.cli.output import Output
from dsactl.errors import UsageError

SMALLER = "Use a smaller network, fewer images per class, or smaller batches."


def allocator_error() -> RuntimeError:
    """Return the error of torch for a tensor that is larger than any memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    return caught.value


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (MemoryError, 1, f"Error: Out of memory.\n  {SMALLER}\n"),
        (allocator_error, 1, f"Error: Out of memory.\n  {SMALLER}\n"),
        (
            lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            1,
            f"Error: Out of GPU memory.\n  {SMALLER} Or use --device cpu.\n",
        ),
        (
            lambda: RuntimeError("CUDA error: no kernel image is available for execution on the device\nSearch for …"),
            1,
            "Error: The GPU does not work: CUDA error: no kernel image is available for execution on the device\n"
            "  Use --device cpu.\n",
        ),
        (
            lambda: RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\n…"),
            1,
            "Error: The GPU does not work: CUDA error: CUDA-capable device(s) is/are busy or unavailable\n"
            "  Use --device cpu.\n",
        ),
        (
            lambda: ImportError("libtorch_cuda.so: failed to map segment from shared object"),
            1,
            "Error: Not enough memory to load libtorch_cuda.so: failed to map segment from shared object.\n"
            "  Raise the limit, such as ulimit -v.\n",
        ),
        (
            lambda: RuntimeError("Could not determine home directory."),
            1,
            "Error: There is no home folder: HOME is not set.\n  Set HOME.\n",
        ),
        (KeyboardInterrupt, 130, "Error: Interrupted.\n"),
        (lambda: PermissionError(13, "Permission denied", "/a/file"), 1, "Error: /a/file: Permission denied.\n"),
        (
            lambda: ValueError("not [this]"),
            1,
            "Error: Internal error, ValueError: not [this]\n"
            "  Run the command again with DSACTL_DEBUG=1, and report the traceback.\n",
        ),
        (
            lambda: ValueError("no `width`"),
            1,
            "Error: Internal error, ValueError: no `width`\n"
            "  Run the command again with DSACTL_DEBUG=1, and report the traceback.\n",
        ),
        (lambda: PermissionError(13, "Permission denied", "/a `b`"), 1, "Error: /a `b`: Permission denied.\n"),
        (
            lambda: UsageError("`networks` must be at least 1.", 'Use `precision="float32"` with `fresh=True`.'),
            2,
            "Error: --networks must be at least 1.\n  Use --precision float32 with --fresh.\n",
        ),
    ],
)
def test_exceptions_give_messages_and_exit_codes(
    make, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    assert report(make(), Output()) == code
    assert capsys.readouterr() == ("", said)


def test_a_broken_pipe_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert report(BrokenPipeError(), Output()) == 1
        out.write("what was still in the buffer")
    assert (tmp_path / "out").read_text() == ""
    assert capsys.readouterr().err == ""


def test_a_pipe_closed_before_the_output() -> None:
    """As with `head -0`."""
    command = [sys.executable, "-m", "dsactl", "ls", "--bundled"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("networks", "--networks"),
        ("test_fraction", "--test-fraction"),
        ("home", "DSACTL_HOME"),
        ("form", "--format"),
        ("width=64", "--width 64"),
        ("network_lr=0.01", "--network-lr 0.01"),
        ("seed=-1", "--seed -1"),
        ("name=NAME", "--name NAME"),
        ("name=...", "--name"),
        ("home='/a b'", "DSACTL_HOME='/a b'"),
        ('precision="float32"', "--precision float32"),
        ('precision="float32", fresh=True', "--precision float32 --fresh"),
        ("fresh=False", "no --fresh"),
        ("strategy=None", "no --strategy"),
        ('methods=["dsa", "dc"]', "--methods dsa,dc"),
        ('name="two words"', "--name 'two words'"),
        ("""name="it's" """, """--name 'it'"'"'s'"""),
        ('name="$HOME; rm"', "--name '$HOME; rm'"),
        ('name=""', "--name ''"),
        ('"svhn"', "svhn"),
        ("64", "64"),
        ('condense("digits", ipc=1)', "dsactl condense digits --ipc 1"),
        ('dsactl.condense("digits", ipc=1)', "dsactl condense digits --ipc 1"),
        ('condense("my pictures", ipc=1, fresh=True)', "dsactl condense 'my pictures' --ipc 1 --fresh"),
        ("condense(FOLDER, ipc=N)", "dsactl condense FOLDER --ipc N"),
        ("store.sets()", "dsactl ls"),
        ("datasets()", "dsactl datasets"),
        ("architectures()", "dsactl archs"),
        ("store.put(...)", "dsactl condense digits --ipc 1"),
        ('pull("user/repo")', "dsactl pull user/repo"),
        ("push(..., create_pr=True)", "dsactl push --create-pr"),
        ('export(..., form="parquet")', "dsactl export --format parquet"),
        ("import_set(PATH)", "dsactl import PATH"),
        ("verify(store)", "dsactl verify"),
        ("prune(store)", "dsactl prune"),
        ("leftovers(store)", "dsactl prune --dry-run"),
        ("store.remove(NAME)", "dsactl rm NAME"),
        ('store.tag("name:1", "best")', "dsactl tag name:1 best"),
        ("store.tags('name')", "dsactl tag name"),
        ("store.untag('lab/b', 'best')", "dsactl tag lab/b best --remove"),
    ],
)
def test_notation_is_translated(notation: str, said: str) -> None:
    assert translate(f"`{notation}`") == said
    assert translate(f"First (`{notation}`), then `{notation}`.") == f"First ({said}), then {said}."
    assert translate(f"`{notation}`'s value") == f"{said}'s value"


@pytest.mark.parametrize(
    "notation",
    [
        "pip install 'dsactl[hub]'",
        "--networks 5",
        "dsactl ls",
        "a-b",
        "x == 1",
        "unknown('x')",
        "store.sets",
        "condense(*names)",
        "condense(**options)",
        "width=64, 5",
        "width=f(1)",
        "width={1: 2}",
        "condense(True)",
        "lambda: 1",
        "f(x)(y)",
        "width=",
        "(",
        "'open",
        "None",
        "\\d+",
        r'name=x["\d"]',
        "(" * 300,
        "-" * 5000 + "1",
    ],
)
def test_other_text_in_backticks_only_loses_the_backticks(notation: str, recwarn: pytest.WarningsRecorder) -> None:
    assert translate(f"As `{notation}` says.") == f"As {notation} says."
    assert not recwarn


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nothing to see.",
        "one ` alone",
        "``",
        "`over\ntwo lines`",
        "/a/`networks`/c is not there",
        "There is no set '`networks`'.",
        'There is no set "`networks`".',
        "a`networks`b",
        "C:\\`networks`",
    ],
)
def test_text_without_notation_is_unchanged(text: str) -> None:
    assert translate(text) == text


def test_calls_are_translated_to_existing_commands() -> None:
    commands = {command.name for command in program_of([]).registered_commands}
    assert {command.split()[0] for command in COMMANDS.values()} <= commands


def test_remarks_are_translated_too(capsys: pytest.CaptureFixture[str]) -> None:
    Output().remark('Faster with `precision="bfloat16"`.')
    assert capsys.readouterr().err == "Faster with --precision bfloat16.\n"


FOLDER = "a `fresh=True` b"


@pytest.mark.parametrize(
    "words",
    [
        ("condense", FOLDER, "--ipc", "1"),
        ("condense", f"{FOLDER}/c `", "--ipc", "1"),
        ("evaluate", "--data", f"~/{FOLDER}"),
        ("evaluate", "--method", "whole", FOLDER),
        ("show", FOLDER),
        ("import", f"{FOLDER}.pt"),
        ("transfer", "digits", "--archs", FOLDER),
        ("condense", "digits", "--ipc", "1", "--option", f"init={FOLDER}"),
        ("continual", "--tasks", f"digits,{FOLDER}"),
        ("pull", FOLDER),
    ],
)
def test_backticks_in_what_the_user_gave_stay(words: tuple[str, ...], refused: Callable[..., str]) -> None:
    said = refused(*words)
    assert FOLDER in said
    assert "--fresh" not in said


def test_backticks_in_names_within_a_folder_stay(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (FOLDER, "other"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(2):
            (tmp_path / "photos" / name / f"{index}.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    assert f"photos/{FOLDER}/" in refused("condense", "photos", "--ipc", "1")


def test_backticks_in_a_file_of_options_stay(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "recipe.toml").write_text(f'dataset = "{FOLDER}"\nipc = 1\n')
    said = refused("condense", "--config", str(tmp_path / "recipe.toml"))
    assert FOLDER in said
    assert "--fresh" not in said


def test_backticks_in_the_store_s_folder_stay(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FOLDER).write_text("no folder")
    monkeypatch.setenv("DSACTL_HOME", str(tmp_path / FOLDER))
    code, _, err = cli("condense", "digits", "--ipc", "1", "--method", "random")
    assert code == 1
    assert f"{tmp_path}/{FOLDER} is not a folder.\n  Set DSACTL_HOME to a folder." in err


def test_notation_beside_and_around_what_the_user_gave_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dsactl", "condense", "a ` b", "--data", FOLDER])
    assert (
        translate("a ` b has no folder. Leave `test_fraction` out.")
        == "a ` b has no folder. Leave --test-fraction out."
    )
    assert translate(f"Give `data={FOLDER!r}`.") == f"Give --data '{FOLDER}'."
    assert translate(f"{FOLDER}: use `fresh=True`.") == f"{FOLDER}: use --fresh."


def test_quoted_text_stays_but_an_apostrophe_is_no_quote() -> None:
    assert translate("No 'x `ipc` y', use `ipc`.") == "No 'x `ipc` y', use --ipc."
    assert translate("The sets' `ipc` and the set's `ipc`.") == "The sets' --ipc and the set's --ipc."
    assert translate(r"""No 'it\'s "`ipc`" so', use `ipc`.""") == r"""No 'it\'s "`ipc`" so', use --ipc."""
