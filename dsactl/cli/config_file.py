"""The file of options that `--config` names."""

import codecs
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsactl.cli.flags import keep
from dsactl.errors import UsageError

_NOT_IN_FILES = (
    *("sets", "config", "device", "ray", "gpu_share", "fresh", "checkpoint_every", "dry_run", "option"),
    *("json", "quiet"),
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, which may begin with a byte order mark, as Notepad writes it."""
    data = path.read_bytes()
    if data.startswith(_UTF_16) or b"\0" in data[:2]:
        raise UsageError(
            f"{path} is in UTF-16, as `>` of PowerShell writes it; TOML is in UTF-8.", f"Save {path} as UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not in UTF-8 (line {line}).", f"Save {path} as UTF-8.") from None
