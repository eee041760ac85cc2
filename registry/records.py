"""Records in the folder of a name: one per version, and one of the name's tags and removed versions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from registry.errors import CorruptError, KindError, StoreError
from registry.files import read_limited
from registry.manifest import SCHEMA, SET, Digest, Manifest, parse_json
from registry.names import SetName

MAX_RECORD_BYTES = 2**21
RESTORE_HINT = "Restore it, or make the set again with the same recipe."


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class FileInfo(_Model):
    """Digest and size of a file of a version."""

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class VersionRecord(_Model):
    """Content of a version's JSON file.

    Attributes:
        schema_version: version of this layout; that of the manifest, so that a program to which the kind of the
            artifact is unknown refuses it.
        stored: time of storing, ISO 8601 in UTC.
        digest: digest of the content; it must equal the manifest's.
        tensors, picture: the files.
        manifest: description of the set or pool.
    """

    schema_version: int = SCHEMA
    stored: str
    digest: Digest
    tensors: FileInfo
    picture: FileInfo | None
    manifest: Manifest


class NameRecord(_Model):
    """Tags and removed versions of a name.

    Attributes:
        schema_version: version of this layout.
        removed: the digest of each removed version, whose number is not reused for other content; None for a version
            that could not be read.
        tags: the version of each tag.
    """

    schema_version: int = SCHEMA
    removed: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")], Digest | None] = {}
    tags: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")], Annotated[int, Field(ge=1)]] = {}


def read_version(path: Path) -> VersionRecord:
    """Read and validate a version's JSON file.

    Raises:
        FileNotFoundError: it does not exist.
        StoreError: it has a newer schema, or cannot be read.
        CorruptError: it is damaged or was modified.
    """
    record = parse_json(VersionRecord, read_json(path), str(path))
    if record.manifest.digest != record.digest:
        raise CorruptError(f"{path} was modified: its manifest does not have the stated digest.", RESTORE_HINT)
    return record


def read_json(path: Path) -> bytes:
    """Read the bytes of a record.

    Raises:
        FileNotFoundError: it does not exist.
        StoreError: it cannot be read.
        CorruptError: it is too large.
    """
    try:
        return read_limited(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error


def stated_file(path: Path) -> str:
    """Return the SHA-256 of the file that a version's JSON names, without checking the rest.

    Raises:
        FileNotFoundError: the JSON does not exist.
        StoreError: it cannot be read.
        CorruptError: it names no file.
    """
    try:
        digest = json.loads(read_json(path))["tensors"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptError(f"{path} is damaged: it names no file.") from None
    if not (isinstance(digest, str) and len(digest) == 64 and digest.isalnum()):
        raise CorruptError(f"{path} is damaged: it names no file.")
    return digest


def states_digest(path: Path, digest: str) -> bool:
    """Return whether a version's JSON begins with this digest, as canonical JSON does, without reading the rest."""
    start = b'{"digest":"' + digest.encode()
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


@dataclass(frozen=True)
class StoredSet:
    """Version of a set, or of a pool of experts, in a store.

    Attributes:
        name, version: name and version number.
        digest: digest of the content (see `Manifest.digest`).
        stored: time of storing, ISO 8601 in UTC.
        manifest: description of the set or pool.
        file: path of the safetensors file.
        size: size of that file in bytes.
        picture: path of a PNG, or None.
        record: path of the JSON file.
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
        """Return `name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def kind(self) -> str:
        """Return "set" or "experts"."""
        return self.manifest.kind

    def check_kind(self, kind: str) -> None:
        """Check that this is a set, or a pool of experts.

        Args:
            kind: "set" or "experts".

        Raises:
            KindError: it is of the other kind.
        """
        if self.kind == kind:
            return
        if kind == SET:
            raise KindError(f"{self.reference} is a pool of experts, not a set.", "List the sets: `store.sets()`")
        raise KindError(f"{self.reference} is a set, not a pool of experts.", "List the pools: `store.pools()`")

    @property
    def place(self) -> tuple[SetName, int]:
        """Return the name and version."""
        return self.name, self.version
