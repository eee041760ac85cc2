"""Translation of Python notation in messages into flags and commands.

Errors are raised below the command line, for users of Python as well. So they name parameters and calls in Python
notation, in backticks, and the command line translates what it prints:

    `networks`                       --networks
    `width=64`                       --width 64
    `precision="float32"`            --precision float32
    `fresh=True`                     --fresh
    `options={"part": 20}`           --option part=20
    `network=NetworkSpec("mlp")`     --arch mlp
    `condense("digits", ipc=1)`      dsactl condense digits --ipc 1
    `store.untag("name", "best")`    dsactl tag name best --remove

What cannot be translated is printed as it is, without the backticks.

Text of the user is never translated: what was given is known here, so that messages of all layers can stay plain text.
"""

import ast
import itertools
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator

COMMANDS: dict[str, str] = {
    # dsactl's functions
    "ablate": "ablate",
    "architectures": "archs",
    "bench": "bench",
    "compare_with_random": "evaluate --against",
    "condense": "condense",
    "continual": "continual",
    "datasets": "datasets",
    "doctor": "doctor",
    "evaluate": "evaluate",
    "evaluate_whole": "evaluate --method whole",
    "experts": "experts",
    "list_runs": "runs",
    "nas": "nas",
    "page": "page",
    "relabel": "relabel",
    "reproduce": "reproduce",
    "transfer": "transfer",
    # the store's methods, and functions that take a store
    "entries": "ls",
    "export": "export",
    "import_set": "import",
    "import_sets": "import",
    "pools": "ls --kind experts",
    "leftovers": "prune --dry-run",
    "prune": "prune",
    "put": "condense digits --ipc 1",
    "remove": "rm",
    "sets": "ls",
    "tag": "tag",
    "tags": "tag",
    "untag": "tag",
    "verify": "verify",
    # the Hub
    "pull": "pull",
    "push": "push",
}
"""The command for each function and method, by its last name. For an empty store, where a set is to be put, it is the
shortest one that makes a set."""

_ENDINGS = {"untag": "--remove"}
"""Flags that a function stands for, after its arguments."""

_PARAMETERS = {"form": "--format", "home": "DSACTL_HOME"}
"""Parameters that the command line does not call by their own name; the store's folder is an environment variable."""

_OBJECTS = frozenset({"reader", "store"})
"""Arguments that a command does not need."""

_PARTS = re.compile(
    r"""(?<![\w`])(?P<quote>['"])(?:\\.|(?!(?P=quote)).)*(?P=quote)(?!\w)"""  # a quoted text, or
    r"""|(?<![\w`'"/\\])`(?P<notation>[^`\n]+)`(?![\w`/\\])"""
)
_PRIVATE = 0xF0000
"""First of the characters, of a private area, that stand for the user's texts while a message is translated."""

_from_files: set[str] = set()


class _UntranslatableError(Exception):
    """The text in backticks has no equivalent on the command line."""


def keep(texts: Iterable[str]) -> None:
    """Never translate these texts, which the user wrote into a file."""
    _from_files.update(texts)


def translate(text: str) -> str:
    """Replace Python notation in backticks by flags and commands.

    Backticks inside a word, a path, a quoted text or a text of the user are not notation, and stay.

    Args:
        text: a message or a hint.
    """
    if "`" not in text:
        return text
    theirs = sorted({each for each in (*_given(), *_paths(text)) if "`" in each}, key=len, reverse=True)
    for index, each in enumerate(theirs):
        text = text.replace(each, chr(_PRIVATE + index))
    said = _PARTS.sub(lambda match: _translated(match["notation"]) if match["notation"] else match[0], text)
    return said.translate({_PRIVATE + index: each for index, each in enumerate(theirs)})


def _given() -> Iterator[str]:
    """Yield what the user gave: words of the command line and their parts, the environment, and texts of files."""
    for word in sys.argv[1:]:
        yield from (word, *re.split("[,/=:@]", word))
    yield from os.environ.values()
    yield from _from_files


def _paths(text: str) -> Iterator[str]:
    """Yield the parts of a text that are existing paths with a backtick, the longest from each word on."""
    ends = [match.end() for match in re.finditer(r"\S(?=[\s,;:.)'\"]|$)", text)]
    for start in (match.end() for match in re.finditer(r"(?:^|[\s('\"=])(?=\S)", text)):
        found = (text[start:end] for end in reversed(ends) if "`" in text[start:end])
        yield from itertools.islice(filter(os.path.lexists, found), 1)


def _translated(notation: str) -> str:
    """Return the equivalent on the command line, or the notation itself where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return _of_expression(notation.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError, _UntranslatableError):
        return notation


def _of_expression(notation: str) -> str:
    """Translate a call, keyword arguments, a parameter, or a value in quotes."""
    try:
        node = ast.parse(notation, mode="eval").body
    except SyntaxError:
        node = ast.parse(f"_({notation})", mode="eval").body
        if not isinstance(node, ast.Call) or node.args or not node.keywords:
            raise _UntranslatableError from None
        return " ".join(map(_flag, node.keywords))
    match node:
        case ast.Call():
            return _command(node)
        case ast.Name():
            return _option(node.id)
        case ast.Constant():
            return _word(node)
    raise _UntranslatableError


def _command(call: ast.Call) -> str:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in COMMANDS:
        raise _UntranslatableError
    values = [each for each in call.args if not _is_ellipsis(each)]
    words = [_word(each) for each in values if not (isinstance(each, ast.Name) and each.id in _OBJECTS)]
    flags = [_flag(keyword) for keyword in call.keywords]
    return " ".join(["dsactl", COMMANDS[name], *words, *flags, *filter(None, [_ENDINGS.get(name)])])


def _flag(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise _UntranslatableError
    option, value = _option(keyword.arg), keyword.value
    if keyword.arg == "options" and isinstance(value, ast.Dict):  # a method's own
        return " ".join(map(_own_option, value.keys, value.values))
    if keyword.arg == "network" and isinstance(value, ast.Call):
        return " ".join([*(f"--arch {_word(arch)}" for arch in value.args), *map(_flag, value.keywords)])
    if _is_ellipsis(value):
        return option
    if isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, bool)):
        return option if value.value else f"no {option}"
    return f"{option}{' ' if option.startswith('--') else '='}{_word(value)}"


def _own_option(name: ast.expr | None, value: ast.expr) -> str:
    if name is None:
        raise _UntranslatableError
    return f"--option {_word(name)}" if _is_ellipsis(value) else f"--option {_word(name)}={_word(value)}"


def _option(parameter: str) -> str:
    return _PARAMETERS.get(parameter, "--" + parameter.rstrip("_").replace("_", "-"))


def _word(node: ast.expr) -> str:
    """Return a value as a shell takes it; a placeholder, such as NAME, as it is."""
    if isinstance(node, ast.Name):
        return node.id
    value = ast.literal_eval(node)
    if isinstance(value, list | tuple):
        return shlex.quote(",".join(map(str, value)))
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return shlex.quote(str(value))
    raise _UntranslatableError


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis
