"""The store: sets on disk, by name and version, under one folder.

    store.json                                the schema of this layout
    lock                                      held while something is written
    blobs/DIGEST.safetensors                  a file under the SHA-256 of its bytes
    sets/NAMESPACE/NAME/VERSION.json          a version: its manifest and files; `_` stands for no namespace
    sets/NAMESPACE/NAME/VERSION.png           its picture
    evaluations/DIGEST/RECORD.json            results, by the digest of the content they were measured on

A version is there once its JSON is; everything it names is written before. Every file is written beside, flushed and
renamed, so a process that is killed leaves at worst a file that nothing names.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import platformdirs
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from registry.errors import BadNameError, CorruptError, NotFoundError, RegistryError, StoreError
from registry.files import sha256, write_atomically
from registry.manifest import SCHEMA, Digest, Manifest, canonical, parse_json
from registry.names import Reference, SetName
from registry.tensors import Array, decode, describe, encode

_NO_NAMESPACE = "_"
_MAKE_AGAIN = "Restore it, or make the set again with the same recipe."


class FileInfo(BaseModel):
    """Digest and size of one file of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Digest
    size: Annotated[int, Field(ge=0)]


class VersionRecord(BaseModel):
    """What a version's JSON holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: int = SCHEMA
    stored: str
    digest: Digest
    tensors: FileInfo
    picture: FileInfo | None
    manifest: Manifest


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
    """

    name: SetName
    version: int
    digest: str
    stored: str
    manifest: Manifest
    file: Path
    size: int
    picture: Path | None

    @property
    def reference(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"


def default_home() -> Path:
    """$DSACTL_HOME, else the user's data folder."""
    given = os.environ.get("DSACTL_HOME")
    return Path(given).expanduser() if given else platformdirs.user_data_path("dsactl")


class Store:
    """Sets and their evaluations under one folder. Opening it writes nothing.

    Args:
        home: the folder; `default_home()` if not given.

    Raises:
        StoreError: it was written by a newer program.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = default_home() if home is None else home
        marker = self.home / "store.json"
        if marker.is_file():
            try:
                schema = json.loads(marker.read_text())["schema_version"]
            except (ValueError, KeyError, TypeError):
                raise CorruptError(f"{marker} is damaged.", f'It should read {{"schema_version":{SCHEMA}}}.') from None
            if not isinstance(schema, int):
                raise CorruptError(f"{marker} is damaged.", f'It should read {{"schema_version":{SCHEMA}}}.')
            if schema > SCHEMA:
                raise StoreError(f"The store {self.home} is of a newer program (schema {schema}).", "Update dsactl.")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the store's lock; make the store if it is not there."""
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.home / "lock")
            lock.acquire()
        except OSError as error:
            raise StoreError(
                f"Cannot write to the store {self.home}: {error.strerror or error}.",
                "Set DSACTL_HOME to a folder of yours.",
            ) from error
        try:
            marker = self.home / "store.json"
            if not marker.exists():
                write_atomically(marker, canonical({"schema_version": SCHEMA}))
            yield
        finally:
            lock.release()

    def check_writable(self) -> None:
        """Find out before long work whether its result can be kept.

        Raises:
            StoreError: it cannot.
        """
        with self._writing():
            pass

    def _folder(self, name: SetName) -> Path:
        """The folder of a name.

        Raises:
            BadNameError: it is a link that leads out of the store.
        """
        sets = self.home / "sets"
        folder = sets / (name.namespace or _NO_NAMESPACE) / name.name
        if not folder.resolve().is_relative_to(sets.resolve()):
            raise BadNameError(f"{name} is a link that leads out of the store {self.home}.", "Remove the link.")
        return folder

    def put(
        self, name: SetName, tensors: Mapping[str, Array], manifest: Manifest, picture: bytes | None = None
    ) -> StoredSet:
        """Store a set as the next version of a name; the same content again gives the version that has it.

        Args:
            name: what to call it.
            tensors: `images` and `labels`.
            manifest: its `tensors` must describe them.
            picture: a PNG, or None.

        Raises:
            ValueError: the manifest describes other tensors.
            StoreError: the store cannot be written to.
            BadNameError: the name is a link that leads out of the store.
        """
        if describe(tensors) != manifest.tensors:
            raise ValueError("the manifest does not describe these tensors")
        data = encode(tensors, manifest)
        blob = FileInfo(sha256=sha256(data), size=len(data))
        drawn = None if picture is None else FileInfo(sha256=sha256(picture), size=len(picture))
        with self._writing():
            versions = self.versions(name)
            for version in versions:
                with contextlib.suppress(CorruptError):
                    existing = self._read(name, version)
                    if existing.digest == manifest.digest and self._repaired(existing, tensors):
                        return existing
            version = max(versions, default=0) + 1
            write_atomically(self._blob(blob.sha256), data)
            if picture is not None:
                write_atomically(self._folder(name) / f"{version}.png", picture)
            record = VersionRecord(
                stored=datetime.now(UTC).isoformat(timespec="microseconds"),
                digest=manifest.digest,
                tensors=blob,
                picture=drawn,
                manifest=manifest,
            )
            write_atomically(self._folder(name) / f"{version}.json", canonical(record.model_dump(mode="json")))
        return self._read(name, version)

    def _repaired(self, stored: StoredSet, tensors: Mapping[str, Array]) -> bool:
        """Whether a version's file is whole, written again if need be now that its content is at hand."""
        try:
            self.tensors(stored)
        except CorruptError:
            data = encode(tensors, stored.manifest)
            if sha256(data) != stored.file.stem:
                return False
            write_atomically(stored.file, data)
        return True

    def _blob(self, digest: str) -> Path:
        return self.home / "blobs" / f"{digest}.safetensors"

    def names(self) -> list[SetName]:
        """Every name that has a version, sorted."""
        return sorted(
            SetName("" if folder.parent.name == _NO_NAMESPACE else folder.parent.name, folder.name)
            for folder in (self.home / "sets").glob("*/*")
            if any(folder.glob("*.json"))
        )

    def versions(self, name: SetName) -> list[int]:
        """The versions of a name, ascending."""
        return sorted(int(path.stem) for path in self._folder(name).glob("*.json") if path.stem.isdigit())

    def sets(self) -> list[StoredSet]:
        """Every version of every set that can be read, oldest first."""
        return self.scan()[0]

    def scan(self) -> tuple[list[StoredSet], list[RegistryError]]:
        """Every version of every set, oldest first, and what is wrong with those that cannot be read."""
        found: list[StoredSet] = []
        faults: list[RegistryError] = []
        for name in self.names():
            for version in self.versions(name):
                try:
                    found.append(self._read(name, version))
                except RegistryError as error:
                    faults.append(error)
        return sorted(found, key=lambda stored: (stored.stored, stored.name, stored.version)), faults

    def _read(self, name: SetName, version: int) -> StoredSet:
        path = self._folder(name) / f"{version}.json"
        try:
            record = parse_json(VersionRecord, path.read_bytes(), str(path))
        except FileNotFoundError:
            raise NotFoundError(f"There is no {name}:{version}.", "See: dsactl ls") from None
        if record.manifest.digest != record.digest:
            raise CorruptError(
                f"{path} was changed: its manifest does not have the digest that it states.", _MAKE_AGAIN
            )
        return StoredSet(
            name,
            version,
            record.digest,
            record.stored,
            record.manifest,
            self._blob(record.tensors.sha256),
            record.tensors.size,
            None if record.picture is None else path.with_suffix(".png"),
        )

    def find(self, reference: Reference) -> StoredSet:
        """The set that a reference means.

        Raises:
            NotFoundError: no such name, version, tag or digest.
        """
        if reference.name is None:
            wanted = str(reference.digest)
            matches = [stored for stored in self.sets() if stored.digest.startswith(wanted)]
            if not matches:
                raise NotFoundError(f"No set has the digest {wanted}.", "See: dsactl ls")
            if len({stored.digest for stored in matches}) > 1:
                raise NotFoundError(f"Several sets have a digest that begins with {wanted}.", "Give more digits.")
            return matches[0]
        versions = self.versions(reference.name)
        if not versions:
            raise NotFoundError(f"There is no set {str(reference.name)!r}.", self._nearest(reference.name))
        if reference.version is not None:
            return self._read(reference.name, reference.version)
        if reference.tag != "latest":
            raise NotFoundError(f"{reference.name} has no tag {reference.tag!r}.", f"Versions: {versions}.")
        return self._read(reference.name, versions[-1])

    def _nearest(self, name: SetName) -> str:
        near = difflib.get_close_matches(str(name), [str(known) for known in self.names()], n=3)
        return f"Did you mean {' or '.join(near)}?" if near else "See: dsactl ls"

    def newest(self) -> StoredSet:
        """The set that was stored last.

        Raises:
            NotFoundError: the store is empty.
        """
        stored = self.sets()
        if not stored:
            raise NotFoundError(f"The store {self.home} is empty.", "Make a set: dsactl condense digits --ipc 1")
        return stored[-1]

    def tensors(self, stored: StoredSet) -> dict[str, Array]:
        """`images` and `labels` of a set, checked against every digest.

        Raises:
            CorruptError: the file is missing, damaged, or another one.
        """
        try:
            if stored.file.stat().st_size != stored.size:
                raise CorruptError(f"The file of {stored.reference} was changed: {stored.file}.", _MAKE_AGAIN)
            data = stored.file.read_bytes()
        except FileNotFoundError:
            raise CorruptError(f"The file of {stored.reference} is gone: {stored.file}.", _MAKE_AGAIN) from None
        if sha256(data) != stored.file.stem:
            raise CorruptError(f"The file of {stored.reference} was changed: {stored.file}.", _MAKE_AGAIN)
        arrays, manifest = decode(data, str(stored.file))
        if manifest.digest != stored.digest:
            raise CorruptError(f"{stored.file} holds another set than {stored.reference}.")
        return arrays

    def add_evaluation(self, digest: str, record: Mapping[str, JsonValue]) -> Path:
        """Keep a result that was measured on the content with this digest. The set is not touched."""
        data = canonical(dict(record))
        path = self.home / "evaluations" / digest / f"{sha256(data)[:32]}.json"
        with self._writing():
            write_atomically(path, data)
        return path

    def evaluations(self, digest: str) -> list[dict[str, JsonValue]]:
        """The results that were measured on this content, oldest first; unreadable ones are left out."""
        records = []
        for path in (self.home / "evaluations" / digest).glob("*.json"):
            with contextlib.suppress(ValueError, TypeError):
                records.append(dict(json.loads(path.read_bytes())))
        return sorted(records, key=lambda record: str(record.get("created", "")))
