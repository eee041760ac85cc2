"""The store: sets on disk, by name and version, under one folder (see `registry.layout`).

A version is there once its JSON is; everything it names is written before, and removed after it. Every file is written
beside, flushed and renamed, under a lock, so a process that is killed leaves at worst a file that nothing names.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import JsonValue

from registry.errors import ConflictError, CorruptError, NotFoundError, StoreError
from registry.files import remove, sha256, write_atomically, write_cache
from registry.manifest import SCHEMA, Manifest, canonical
from registry.names import SetName, parse_own_tag
from registry.reader import Reader
from registry.records import FileInfo, NameRecord, StoredSet, VersionRecord, states_digest

if TYPE_CHECKING:
    from registry.tensors import Array


_PATIENCE = 60.0  # seconds; a set is stored in a small part of one


@dataclass(frozen=True)
class Removal:
    """What removing versions takes away.

    Attributes:
        references: of the versions.
        tags: `name:tag` of the tags that point at them.
        bytes: of the files that go with them.
    """

    references: tuple[str, ...]
    tags: tuple[str, ...]
    bytes: int


class Store(Reader):
    """Sets and their evaluations under one folder, to read and to write. Opening it writes nothing."""

    keeps_index = True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's lock; make the store if it is not there.

        Raises:
            StoreError: it cannot be written to.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.layout.lock)
            lock.acquire(timeout=_PATIENCE, poll_interval=0.01)
        except Timeout:
            raise StoreError(
                f"Another process has been writing to the store {self.home} for {_PATIENCE:.0f} s.",
                "Try again when it is done, or end it.",
            ) from None
        except OSError as error:
            raise StoreError(
                f"Cannot write to the store {self.home}: {error.strerror or error}.",
                "Set DSACTL_HOME to a folder of yours.",
            ) from error
        try:
            if not self.layout.marker.exists():
                write_atomically(self.layout.marker, canonical({"schema_version": SCHEMA}))
            yield
        finally:
            lock.release()

    def check_writable(self) -> None:
        """Find out before long work whether its result can be kept.

        Raises:
            StoreError: it cannot.
        """
        with self.writing():
            pass

    def put(
        self,
        name: SetName,
        tensors: "Mapping[str, Array]",
        manifest: Manifest,
        picture: bytes | None = None,
        *,
        version: int | None = None,
    ) -> StoredSet:
        """Store a set as the next version of a name; the same content again gives the version that has it.

        Args:
            name: what to call it.
            tensors: `images` and `labels`.
            manifest: its `tensors` must describe them.
            picture: a PNG, or None.
            version: the number it must have, as one that comes from elsewhere does; the next one if not given.

        Raises:
            ValueError: the manifest describes other tensors.
            ConflictError: the version that was asked for has other content.
            StoreError: the store cannot be written to.
            BadNameError: the name is a link that leads out of the store.
            CorruptError: what is known about the name is damaged, so that no number can be given.
        """
        from registry.tensors import describe, encode

        if describe(tensors) != manifest.tensors:
            raise ValueError("the manifest does not describe these tensors")
        data = encode(tensors, manifest)
        with self.writing():
            existing = self._with_content(name, manifest.digest, tensors, version)
            if existing is not None:
                return existing
            versions = self.versions(name)
            if version is None:
                version = max([0, *versions, self.name_record(name).last]) + 1
            elif version in versions:
                raise ConflictError(
                    f"{name}:{version} is here already, with other content.", "Give another name with --name."
                )
            return self._write(name, version, data, manifest, picture)

    def _with_content(
        self, name: SetName, digest: str, tensors: "Mapping[str, Array]", version: int | None
    ) -> StoredSet | None:
        """The version of a name that has this content, made whole if need be."""
        folder = self.layout.folder(name)
        for each in self.versions(name) if version is None else [version]:
            if states_digest(folder / f"{each}.json", digest):
                with contextlib.suppress(CorruptError):
                    existing = self.read(name, each)
                    if self._repaired(existing, tensors):
                        return existing
        return None

    def _repaired(self, stored: StoredSet, tensors: "Mapping[str, Array]") -> bool:
        """Whether a version's file is whole, written again if need be now that its content is at hand."""
        from registry.tensors import encode

        try:
            self.tensors(stored)
        except CorruptError:
            data = encode(tensors, stored.manifest)
            if sha256(data) != stored.file.stem:
                return False
            write_atomically(stored.file, data)
        return True

    def _write(self, name: SetName, version: int, data: bytes, manifest: Manifest, picture: bytes | None) -> StoredSet:
        folder, blob = self.layout.folder(name), FileInfo(sha256=sha256(data), size=len(data))
        write_atomically(self.layout.blob(blob.sha256), data)
        if picture is not None:
            write_atomically(folder / f"{version}.png", picture)
        record = VersionRecord(
            stored=self._now().isoformat(timespec="microseconds"),
            digest=manifest.digest,
            tensors=blob,
            picture=None if picture is None else FileInfo(sha256=sha256(picture), size=len(picture)),
            manifest=manifest,
        )
        write_atomically(folder / f"{version}.json", canonical(record.model_dump(mode="json")))
        newest = {"stored": record.stored, "reference": f"{name}:{version}"}
        write_cache(self.layout.newest, canonical(newest))
        return self.stored_set(name, version, record)

    def _now(self) -> datetime:
        """The time, but later than that of what was stored last, whatever the clock says."""
        now = datetime.now(UTC)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            last = datetime.fromisoformat(json.loads(self.layout.newest.read_bytes())["stored"])
            return max(now, last + timedelta(microseconds=1))
        return now

    def removal(self, sets: Sequence[StoredSet]) -> Removal:
        """What `remove` would take away."""
        used, _ = self._others_blobs(sets)
        files = {each.file: each.size for each in sets if each.file.stem not in used}
        pictures = [each.picture for each in sets if each.picture is not None and each.picture.exists()]
        tags = [f"{each.name}:{tag}" for each in sets for tag in self._tags_of(each)]
        size = sum(files.values()) + sum(picture.stat().st_size for picture in pictures)
        return Removal(tuple(each.reference for each in sets), tuple(tags), size)

    def remove(self, sets: Sequence[StoredSet]) -> None:
        """Take versions away, with the tags that point at them. Their numbers are not given again; what was measured
        on them stays.

        Raises:
            NotFoundError: one is not there, or not any more; those before it are gone.
            StoreError: the store cannot be written to.
        """
        with self.writing():
            used, sure = self._others_blobs(sets)
            for each in sets:
                if not each.record.exists():
                    raise NotFoundError(f"There is no {each.reference}.", "See: dsactl ls")
                known = self.name_record(each.name)
                gone = self._tags_of(each)
                tags = {tag: version for tag, version in known.tags.items() if tag not in gone}
                self._write_name(each.name, NameRecord(last=max(known.last, each.version), tags=tags))
                remove(each.record)
                remove(each.record.with_suffix(".png"))
                if sure and each.file.stem not in used:
                    remove(each.file)

    def _others_blobs(self, sets: Sequence[StoredSet]) -> tuple[set[str], bool]:
        """The files that versions other than these have, and whether those are all: a damaged record hides some."""
        own = {(each.name, each.version) for each in sets}
        entries, faults = self.entries()
        return {entry.blob for entry in entries if (entry.name, entry.version) not in own}, not faults

    def _tags_of(self, stored: StoredSet) -> list[str]:
        return [tag for tag, version in self.tags(stored.name).items() if version == stored.version]

    def tag(self, stored: StoredSet, tag: str) -> None:
        """Let a tag point at a version, wherever it pointed before.

        Raises:
            BadNameError: it is no tag, or "latest".
            NotFoundError: the version is not there any more.
        """
        parse_own_tag(tag)
        with self.writing():
            if not stored.record.exists():
                raise NotFoundError(f"There is no {stored.reference}.", "See: dsactl ls")
            record = self.name_record(stored.name)
            self._write_name(stored.name, record.model_copy(update={"tags": {**record.tags, tag: stored.version}}))

    def untag(self, name: SetName, tag: str) -> None:
        """Take a tag away.

        Raises:
            NotFoundError: the name has no such tag.
        """
        with self.writing():
            record = self.name_record(name)
            if tag not in record.tags:
                raise NotFoundError(f"{name} has no tag {tag!r}.", f"See: dsactl tag {name}")
            tags = {each: version for each, version in record.tags.items() if each != tag}
            self._write_name(name, record.model_copy(update={"tags": tags}))

    def _write_name(self, name: SetName, record: NameRecord) -> None:
        write_atomically(self.layout.folder(name) / "name.json", canonical(record.model_dump(mode="json")))

    def add_evaluation(self, digest: str, record: Mapping[str, JsonValue]) -> Path:
        """Keep a result that was measured on the content with this digest. The set is not touched."""
        data = canonical(dict(record))
        path = self.layout.evaluations / digest / f"{sha256(data)[:32]}.json"
        with self.writing():
            write_atomically(path, data)
        return path
