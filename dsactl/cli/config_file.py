"""The file of options that `--config` names."""

import codecs
import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import registry
from dsactl.cli.flags import keep
from dsactl.errors import UsageError

_NOT_IN_FILES = (
    *(
        "sets",
        "config",
        "device",
        "ray",
        "gpu_share",
        "fresh",
        "budget",
        "checkpoint_every",
        "dry_run",
        "option",
        "log_dir",
    ),
    *("json", "quiet"),
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LOOKED_AT = 4  # bytes, of the first two letters


def read_config(path: Path | None) -> dict[str, Any]:
    """Return the values of a TOML file by option, with underscores; none without a file.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    if path is None:
        return {}
    try:
        values = tomllib.loads(_text(path))
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # beside tomllib's own, for numbers that are too long
        raise UsageError(f"{path} is not TOML: {error}.") from None
    keep(value for value in values.values() if isinstance(value, str))
    values = {key.replace("-", "_"): value for key, value in values.items()}
    _check(path, values)
    return values


def _check(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse what a file of options cannot have: tables, and options that are not of the recipe.

    Raises:
        UsageError: it has some of that.
    """
    for key, value in values.items():
        flag = f"--{key.replace('_', '-')}"
        if key in _NOT_IN_FILES:
            raise UsageError(f"{path}: {key} is not an option of the recipe.", f"Give it on the command line: {flag}")
        if key != "options" and (isinstance(value, dict) or (isinstance(value, list) and dict in map(type, value))):
            raise UsageError(
                f"{path}: there is no table [{key}].",
                "Write each option as NAME = VALUE above all tables; only a method's own may be in [options].",
            )


@contextlib.contextmanager
def naming(path: Path | None, values: Mapping[str, Any]) -> Iterator[None]:
    """Name the file and the key in the message of an error of a block that is about a value of the file.

    Args:
        path: the file; None without one.
        values: of the file, by key, as far as they are used.
    """
    try:
        yield
    except registry.Error as error:
        if path is not None:
            error.message = _with_source(path, values, error.message)
        raise


def _with_source(path: Path, values: Mapping[str, Any], message: str) -> str:
    """Return an error message with the file and the key that it is about before it; unchanged if it is about neither.

    Args:
        path, values: see `naming`.
        message: of an error, which names the key or quotes from its value.
    """
    found = [(place, key) for key, value in values.items() if (place := _mention(key, value, message)) >= 0]
    if not found:
        return message
    key = min(found)[1]
    return f"{path}, {key}: {message.removeprefix(f'`{key}`: ')}"


def _mention(key: str, value: object, message: str) -> int:
    """Return where a message names a key, or quotes from its value if that is a text; -1 if it does not."""
    words = {key, *((value, *value.split("_")) if isinstance(value, str) else ())}
    found = re.finditer(r"[`'\"]([^`'\"=]+)[`'\"=]", message)
    return next((each.start() for each in found if each[1] in words), -1)


def _has_latin_utf_16(data: bytes) -> bool:
    """Return whether the file begins with Latin letters in UTF-16: every second byte is NUL, and no other."""
    even, odd = data[:_LOOKED_AT:2], data[1:_LOOKED_AT:2]
    return any(
        nuls == b"\0" * len(nuls) and b"\0" not in letters for nuls, letters in ((even, odd), (odd, even)) if nuls
    )


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, which may begin with a byte order mark, as Notepad writes it."""
    data = path.read_bytes()
    if data.startswith(_UTF_16) or _has_latin_utf_16(data):
        raise UsageError(
            f"{path} is in UTF-16, as `>` of PowerShell writes it; TOML is in UTF-8.", f"Save {path} as UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not in UTF-8 (line {line}).", f"Save {path} as UTF-8.") from None
