"""Look over a store: verify what it holds against every digest, and take away what nothing names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import CorruptError, NotFoundError, RegistryError
from registry.files import is_temporary, remove, sha256
from registry.index import read_json_object
from registry.layout import version_files
from registry.reader import Reader
from registry.records import MAKE_AGAIN, StoredSet, read_version
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
        store: the store.
        sets: some of its versions, which alone are looked at; None for all that there is.
    """
    findings = Findings()
    if sets is not None:
        for stored in sets:
            _check_version(store, stored, findings)
        return findings
    used: set[Path] = set()
    for name, folder in store.layout.named_folders():
        for version, file in version_files(folder):
            path = Path(file.path)
            try:
                stored = store.stored_set(name, version, read_version(path))
            except FileNotFoundError:
                continue  # removed meanwhile
            except RegistryError as error:
                findings.faults.append(error)
                findings.sure = False
                continue
            used.add(stored.file)
            _check_version(store, stored, findings)
        try:
            findings.faults += list(_dangling(store.tags(name), Path(folder)))
        except RegistryError as error:
            findings.faults.append(error)
    findings.faults += [*_links(store), *_damaged_results(store)]
    findings.leftovers = sorted(_leftovers(store, used, findings.sure))
    findings.checked.sort()
    return findings


def _check_version(store: Reader, stored: StoredSet, findings: Findings) -> None:
    for check in (store.tensors, _check_picture):
        try:
            check(stored)
        except NotFoundError:
            return  # removed meanwhile
        except RegistryError as error:
            findings.faults.append(error)
    findings.checked.append(stored.reference)


def _check_picture(stored: StoredSet) -> None:
    if stored.picture is None:
        return
    try:
        stated = read_version(stored.record).picture
        whole = stated is not None and sha256(stored.picture.read_bytes()) == stated.sha256
    except FileNotFoundError:
        if not stored.record.exists():
            raise NotFoundError(f"There is no {stored.reference} any more.") from None
        raise CorruptError(f"The picture of {stored.reference} is gone: {stored.picture}.", MAKE_AGAIN) from None
    if not whole:
        raise CorruptError(f"The picture of {stored.reference} was changed: {stored.picture}.", MAKE_AGAIN)


def _dangling(tags: dict[str, int], folder: Path) -> Iterator[CorruptError]:
    for tag, version in tags.items():
        if not (folder / f"{version}.json").exists():
            yield CorruptError(
                f"{folder / 'name.json'}: the tag {tag!r} points at version {version}, which is not there.",
                f"Move it to another version, or take it away: dsactl tag {folder.name} {tag} --remove",
            )


def _links(store: Reader) -> Iterator[CorruptError]:
    for path in sorted([*store.layout.sets.glob("*"), *store.layout.sets.glob("*/*")]):
        if path.is_symlink():
            yield CorruptError(f"{path} is a link, which the store does not follow.", "Remove it.")


def _damaged_results(store: Reader) -> Iterator[CorruptError]:
    for path in sorted(store.layout.evaluations.glob("*/*.json")):
        if not is_temporary(path.name) and read_json_object(path) is None:
            yield CorruptError(f"The evaluation {path} is damaged.", "Remove it, and evaluate again.")


def _leftovers(store: Reader, used: set[Path], sure: bool) -> Iterator[Path]:
    """Files of writes that were cut off, and those that no version names."""
    layout = store.layout
    for folder in (layout.home, layout.blobs, *layout.sets.glob("*"), *layout.sets.glob("*/*")):
        yield from (path for path in folder.glob(".tmp-*") if is_temporary(path.name))
    yield from (path for path in layout.evaluations.glob("*/.tmp-*") if is_temporary(path.name))
    yield from (path for path in layout.sets.glob("*/*/*.png") if not path.with_suffix(".json").exists())
    if sure:
        yield from (path for path in layout.blobs.glob("*.safetensors") if path not in used)


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


def leftovers(store: Reader) -> list[Path]:
    """What `prune` would take away; not the files of versions that are damaged."""
    entries, faults = store.entries()
    used = {store.layout.blob(entry.blob) for entry in entries}
    return sorted(_leftovers(store, used, sure=not faults))
