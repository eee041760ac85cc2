"""Read-only access to a store."""

import contextlib
import difflib
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from pydantic import JsonValue

from registry import index
from registry.errors import BadNameError, CorruptError, NotFoundError, RegistryError, StoreError
from registry.files import sha256
from registry.folders import named_folder
from registry.layout import NAME_RECORD, Layout, version_files
from registry.manifest import EXPERTS, SCHEMA, SET, parse_json
from registry.names import LATEST, Reference, SetName, parse_name
from registry.records import RESTORE_HINT, NameRecord, StoredSet, VersionRecord, read_json, read_version, stated_file

if TYPE_CHECKING:
    from registry.tensors import Array


def default_home() -> Path:
    """Return the default folder of a store: $DSACTL_HOME, else the user's data folder.

    Raises:
        StoreError: neither is known.
    """
    return named_folder("DSACTL_HOME", lambda: platformdirs.user_data_path("dsactl"))


def nearest(name: SetName, known: Iterable[SetName], otherwise: str = "See: `store.sets()`") -> str:
    """Return a hint with the known names that are most similar to a missing one; another hint if none is."""
    near = difflib.get_close_matches(str(name), map(str, known), n=3)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise


class Reader:
    """Read-only view of the sets and evaluations in a store.

    Args:
        home: the store's folder; `default_home()` if not given.

    Raises:
        StoreError: it is not a folder, a link to nothing, or has a newer schema.
        CorruptError: its marker is damaged.
    """

    keeps_index = False

    def __init__(self, home: Path | None = None) -> None:
        self.home = default_home() if home is None else home
        self.layout = Layout(self.home)
        if self.home.is_symlink() and not self.home.exists():
            raise StoreError(
                f"The store {self.home} is a link to {self.home.readlink()}, which is not there.",
                "Bring it back (a disk that is not mounted?), or set `home` to another folder.",
            )
        if self.home.exists() and not self.home.is_dir():
            raise StoreError(f"The store {self.home} is not a folder.", "Set `home` to a folder.")
        if self.layout.marker.is_file():
            self.check_schema()

    def check_schema(self) -> None:
        """Check that the store's schema is supported.

        Raises:
            StoreError: the schema is newer.
            CorruptError: the store's marker is damaged.
        """
        marker = self.layout.marker
        repair = f'It should read {{"schema_version":{SCHEMA}}}.'
        try:
            schema = json.loads(marker.read_bytes())["schema_version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CorruptError(f"{marker} is damaged.", repair) from None
        if not isinstance(schema, int):
            raise CorruptError(f"{marker} is damaged.", repair)
        if schema > SCHEMA:
            raise StoreError(
                f"The store {self.home} was written by a newer program (schema {schema}).", "Update dsactl."
            )

    def names(self, prefix: str = "") -> list[SetName]:
        """Return every name with this prefix that has a version, sorted."""
        return sorted(name for name, folder in self.layout.named_folders(prefix) if version_files(folder))

    def versions(self, name: SetName) -> list[int]:
        """Return the versions of a name, ascending."""
        return sorted(version for version, _ in version_files(self.layout.folder(name)))

    def entries(self) -> tuple[list[index.Entry], list[RegistryError]]:
        """Return the summary of every readable version, oldest first, and the errors of all others. Fast."""
        return index.entries(self.layout, keep=self.keeps_index)

    def sets(self) -> list[StoredSet]:
        """Return every readable version of every set, oldest first."""
        return [stored for stored in self.scan()[0] if stored.kind == SET]

    def pools(self) -> list[StoredSet]:
        """Return every readable version of every pool of experts, oldest first."""
        return [stored for stored in self.scan()[0] if stored.kind == EXPERTS]

    def scan(self) -> tuple[list[StoredSet], list[RegistryError]]:
        """Return every readable version of every set and pool, oldest first, and the errors of all others."""
        found: list[StoredSet] = []
        faults: list[RegistryError] = []
        for name in self.names():
            for version in self.versions(name):
                try:
                    found.append(self.read(name, version))
                except NotFoundError:
                    continue  # removed meanwhile
                except RegistryError as error:
                    faults.append(error)
        return sorted(found, key=lambda stored: (stored.stored, stored.name, stored.version)), faults

    def record_path(self, name: SetName, version: int) -> Path:
        """Return the path of a version's JSON file."""
        return self.layout.folder(name) / f"{version}.json"

    def read(self, name: SetName, version: int) -> StoredSet:
        """Read a version.

        Raises:
            NotFoundError: it does not exist.
            CorruptError: it is damaged.
            StoreError: it cannot be read, or has a newer schema.
        """
        path = self.record_path(name, version)
        try:
            return self.stored_set(name, version, read_version(path))
        except FileNotFoundError:
            known = self.versions(name)
            hint = f"Versions: {', '.join(map(str, known))}." if known else "See: `store.sets()`"
            raise NotFoundError(f"There is no {name}:{version}.", hint) from None

    def stored_set(self, name: SetName, version: int, record: VersionRecord) -> StoredSet:
        """Return the stored set of a version's record."""
        path = self.record_path(name, version)
        return StoredSet(
            name,
            version,
            record.digest,
            record.stored,
            record.manifest,
            self.layout.blob(record.tensors.sha256),
            record.tensors.size,
            None if record.picture is None else path.with_suffix(".png"),
            path,
        )

    def find(self, reference: Reference) -> StoredSet:
        """Find the set or pool of a reference.

        Raises:
            NotFoundError: no such name, version, tag or digest.
            CorruptError: the set is damaged.
        """
        if reference.name is None:
            return self._with_digest(str(reference.digest))
        if reference.version is not None and self.versions(reference.name):
            return self.read(reference.name, reference.version)
        if reference.tag is not None and reference.tag != LATEST:
            tags = self.tags(reference.name)
            if reference.tag in tags:
                return self.read(reference.name, tags[reference.tag])
        return self._latest(reference)

    def _latest(self, reference: Reference) -> StoredSet:
        assert reference.name is not None
        for version in reversed(self.versions(reference.name)):
            if reference.tag != LATEST:
                known = ", ".join(self.tags(reference.name)) or "none"
                raise NotFoundError(
                    f"{reference.name} has no tag {reference.tag!r}.", f"Tags: {known}; newest version: {version}."
                )
            with contextlib.suppress(NotFoundError):  # removed since it was listed: try the one before
                return self.read(reference.name, version)
        raise NotFoundError(f"There is no set {str(reference.name)!r}.", self._nearest(reference.name))

    def _with_digest(self, digest: str) -> StoredSet:
        matches = self.with_digest(digest)
        if not matches:
            raise NotFoundError(f"No set has the digest {digest}.", "See: `store.sets()`")
        if len({stored.digest for stored in matches}) > 1:
            raise NotFoundError(f"The digest {digest} is ambiguous.", "Give more digits.")
        return matches[0]

    def with_digest(self, digest: str) -> list[StoredSet]:
        """Return every version whose digest begins with these digits, oldest first."""
        listed = [(entry.name, entry.version) for entry in self.entries()[0] if entry.digest.startswith(digest)]
        found = [self.read(*place) for place in listed]
        return [stored for stored in found if stored.digest.startswith(digest)]

    def _nearest(self, name: SetName) -> str:
        return nearest(name, self.names())

    def newest(self, passed_over: Container[str] = ()) -> StoredSet:
        """Return the set that was stored last.

        Args:
            passed_over: namespaces to ignore.

        Raises:
            NotFoundError: the store has no set.
            CorruptError: the set is damaged.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BadNameError, NotFoundError):
            text, _, version = json.loads(self.layout.newest.read_bytes())["reference"].rpartition(":")
            name = parse_name(text)
            if name.namespace not in passed_over:
                return self.read(name, int(version))
        for entry in reversed(self.entries()[0]):
            if entry.kind == SET and entry.name.namespace not in passed_over:
                with contextlib.suppress(NotFoundError):
                    return self.read(entry.name, entry.version)
        empty = "has no set" if self.names() else "is empty"
        raise NotFoundError(f"The store {self.home} {empty}.", "Make a set: `store.put(...)`")

    def tensors(self, stored: StoredSet) -> "dict[str, Array]":
        """Read the tensors of a set (`images`, `labels`, perhaps `soft_labels`) or pool, and verify all digests.

        Raises:
            NotFoundError: the set was removed meanwhile.
            CorruptError: the file is missing, damaged or was replaced.
        """
        from registry.tensors import decode

        data = self.file_bytes(stored)
        arrays, manifest = decode(data, str(stored.file))
        if manifest != stored.manifest:
            raise CorruptError(
                f"{stored.record} was modified: its manifest differs from that of {stored.file}.", RESTORE_HINT
            )
        return arrays

    def file_bytes(self, stored: StoredSet) -> bytes:
        """Read the bytes of a set's file and verify the digest.

        Raises:
            NotFoundError: the set was removed meanwhile.
            CorruptError: the file is missing or was modified.
        """
        with self._reading(stored, stored.file, "file"):
            complete = stored.file.stat().st_size == stored.size
            data = stored.file.read_bytes() if complete else b""
        if not complete or sha256(data) != stored.file.stem:
            raise CorruptError(f"The file of {stored.reference} was modified: {stored.file}.", RESTORE_HINT)
        return data

    def picture_bytes(self, stored: StoredSet) -> bytes | None:
        """Read the PNG of a set and verify its digest; return None if the set has no picture.

        Raises:
            NotFoundError: the set was removed meanwhile.
            CorruptError: the file is missing or was modified.
            StoreError: it cannot be read.
        """
        if stored.picture is None:
            return None
        with self._reading(stored, stored.picture, "picture"):
            stated = read_version(stored.record).picture
            data = stored.picture.read_bytes()
        if stated is None or sha256(data) != stated.sha256:
            raise CorruptError(f"The picture of {stored.reference} was modified: {stored.picture}.", RESTORE_HINT)
        return data

    @contextlib.contextmanager
    def _reading(self, stored: StoredSet, path: Path, what: str) -> Iterator[None]:
        """Convert exceptions of reading a set's file into errors that name the set."""
        try:
            yield
        except FileNotFoundError:
            if not stored.record.exists():
                raise NotFoundError(f"{stored.reference} was removed.", "See: `store.sets()`") from None
            raise CorruptError(f"The {what} of {stored.reference} is missing: {path}.", RESTORE_HINT) from None
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error

    def files_in_use(self) -> tuple[Counter[Path], bool]:
        """Count the references of versions to each safetensors file; also return whether the counts are complete.

        They are not if a version cannot be read, or if an unexpected path among the sets may be one.
        """
        used = Counter[Path]()
        try:
            complete = not any(True for _ in self.layout.unexpected_files())
            for _, folder in self.layout.named_folders():
                for _, file in version_files(folder):
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        used[self.layout.blob(stated_file(Path(file.path)))] += 1
        except RegistryError:
            complete = False
        return used, complete

    def tags(self, name: SetName) -> dict[str, int]:
        """Return the tags of a name and their versions, sorted.

        Raises:
            CorruptError: the file that holds them is damaged.
        """
        return dict(sorted(self.name_record(name).tags.items()))

    def name_record(self, name: SetName) -> NameRecord:
        """Read the tags and removed versions of a name; empty if there are none.

        Raises:
            CorruptError: the file is damaged.
        """
        path = self.layout.folder(name) / NAME_RECORD
        try:
            return parse_json(NameRecord, read_json(path), str(path))
        except FileNotFoundError:
            return NameRecord()
        except CorruptError as error:
            raise CorruptError(
                error.message, "Remove it: its tags and the numbers of removed versions are lost, but no versions."
            ) from None

    def evaluations(self, digest: str) -> list[dict[str, JsonValue]]:
        """Return the evaluation results of the content with this digest, oldest first, without unreadable ones."""
        return index.read_results(self.layout.evaluations / digest)
