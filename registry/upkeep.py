"""Maintenance of a store: verifying all digests, and removing unreferenced files."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import CorruptError, NotFoundError, RegistryError, StoreError
from registry.files import is_temporary, remove
from registry.layout import NAME_RECORD, version_files
from registry.names import SetName
from registry.reader import Reader
from registry.records import StoredSet
from registry.results import read_result
from registry.store import Store


@dataclass
class Findings:
    """Result of verifying a store.

    Attributes:
        checked: `name:version` of every version that was verified.
        faults: the errors found, each with its file.
        leftovers: unreferenced files, which do no harm.
        complete: whether all unreferenced files are known; they are not if a damaged version hides which files it uses.
    """

    checked: list[str] = field(default_factory=list)
    faults: list[RegistryError] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    complete: bool = True


def verify(store: Reader, sets: Sequence[StoredSet] | None = None) -> Findings:
    """Verify the digests of all files, without changing anything.

    Args:
        store: the store; other processes may write to it meanwhile.
        sets: the versions to verify; None for the whole store.
    """
    findings = Findings()
    if sets is not None:
        for stored in sets:
            _check_version(store, stored, findings)
        return findings
    try:
        for name, folder in store.layout.named_folders():
            _check_name(store, name, folder.path, findings)
        findings.faults += [_unexpected(path) for path in store.layout.unexpected_files()]
    except StoreError as error:  # a folder that cannot be read
        findings.faults.append(error)
    findings.faults += _damaged_results(store)
    findings.checked.sort()
    # An unfinished write looks unreferenced; nobody writes while the lock is held.
    with _locked(store):
        findings.leftovers, findings.complete = _leftovers(store)
        findings.faults += _dangling_tags(store)
    return findings


@contextlib.contextmanager
def _locked(store: Reader) -> Iterator[None]:
    """Hold the store's lock in a block, if the store is writable."""
    with contextlib.ExitStack() as held:
        if isinstance(store, Store) and store.home.exists():
            with contextlib.suppress(RegistryError):
                held.enter_context(store.writing())
        yield


def _check_name(store: Reader, name: SetName, folder: str, findings: Findings) -> None:
    try:
        versions = sorted(version for version, _ in version_files(folder))
    except StoreError as error:
        findings.faults.append(error)
        return
    for version in versions:
        try:
            _check_version(store, store.read(name, version), findings)
        except NotFoundError:
            continue  # removed meanwhile
        except RegistryError as error:
            findings.faults.append(error)
    try:
        store.tags(name)
    except RegistryError as error:
        findings.faults.append(error)


def _check_version(store: Reader, stored: StoredSet, findings: Findings) -> None:
    for check in (store.tensors, store.picture_bytes):
        try:
            check(stored)
        except NotFoundError:
            return  # removed meanwhile
        except RegistryError as error:
            findings.faults.append(error)
    findings.checked.append(stored.reference)


def _dangling_tags(store: Reader) -> Iterator[CorruptError]:
    with contextlib.suppress(StoreError):  # already reported
        for name, folder in store.layout.named_folders():
            with contextlib.suppress(RegistryError):
                for tag, version in store.tags(name).items():
                    if not store.record_path(name, version).exists():
                        yield CorruptError(
                            f"{Path(folder.path, NAME_RECORD)}: the tag {tag!r} points at version {version}, "
                            "which does not exist.",
                            f"Remove it: `store.untag({str(name)!r}, {tag!r})`",
                        )


def _unexpected(path: Path) -> CorruptError:
    if path.is_symlink():
        return CorruptError(f"{path} is a link, which the store does not follow.", "Remove it.")
    return CorruptError(
        f"{path} does not belong in the store.",
        "Rename it back if it was renamed, or move it out of the store; until then no set's file is pruned.",
    )


def _damaged_results(store: Reader) -> Iterator[RegistryError]:
    for path in sorted(store.layout.evaluations.glob("*/*.json")):
        if not is_temporary(path.name):
            try:
                read_result(path)
            except FileNotFoundError:
                continue  # removed meanwhile
            except RegistryError as error:
                yield error


def leftovers(store: Reader) -> list[Path]:
    """Return what `prune` would remove: files of interrupted writes, and files that no version references.

    If not all references are known, no set's file is included.
    """
    return _leftovers(store)[0]


def _leftovers(store: Reader) -> tuple[list[Path], bool]:
    """Return the same as `leftovers`, and whether all references are known."""
    layout, (used, complete) = store.layout, store.files_in_use()
    found: list[Path] = []
    for folder in (layout.home, layout.blobs, *layout.sets.glob("*"), *layout.sets.glob("*/*")):
        found += [path for path in folder.glob(".tmp-*") if is_temporary(path.name)]
    found += [path for path in layout.evaluations.glob("*/.tmp-*") if is_temporary(path.name)]
    found += [path for path in layout.sets.glob("*/*/*.png") if not path.with_suffix(".json").exists()]
    if complete:
        found += [path for path in layout.blobs.glob("*.safetensors") if path not in used]
    return sorted(path for path in found if path.is_symlink() or path.is_file()), complete


def prune(store: Store) -> list[Path]:
    """Remove unreferenced files while holding the store's lock.

    Returns:
        The removed files.

    Raises:
        StoreError: a file cannot be removed.
    """
    with store.writing():
        gone = leftovers(store)
        for path in gone:
            remove(path)
    return gone
