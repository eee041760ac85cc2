"""The files of the folder of a run, of a set or of a pool, and what can be read from them without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import CorruptError
from registry.files import read_limited, write_atomically

RECIPE = "recipe.json"
SOURCE = "source.json"
RUN = "run.json"
CHECKPOINT = "checkpoint.safetensors"
EVENTS = "events.jsonl"
FINISHED = "finished.json"

_MAX_JSON_BYTES = 2**20
_MAX_HEADER_BYTES = 2**24  # a tensor needs some 100 bytes


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write or replace a JSON file of a run, atomically.

    Raises:
        registry.StoreError: the folder cannot be written to.
    """
    write_atomically(path, json.dumps(dict(value), indent=1).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file.

    Raises:
        CorruptError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(read_limited(path, _MAX_JSON_BYTES))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is damaged ({error}).") from None
    if not isinstance(value, dict):
        raise CorruptError(f"{path} is damaged (it is not an object).")
    return value


def read_description(path: Path) -> dict[str, Any] | None:
    """Read the description of a checkpoint (`dsactl.engine.checkpoint`) without its tensors; None without one.

    Raises:
        CorruptError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise CorruptError(f"{path} is damaged (its header is too long).")
            about = json.loads(json.loads(file.read(length))["__metadata__"]["about"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptError(f"{path} is damaged ({type(error).__name__}).") from None
    if not isinstance(about, dict):
        raise CorruptError(f"{path} is damaged (it has no description).")
    return about
