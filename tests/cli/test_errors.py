"""What the command line says of exceptions that are not its own, and with which code it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsactl.cli.errors import report
from dsactl.cli.output import Output

SMALLER = "Use a smaller network, fewer images per class, or smaller batches."


def allocator_error() -> RuntimeError:
    """What torch raises where a tensor is larger than any memory."""
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
        (KeyboardInterrupt, 130, "Error: Interrupted.\n"),
        (lambda: PermissionError(13, "Permission denied", "/a/file"), 1, "Error: /a/file: Permission denied.\n"),
        (
            lambda: ValueError("not [this]"),
            1,
            "Error: Internal error, ValueError: not [this]\n"
            "  Run the command again with DSACTL_DEBUG=1 for the traceback, and report it.\n",
        ),
    ],
)
def test_exceptions_are_told_in_words(make, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert report(make(), Output()) == code
    assert capsys.readouterr() == ("", said)


def test_a_reader_that_has_gone_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert report(BrokenPipeError(), Output()) == 1
        out.write("what was still in the buffer")
    assert (tmp_path / "out").read_text() == ""
    assert capsys.readouterr().err == ""


def test_a_pipe_that_is_closed_at_once() -> None:
    """As by `head -0`."""
    command = [sys.executable, "-m", "dsactl", "ls", "--bundled"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")
