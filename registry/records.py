"""What lies in a store's folder of a name: a record per version, and what is known about the name itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from registry.errors import CorruptError, StoreError
from registry.files import read_limited
from registry.manifest import SCHEMA, Digest, Manifest, parse_json
from registry.names import SetName

LONGEST_RECORD = 2**21  # bytes
MAKE_AGAIN = "Restore it, or make the set again with the same recipe."


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class FileInfo(_Model):
    """Digest and size of one file of a version."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class VersionRecord(_Model):
    """What a version's JSON holds.

    Attributes:
        schema_version: of this layout.
        stored: when, ISO 8601 in UTC.
        digest: of the content; it must be the manifest's.
        tensors, picture: the files.
        manifest: what is known about the set.
    """

    schema_version: int = SCHEMA
    stored: str
    digest: Digest
    tensors: FileInfo
    picture: FileInfo | None
    manifest: Manifest


class NameRecord(_Model):
    """What is known about a name beside its versions.

    Attributes:
        schema_version: of this layout.
        removed: the digest of each version that was removed, whose number no other content gets; None for a version
            that could not be read.
        tags: a version for each tag.
    """

    schema_version: int = SCHEMA
    removed: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")], Digest | None] = {}
    tags: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")], Annotated[int, Field(ge=1)]] = {}


def read_version(path: Path) -> VersionRecord:
    """Read and check a version's JSON.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it is of a newer program, or cannot be read.
        CorruptError: it is damaged, or was changed.
    """
    record = parse_json(VersionRecord, read_json(path), str(path))
    if record.manifest.digest != record.digest:
        raise CorruptError(f"{path} was changed: its manifest does not have the digest that it states.", MAKE_AGAIN)
    return record


def read_json(path: Path) -> bytes:
    """The bytes of a record.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it cannot be read.
        CorruptError: it is far too long.
    """
    try:
        return read_limited(path, LONGEST_RECORD)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error


def stated_file(path: Path) -> str:
    """The SHA-256 of the file that a version's JSON names; the rest of it is not checked.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it cannot be read.
        CorruptError: it names none.
    """
    try:
        digest = json.loads(read_json(path))["tensors"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptError(f"{path} is damaged: it names no file.") from None
    if not (isinstance(digest, str) and len(digest) == 64 and digest.isalnum()):
        raise CorruptError(f"{path} is damaged: it names no file.")
    return digest


def states_digest(path: Path, digest: str) -> bool:
    """Whether a version's JSON begins by stating this digest: canonical JSON does, so others need not be read."""
    start = b'{"digest":"' + digest.encode()
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


@dataclass(frozen=True)
class StoredSet:
    """One version of a set in a store.

    Attributes:
        name, version: what it is called.
        digest: of its content (see `Manifest.digest`).
        stored: when, ISO 8601 in UTC.
        manifest: what is known about it.
        file: its safetensors file.
        size: of that file, in bytes.
        picture: a PNG of it, or None.
        record: its JSON.
    """

    name: SetName
    version: int
    digest: str
    stored: str
    manifest: Manifest
    file: Path
    size: int
    picture: Path | None
    record: Path

    @property
    def reference(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def place(self) -> tuple[SetName, int]:
        """Name and version."""
        return self.name, self.version
