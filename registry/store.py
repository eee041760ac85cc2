"""Store of sets and pools of experts on disk, by name and version, in one folder (see `registry.layout`).

A version exists if its JSON file does: the files that it references are written before it, and removed after it. Every
file is written atomically and under a lock, so a killed process leaves at worst an unreferenced file.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from registry.errors import ConflictError, CorruptError, NotFoundError, StoreError
from registry.files import remove, sha256, write_atomically, write_cache, write_hint
from registry.layout import NAME_RECORD
from registry.locks import acquire, marker
from registry.manifest import SCHEMA, SET, Manifest, canonical
from registry.names import LAST_VERSION, SetName, parse_own_tag
from registry.reader import Reader
from registry.records import (
    FileInfo,
    NameRecord,
    StoredSet,
    VersionRecord,
    read_version,
    stated_file,
    states_digest,
)
from registry.results import check_result, file_name

if TYPE_CHECKING:
    from registry.tensors import Array


Place = tuple[SetName, int]
"""Name and version."""

_LOCK_TIMEOUT_SECONDS = 60.0  # storing a set takes a small part of a second


@dataclass(frozen=True)
class Removal:
    """What removing versions deletes.

    Attributes:
        references: the versions.
        tags: `name:tag` of the tags that point at them.
        bytes: size of the files that only they reference.
    """

    references: tuple[str, ...]
    tags: tuple[str, ...]
    bytes: int


class Store(Reader):
    """Readable and writable store of sets, their evaluations, and pools of experts. Opening it writes nothing."""

    keeps_index = True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's lock in a block; create the store if it does not exist.

        Raises:
            StoreError: the store is not writable, or has a newer schema by now.
        """
        from filelock import Timeout  # a slow import, for writes only

        try:
            self.home.mkdir(parents=True, exist_ok=True)
            lock = acquire(self.layout.lock, timeout=_LOCK_TIMEOUT_SECONDS, poll_interval=0.01)
        except Timeout:
            held = marker(self.layout.lock)
            left = f" If it was killed on another machine, remove {held}." if held.exists() else ""
            raise StoreError(
                f"Another process has been writing to the store {self.home} for {_LOCK_TIMEOUT_SECONDS:.0f} s.",
                f"Wait until it is done, or stop it.{left}",
            ) from None
        except OSError as error:
            raise StoreError(
                f"Cannot write to the store {self.home}: {error.strerror or error}.",
                write_hint(self.home, error),
            ) from error
        with lock:
            self._refuse_links()
            if self.layout.marker.exists():
                self.check_schema()
            else:
                write_atomically(self.layout.marker, canonical({"schema_version": SCHEMA}))
            yield

    def _refuse_links(self) -> None:
        for folder in (self.layout.blobs, self.layout.sets, self.layout.evaluations):
            if folder.is_symlink():
                raise StoreError(
                    f"{folder} is a link; nothing is written outside the store.",
                    "To keep the store elsewhere, set `home`.",
                )

    def check_writable(self) -> None:
        """Check, before long work, that its result can be stored. A store that does not exist is not created.

        Raises:
            StoreError: the store is not writable.
        """
        nearest = next(folder for folder in (self.home, *self.home.absolute().parents) if os.access(folder, os.F_OK))
        if nearest == self.home or not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            with self.writing():
                pass

    def put(
        self,
        name: SetName,
        tensors: "Mapping[str, Array]",
        manifest: Manifest,
        picture: bytes | None = None,
    ) -> StoredSet:
        """Store a set or pool as the next version of a name, or return the version that already has this content.

        Args:
            name: name of the set or pool.
            tensors: `images` and `labels`, perhaps `soft_labels`; of a pool see `registry.pool`.
            manifest: description of the set or pool; its `tensors` must match.
            picture: a PNG, or None.

        Raises:
            ValueError: the manifest describes other tensors.
            ConflictError: the name has artifacts of the other kind.
            StoreError: the store is not writable, or the name has no more version numbers.
            BadNameError: the folder of the name is a symbolic link.
            CorruptError: the record of the name is damaged, so that no version number can be assigned.
        """
        from registry.tensors import encode

        return self.put_file(name, encode(tensors, manifest), tensors, manifest, picture)

    def put_file(
        self,
        name: SetName,
        data: bytes,
        tensors: "Mapping[str, Array]",
        manifest: Manifest,
        picture: bytes | None = None,
        *,
        version: int | None = None,
    ) -> StoredSet:
        """Store a set from the bytes of its file.

        Args:
            data: the file's bytes, from which `registry.tensors.decode` returned the tensors and the manifest.
            name, tensors, manifest, picture: see `put`.
            version: required version number, for a set from elsewhere; the next one if not given.

        Raises:
            ValueError: the manifest describes other tensors, or the version is not from 1 to `LAST_VERSION`.
            ConflictError: the required version has, or had, other content; or the name has artifacts of the other kind.
            StoreError, BadNameError, CorruptError: see `put`.
        """
        from registry.tensors import describe

        if describe(tensors, manifest.kind) != manifest.tensors:
            raise ValueError("the manifest does not describe these tensors")
        if version is not None and not 1 <= version <= LAST_VERSION:
            raise ValueError(f"versions count from 1 to {LAST_VERSION}")
        with self.writing():
            existing = self._with_content(name, manifest.digest, version)
            if existing is None:
                self.check_kind_of_name(name, manifest.kind)
                return self._write(name, self._number(name, version, manifest.digest), data, manifest, picture)
            at, stored = existing
            if stored is not None and self._is_intact(stored):
                return stored
            return self._write(name, at, data, manifest, picture, stored.stored if stored else None)

    def check_kind_of_name(self, name: SetName, kind: str) -> None:
        """Check that a name has no versions, or versions of this kind, so that `name:latest` never changes its kind.

        Raises:
            ConflictError: its versions are of the other kind.
        """
        for version in reversed(self.versions(name)):
            with contextlib.suppress(CorruptError, NotFoundError):
                if self.read(name, version).kind != kind:
                    other = "a pool of experts" if kind == SET else "a set"
                    raise ConflictError(f"{name} is the name of {other}.", "Pass another `name`.")
                return

    def _with_content(self, name: SetName, digest: str, version: int | None) -> tuple[int, StoredSet | None] | None:
        """Return the version of a name that has this digest, and its set; None for a set that cannot be read."""
        folder = self.layout.folder(name)
        for each in self.versions(name) if version is None else [version]:
            if states_digest(folder / f"{each}.json", digest):
                try:
                    return each, self.read(name, each)
                except CorruptError:
                    return each, None
        return None

    def _is_intact(self, stored: StoredSet) -> bool:
        """Return whether a version's files match their digests, without reading the set into memory."""
        try:
            with stored.file.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.picture_bytes(stored)
        except (FileNotFoundError, CorruptError):
            return False
        return digest == stored.file.stem

    def _number(self, name: SetName, wanted: int | None, digest: str) -> int:
        """Return the version number for new content: the next, or the wanted one if no other content has or had it."""
        versions, removed = self.versions(name), self.name_record(name).removed
        if wanted is None:
            number = max([0, *versions, *map(int, removed)]) + 1
            if number > LAST_VERSION:
                raise StoreError(f"{name} has no more version numbers.", "Use another name.")
            return number
        if wanted in versions:
            with contextlib.suppress(CorruptError):
                self.read(name, wanted)
                raise ConflictError(f"{name}:{wanted} already exists with other content.", "Pass another `name`.")
        if removed.get(str(wanted), digest) != digest:
            raise ConflictError(f"{name}:{wanted} was removed, and had other content.", "Pass another `name`.")
        return wanted

    def _write(
        self,
        name: SetName,
        version: int,
        data: bytes,
        manifest: Manifest,
        picture: bytes | None,
        stored: str | None = None,
    ) -> StoredSet:
        folder, blob = self.layout.folder(name), FileInfo(sha256=sha256(data), size=len(data))
        write_atomically(self.layout.blob(blob.sha256), data)
        if picture is not None:
            write_atomically(folder / f"{version}.png", picture)
        record = VersionRecord(
            schema_version=manifest.schema_version,
            stored=stored or self._now().isoformat(timespec="microseconds"),
            digest=manifest.digest,
            tensors=blob,
            picture=None if picture is None else FileInfo(sha256=sha256(picture), size=len(picture)),
            manifest=manifest,
        )
        write_atomically(folder / f"{version}.json", canonical(record.model_dump(mode="json")))
        if stored is None and manifest.kind == SET:
            newest = {"stored": record.stored, "reference": f"{name}:{version}"}
            write_cache(self.layout.newest, canonical(newest))
        return self.stored_set(name, version, record)

    def _now(self) -> datetime:
        """Return the current time, but always later than the last stored set's, even if the clock was set back."""
        now, last = datetime.now(UTC), None
        try:
            last = json.loads(self.layout.newest.read_bytes())["stored"]
        except FileNotFoundError:
            last = max((entry.stored for entry in self.entries()[0]), default=None)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            return max(now, datetime.fromisoformat(last) + timedelta(microseconds=1)) if last else now
        return now

    def removal(self, places: Sequence[Place]) -> Removal:
        """Return what `remove` would delete.

        Args:
            places: distinct names and versions.
        """
        own, (used, complete) = Counter(self._files(places)), self.files_in_use()
        files = [path for path, uses in own.items() if complete and used[path] <= uses]
        pictures = [self.record_path(*place).with_suffix(".png") for place in places]
        return Removal(
            tuple(f"{name}:{version}" for name, version in places),
            tuple(f"{name}:{tag}" for name, version in places for tag in self._tags_of(name, version)),
            sum(path.stat().st_size for path in (*files, *pictures) if path.is_file()),
        )

    def remove(self, places: Sequence[Place]) -> None:
        """Remove versions, including damaged ones, and the tags that point at them.

        Their numbers are not reused for other content. Evaluation results are kept.

        Args:
            places: distinct names and versions.

        Raises:
            NotFoundError: a version does not exist (any more); those before it were removed.
            StoreError: the store is not writable.
        """
        with self.writing():
            files = self._files(places)
            for name, version in places:
                self._remove_record(name, version)
            used, complete = self.files_in_use()
            for path in files:
                if complete and path not in used:
                    remove(path)

    def _remove_record(self, name: SetName, version: int) -> None:
        path, digest = self.record_path(name, version), None
        try:
            digest = read_version(path).digest
        except FileNotFoundError:
            raise NotFoundError(f"There is no {name}:{version}.", "See: `store.sets()`") from None
        except CorruptError:
            pass
        known, gone = self.name_record(name), self._tags_of(name, version)
        tags = {tag: at for tag, at in known.tags.items() if tag not in gone}
        self._write_name(name, NameRecord(removed={**known.removed, str(version): digest}, tags=tags))
        remove(path)
        remove(path.with_suffix(".png"))

    def _files(self, places: Sequence[Place]) -> list[Path]:
        """Return the safetensors files of those versions whose JSON can be read."""
        files = []
        for place in places:
            with contextlib.suppress(FileNotFoundError, CorruptError):
                files.append(self.layout.blob(stated_file(self.record_path(*place))))
        return files

    def _tags_of(self, name: SetName, version: int) -> list[str]:
        return [tag for tag, at in self.tags(name).items() if at == version]

    def tag(self, stored: StoredSet, tag: str) -> None:
        """Set a tag to a version, or move it there.

        Raises:
            BadNameError: it is not a tag, or is "latest".
            NotFoundError: the version does not exist any more.
        """
        parse_own_tag(tag)
        with self.writing():
            if not stored.record.exists():
                raise NotFoundError(f"There is no {stored.reference}.", "See: `store.sets()`")
            record = self.name_record(stored.name)
            self._write_name(stored.name, record.model_copy(update={"tags": {**record.tags, tag: stored.version}}))

    def untag(self, name: SetName, tag: str) -> None:
        """Remove a tag.

        Raises:
            NotFoundError: the name has no such tag.
        """
        with self.writing():
            record = self.name_record(name)
            if tag not in record.tags:
                raise NotFoundError(f"{name} has no tag {tag!r}.", f"See: `store.tags({str(name)!r})`")
            tags = {each: version for each, version in record.tags.items() if each != tag}
            self._write_name(name, record.model_copy(update={"tags": tags}))

    def _write_name(self, name: SetName, record: NameRecord) -> None:
        write_atomically(self.layout.folder(name) / NAME_RECORD, canonical(record.model_dump(mode="json")))

    def add_evaluation(self, digest: str, record: Mapping[str, JsonValue]) -> Path:
        """Store an evaluation result for the content with this digest, without changing the set.

        Returns:
            Path of the record.

        Raises:
            ValueError: the record is not valid (see `registry.results`).
            StoreError: the store is not writable.
        """
        check_result(record)
        data = canonical(dict(record))
        path = self.layout.evaluations / digest / file_name(data)
        with self.writing():
            write_atomically(path, data)
        return path
