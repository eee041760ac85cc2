"""Ctrl-C: what the note of the exception says is printed."""

from collections.abc import Callable

import pytest

from dsactl.errors import explain_interrupt
from dsactl.runs import run

CONDENSE = ("condense", "digits", "--ipc", "1", "--method", "random")


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ([], ["Error: Interrupted."]),
        ([("Stopped.", "")], ["Error: Stopped."]),
        ([("Of a set.", "Use `fresh=True`."), ("Of all.", "Use `ipc=2`.")], ["Error: Of all.", "Use --ipc 2."]),
    ],
)
def test_the_last_note_is_printed(
    notes: list[tuple[str, str]],
    said: list[str],
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        interrupt = KeyboardInterrupt()
        for message, hint in notes:
            explain_interrupt(interrupt, message, hint)
        raise interrupt

    monkeypatch.setattr(run, "execute", interrupted)
    code, out, err = cli(*CONDENSE)
    assert (code, out) == (130, "")
    assert [line.strip() for line in err.splitlines()][-len(said) :] == said
