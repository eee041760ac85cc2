"""Look over a store: verify what it holds against every digest, and take away what nothing names."""

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
    """What looking over a store found.

    Attributes:
        checked: `name:version` of every version that was looked at.
        faults: what is wrong, each naming its file.
        leftovers: files that nothing names; they do no harm.
        sure: whether those are all: a damaged version hides which files are its own.
    """

    checked: list[str] = field(default_factory=list)
    faults: list[RegistryError] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    sure: bool = True


def verify(store: Reader, sets: Sequence[StoredSet] | None = None) -> Findings:
    """Read every file and hold it against its digest. Nothing is changed.

    Args:
        store: the store; others may write to it meanwhile.
        sets: some of its versions, which alone are looked at; None for all that there is.
    """
    findings = Findings()
    if sets is not None:
        for stored in sets:
            _check_version(store, stored, findings)
        return findings
    try:
        for name, folder in store.layout.named_folders():
            _check_name(store, name, folder.path, findings)
        findings.faults += [_stranger(path) for path in store.layout.strangers()]
    except StoreError as error:  # a folder that cannot be read
        findings.faults.append(error)
    findings.faults += _damaged_results(store)
    findings.checked.sort()
    # What is written at this moment looks as if nothing named it; nobody writes while the lock is held.
    with _undisturbed(store):
        findings.leftovers, findings.sure = _leftovers(store)
        findings.faults += _dangling(store)
    return findings


@contextlib.contextmanager
def _undisturbed(store: Reader) -> Iterator[None]:
    """Hold the lock, where the store can be written to at all."""
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


def _dangling(store: Reader) -> Iterator[CorruptError]:
    with contextlib.suppress(StoreError):  # told before
        for name, folder in store.layout.named_folders():
            with contextlib.suppress(RegistryError):
                for tag, version in store.tags(name).items():
                    if not store.record_path(name, version).exists():
                        yield CorruptError(
                            f"{Path(folder.path, NAME_RECORD)}: the tag {tag!r} points at version {version}, "
                            "which is not there.",
                            f"Remove it: `store.untag({str(name)!r}, {tag!r})`",
                        )


def _stranger(path: Path) -> CorruptError:
    if path.is_symlink():
        return CorruptError(f"{path} is a link, which the store does not follow.", "Remove it.")
    return CorruptError(
        f"{path} is not where anything of the store belongs.",
        "Move it back if it was renamed, or out of the store; until then no set's file is pruned.",
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
    """What `prune` would take away: files of writes that were cut off, and those that no version names.

    No set's file is among them where what is named is not known for sure.
    """
    return _leftovers(store)[0]


def _leftovers(store: Reader) -> tuple[list[Path], bool]:
    """See `leftovers`; and whether what is named is known for sure."""
    layout, (used, sure) = store.layout, store.files_in_use()
    found: list[Path] = []
    for folder in (layout.home, layout.blobs, *layout.sets.glob("*"), *layout.sets.glob("*/*")):
        found += [path for path in folder.glob(".tmp-*") if is_temporary(path.name)]
    found += [path for path in layout.evaluations.glob("*/.tmp-*") if is_temporary(path.name)]
    found += [path for path in layout.sets.glob("*/*/*.png") if not path.with_suffix(".json").exists()]
    if sure:
        found += [path for path in layout.blobs.glob("*.safetensors") if path not in used]
    return sorted(path for path in found if path.is_symlink() or path.is_file()), sure


def prune(store: Store) -> list[Path]:
    """Take the leftovers away, while nobody writes.

    Returns:
        The files that are gone.

    Raises:
        StoreError: one cannot be taken away.
    """
    with store.writing():
        gone = leftovers(store)
        for path in gone:
            remove(path)
    return gone
