"""Completion of `name:version` in bash, which breaks words at colons: it hands over `name`, `:` and `1` as three words,
and replaces the last alone.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

_ASKED = "_DSACTL_COMPLETE"


def complete(program: Callable[[], object]) -> None:
    """Run the program as bash asks for completions, if it does: with whole words, and answers without their beginnings.

    Raises:
        SystemExit: it was asked, and has answered.
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
    """Words that were broken at colons, whole again: name, :, 1 is name:1."""
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
