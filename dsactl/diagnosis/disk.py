"""Disks: room, flushing and locks, of the folders of the store and of temporary files."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import registry
from dsactl.diagnosis.finding import Finding
from dsactl.text.formatting import bytes_in_words
from registry.probe import FileSystem, probe

_MOUNTS = Path("/proc/self/mountinfo")
_SLOW_FLUSH = 0.05  # seconds
_ROOM, _LEAST = 10**9, 5 * 10**7  # bytes: of a pool of experts; of a few sets
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|ceph|lustre|glusterfs|beegfs|gpfs|afs|fuse\.(sshfs|glusterfs|s3fs|rclone)"
)
_VOLATILE = ("tmpfs", "ramfs")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if os.access(each, os.F_OK))


def disks() -> Iterator[Finding]:
    """Try the disks of the store and of temporary files."""
    try:
        yield of_store(registry.default_home())
    except registry.StoreError as error:
        yield Finding("store disk", "not here", error.message)
    try:
        yield of_temporary(Path(tempfile.gettempdir()))
    except OSError as error:
        found = f"There is no folder for temporary files: {error.strerror or error}."
        yield Finding("temporary disk", "broken", found, "export TMPDIR=FOLDER, one that you can write to.")


def of_store(home: Path) -> Finding:
    """Return the finding for the disk of a store, which need not exist yet."""
    folder, name = existing(home), "store disk"
    free, kind = shutil.disk_usage(folder).free, file_system(folder)
    found = f"{bytes_in_words(free)} free" + f", {kind}" * bool(kind) + " (over a network)" * bool(_is_network(kind))
    try:
        able = probe(folder)
    except OSError as error:  # of which the store's own line says what to do
        found = f"{found}; not tried, since {folder} cannot be written to ({error.strerror or error})."
        return Finding(name, "not here", found, figures={"free_bytes": free})
    figures = {"free_bytes": float(free)}
    if able.flush_seconds is not None:
        figures["flush_seconds"] = able.flush_seconds
        found += f"; flushing a small file to disk takes {1000 * able.flush_seconds:.1f} ms"
    faults = _faults(able, kind, free)
    state = "broken" if able.locks == "none" or free < _LEAST else "slow" if faults else "ok"
    said = " ".join([f"{found}.", *(fault for fault, _ in faults)])
    return Finding(name, state, said, " ".join(dict.fromkeys(advice for _, advice in faults)), figures)  # type: ignore[arg-type]


def _faults(able: FileSystem, kind: str, free: int) -> list[tuple[str, str]]:
    """Return what a disk lacks, each with what to do."""
    move = "Set `home` to a folder on another file system."
    faults = []
    if free < _ROOM:
        faults.append(("It is nearly full.", "Free space, or set `home` to another folder."))
    if able.flush_seconds is None or not able.flushes_folders:
        faults.append(("It cannot flush to disk: a power cut may lose what was stored last.", move))
    elif able.flush_seconds > _SLOW_FLUSH:
        faults.append(("That is slow, and each stored file waits for it.", move))
    if able.locks == "files":
        faults.append(("It has no locks; files stand for them, and stay if a process is killed elsewhere.", move))
    elif able.locks == "none":
        faults.append(("It grants no locks.", f"Start its lock service (for NFS, lockd). {move}"))
    if kind in _VOLATILE:
        faults.append(("It is in memory, and is lost when the machine restarts.", move))
    return faults


def of_temporary(folder: Path) -> Finding:
    """Return the finding for the disk of temporary files."""
    free, kind = shutil.disk_usage(folder).free, file_system(folder)
    found = f"{bytes_in_words(free)} free" + f", {kind}" * bool(kind)
    figures = {"free_bytes": float(free)}
    if free < _LEAST:
        return Finding("temporary disk", "broken", f"{found}.", "Free space, or export TMPDIR=FOLDER.", figures)
    slow = free < _ROOM and kind not in _VOLATILE
    return Finding("temporary disk", "slow" if slow else "ok", f"{found}.", "Free space." if slow else "", figures)


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of a folder's file system, such as "ext4"; empty where the system does not say."""
    try:
        lines, path = mounts.read_text().splitlines(), folder.resolve()
    except OSError:
        return ""
    kinds: dict[Path, str] = {}
    for line in lines:
        left, _, right = line.partition(" - ")
        columns = left.split()
        if len(columns) > 4 and right:
            point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), columns[4])
            kinds[Path(point)] = right.split()[0]  # a later one hides an earlier one
    above = [point for point in kinds if path.is_relative_to(point)]
    return kinds[max(above, key=lambda point: len(point.parts))] if above else ""


def _is_network(kind: str) -> bool:
    return _NETWORK.fullmatch(kind) is not None
