"""The store and the data folder: whether they can be read and written, and what is in them."""

from collections.abc import Iterator
from pathlib import Path

import registry
from dsactl.data.catalogue import CATALOGUE, data_root, missing_files
from dsactl.diagnosis.disk import existing
from dsactl.diagnosis.finding import Finding, first_line
from dsactl.text.formatting import many
from registry.probe import probe


def store() -> Iterator[Finding]:
    """Read the store's format and index. A store that does not exist is not created."""
    try:
        home = registry.default_home()
        reader = registry.Reader(home)
        if not home.is_dir():
            yield _new(home)
            return
        entries, faults = reader.entries()
    except registry.Error as error:
        yield Finding("store", "broken", error.message, error.hint)
        return
    pools = sum(entry.kind == registry.EXPERTS for entry in entries)
    found = f"{many(len(entries) - pools, 'set')} and {many(pools, 'pool')} of experts in {home}."
    figures = {"sets": len(entries) - pools, "pools": pools, "unreadable": len(faults)}
    if (why := _why_read_only(home)) is not None:
        found += f" Nothing can be stored ({why})."
        yield Finding("store", "broken", found, "Set `home` to a folder that you can write to.", figures)
    elif faults:
        found += f" {many(len(faults), 'version')} cannot be read: {first_line(faults[0])}."
        yield Finding("store", "broken", found, "See what is damaged: `verify(store)`", figures)
    else:
        yield Finding("store", "ok", found, "To check every file: `verify(store)`" if entries else "", figures)


def _new(home: Path) -> Finding:
    """Return the finding for a store that is still to be created."""
    above = existing(home)
    why = _why_read_only(above)
    if why is None:
        return Finding("store", "ok", f"{home} does not exist yet; the first set creates it.")
    found = f"{home} does not exist and cannot be created in {above} ({why})."
    return Finding("store", "broken", found, "Set `home` to a folder that you can write to.")


def _why_read_only(folder: Path) -> str | None:
    """Return why no file can be written in a folder; None if one can."""
    try:
        probe(folder)
    except OSError as error:
        return error.strerror or str(error)
    return None


def data() -> Iterator[Finding]:
    """List the datasets on this machine, and look whether others can be downloaded."""
    try:
        root = data_root()
    except registry.StoreError as error:
        yield Finding("datasets", "broken", error.message, error.hint)
        return
    here = [name for name in CATALOGUE if not missing_files(name)]
    found = f"{', '.join(here)} in {root}."
    if (why := _why_read_only(existing(root))) is not None:
        found += f" Others cannot be downloaded ({why})."
        yield Finding("datasets", "slow", found, "export DSACTL_DATA=FOLDER, one that you can write to.")
    else:
        yield Finding("datasets", "ok", f"{found} Others are downloaded on first use.", figures={"here": len(here)})
