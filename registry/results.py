"""Results: what was measured on a set, as records of their own; checked whenever they come from a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from registry.errors import CorruptError, StoreError
from registry.files import read_limited, sha256
from registry.manifest import Text, canonical, has_control_characters

_ROUNDING = 0.01  # of a mean that was rounded to be read
LONGEST = 100_000  # bytes of a record
_NAME = 32  # digits of a record's own SHA-256, which its file is called by

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class _Result(BaseModel):
    """What is shown of a record, of the right type where it is there; whatever else it has is JSON."""

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
    """Refuse a record that could not be kept, shown and read again.

    Raises:
        ValueError: it is too long, has control characters, or a value is of the wrong type, not finite, or absurd.
    """
    data = canonical(dict(record))
    if len(data) > LONGEST:
        raise ValueError(f"a result has more than {LONGEST:,} bytes")
    values = json.loads(data)  # as it will be read: tuples are lists
    if has_control_characters(values):
        raise ValueError("a result has control characters")
    try:
        _Result.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"a result's {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def file_name(data: bytes) -> str:
    """What the file of a record with these bytes is called."""
    return f"{sha256(data)[:_NAME]}.json"


def read_result(path: Path) -> dict[str, Any]:
    """One record.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it cannot be read.
        CorruptError: it is damaged, or was changed.
    """
    again = "Remove it, and evaluate again."
    try:
        data = read_limited(path, LONGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
    if path.name != file_name(data):
        raise CorruptError(f"The result {path} was changed: its name is not the digest of its bytes.", again)
    try:
        record = json.loads(data)
        check_result(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptError(f"The result {path} is damaged: {error!s:.200}.", again) from None
    return dict(record)
