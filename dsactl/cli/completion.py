"""Completion: its scripts for shells, and `name:version` in bash.

Bash splits words at colons: it passes `name`, `:` and `1` as three words and replaces only the last one.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

from dsactl.errors import DsactlError, UsageError

_ASKED = "_DSACTL_COMPLETE"
_INSTALL, _SHOW = "--install-completion", "--show-completion"
_SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_ZSH_CALL = "[[ $funcstack[1] == _%(prog_name)s ]] && %(complete_func)s\n"
"""The last line of the script for zsh, which loads it as a function at the first Tab; typer's does not answer that."""


def set_up(words: Sequence[str]) -> None:
    """Install or print the script of a shell, if the command line asks for it: of the shell it names, else of its own.

    Args:
        words: the command line without the program's name.

    Raises:
        SystemExit: after a script was installed or printed.
        UsageError: there is no script for the shell.
        DsactlError: the script cannot be written.
    """
    if not words or words[0] not in (_INSTALL, _SHOW):
        return
    if len(words) > 2:
        raise UsageError(f"{words[0]} takes the name of one shell, not {len(words) - 1} words.")
    from typer import _completion_shared as scripts

    shell = words[1] if len(words) > 1 else scripts._get_shell_name()
    if shell not in _SHELLS:
        of = f"the shell {shell}" if shell else "this shell, which was not recognised"
        raise UsageError(
            f"There is no completion for {of}.", f"Name one of {', '.join(_SHELLS)}: dsactl {words[0]} bash"
        )
    scripts._completion_scripts["zsh"] = scripts.COMPLETION_SCRIPT_ZSH + _ZSH_CALL
    if words[0] == _SHOW:
        sys.stdout.write(scripts.get_completion_script(prog_name="dsactl", complete_var=_ASKED, shell=shell) + "\n")
    else:
        try:
            _, path = scripts.install(shell, "dsactl", _ASKED)
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            raise DsactlError(
                f"Completion cannot be installed: {why}.", f"Print its script instead: dsactl {_SHOW} {shell}"
            ) from None
        sys.stdout.write(f"Installed completion for {shell} in {path}; new terminals have it.\n")
    raise SystemExit(0)


def complete(program: Callable[[], object]) -> None:
    """Answer a completion request of bash, if any: join split words, and strip the prefix up to the last colon.

    Raises:
        SystemExit: after a completion request was answered.
    """
    if os.environ.get(_ASKED) != "complete_bash":
        return
    words = re.split(r"[ \n]", os.environ.get("COMP_WORDS", ""))
    place = os.environ.get("COMP_CWORD", "")
    whole = join(words[: (int(place) if place.isdecimal() else 0) + 1])
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
