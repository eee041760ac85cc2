"""Evaluation results of a set, as separate records that are validated whenever they are read from a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from registry.errors import CorruptError, StoreError
from registry.files import read_limited, sha256
from registry.manifest import Text, canonical, has_control_characters

_ROUNDING = 0.01  # tolerance for a mean that was rounded for display
MAX_BYTES = 100_000  # of a record
_NAME_DIGITS = 32  # of the SHA-256 of a record, which is its file name

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class _Result(BaseModel):
    """Known fields of a record, all optional; other fields may be any JSON."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    network: Text | None = None
    mean: Number | None = None
    std: Number | None = None
    n: Count | None = None
    paper: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    accuracies: list[Annotated[float, Field(ge=0, le=100)]] | None = None
    epochs: Count | None = None
    augmentation: Text | None = None
    created: Text | None = None
    seconds: Number | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.accuracies is not None:
            if self.n is not None and self.n != len(self.accuracies):
                raise ValueError("n is not the number of accuracies")
            if self.mean is not None and self.accuracies and abs(fmean(self.accuracies) - self.mean) > _ROUNDING:
                raise ValueError("mean is not that of the accuracies")
        return self


def check_result(record: Mapping[str, JsonValue]) -> None:
    """Check that a record can be stored, displayed and read again.

    Raises:
        ValueError: it is too large or has control characters, or a value has the wrong type, is not finite, or is out
            of range.
    """
    data = canonical(dict(record))
    if len(data) > MAX_BYTES:
        raise ValueError(f"a result has more than {MAX_BYTES:,} bytes")
    values = json.loads(data)  # as it will be read, with lists for tuples
    if has_control_characters(values):
        raise ValueError("a result has control characters")
    try:
        _Result.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"a result's {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def file_name(data: bytes) -> str:
    """Return the file name of a record with these bytes."""
    return f"{sha256(data)[:_NAME_DIGITS]}.json"


def read_result(path: Path) -> dict[str, Any]:
    """Read and validate a record.

    Raises:
        FileNotFoundError: it does not exist.
        StoreError: it cannot be read.
        CorruptError: it is damaged or was modified.
    """
    hint = "Remove it, and evaluate again."
    try:
        data = read_limited(path, MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    if path.name != file_name(data):
        raise CorruptError(f"The result {path} was modified: its name is not the digest of its bytes.", hint)
    try:
        record = json.loads(data)
        check_result(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptError(f"The result {path} is damaged: {error!s:.200}.", hint) from None
    return dict(record)
