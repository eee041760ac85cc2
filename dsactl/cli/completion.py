"""Completion of `name:version` in bash, which splits words at colons: it passes `name`, `:` and `1` as three words and
replaces only the last one.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

_ASKED = "_DSACTL_COMPLETE"


def complete(program: Callable[[], object]) -> None:
    """Answer a completion request of bash, if any: join split words, and strip the prefix up to the last colon.

    Raises:
        SystemExit: after a completion request was answered.
    """
    if os.environ.get(_ASKED) != "complete_bash":
        return
    words = re.split(r"[ \n]", os.environ.get("COMP_WORDS", ""))
    whole = join(words[: int(os.environ.get("COMP_CWORD", "0")) + 1])
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(whole), str(len(whole) - 1)
    begun, colon, _ = whole[-1].rpartition(":")
    answers = io.StringIO()
    try:
        with contextlib.redirect_stdout(answers):
            program()
    finally:
        sys.stdout.writelines(_without(begun + colon, answers.getvalue()))
    raise SystemExit(0)


def join(words: Sequence[str]) -> list[str]:
    """Join words that were split at colons: name, :, 1 becomes name:1."""
    whole: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if whole and ":" in (word, before):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _without(begun: str, answers: str) -> Iterator[str]:
    for line in answers.splitlines():
        yield f"{line.removeprefix(begun)}\n"
