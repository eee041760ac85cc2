"""Disks: room, flushing and locks; and folders that cannot be written to."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from file_systems import lacking, needs_preload

import dsactl
import registry
from dsactl.diagnosis import disk, folders
from dsactl.diagnosis.disk import file_system, of_store
from registry import probe as module
from registry.probe import FileSystem, probe

ROOT = Path(__file__).parents[2]
GOOD = FileSystem(0.001, True, "flock")


def test_nothing_stays_behind(tmp_path: Path) -> None:
    found = probe(tmp_path)
    assert found.flush_seconds is not None
    assert found.flush_seconds > 0
    assert (found.flushes_folders, found.locks) == (True, "flock")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="nowhere"):
        probe(tmp_path / "nowhere")


@needs_preload
@pytest.mark.parametrize(
    ("call", "error", "flushes", "locks"),
    [
        ("FLOCK", "ENOLCK", True, "none"),
        ("FLOCK", "ENOSYS", True, "files"),
        ("FOLDER_FSYNC", "EINVAL", False, "flock"),
    ],
)
def test_file_systems_that_lack_something(tmp_path: Path, call: str, error: str, flushes: bool, locks: str) -> None:
    code = "import pathlib, registry.probe as p; f = p.probe(pathlib.Path('.')); print(f.flushes_folders, f.locks)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **lacking(tmp_path, call, error)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(flushes), locks]


@pytest.mark.parametrize(
    ("able", "kind", "free", "state", "said", "advice"),
    [
        (GOOD, "ext4", 10**10, "ok", "10.0 GB free, ext4; flushing a small file to disk takes 1.0 ms.", ""),
        (GOOD, "nfs4", 10**10, "ok", "nfs4 (over a network)", ""),
        (GOOD, "", 10**8, "slow", "nearly full", "Free space"),
        (GOOD, "ext4", 10**7, "broken", "nearly full", "Free space"),
        (GOOD, "tmpfs", 10**10, "slow", "lost when the machine restarts", "another file system"),
        (FileSystem(0.2, True, "flock"), "ext4", 10**10, "slow", "takes 200.0 ms. That is slow", "another file system"),
        (FileSystem(None, True, "flock"), "cifs", 10**10, "slow", "cannot flush", "another file system"),
        (FileSystem(0.001, False, "flock"), "9p", 10**10, "slow", "cannot flush", "another file system"),
        (FileSystem(0.001, True, "files"), "lustre", 10**10, "slow", "It has no locks", "another file system"),
        (FileSystem(0.001, True, "none"), "nfs", 10**10, "broken", "grants no locks", "lockd"),
    ],
)
def test_what_a_disk_lacks(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    able: FileSystem,
    kind: str,
    free: int,
    state: str,
    said: str,
    advice: str,
) -> None:
    monkeypatch.setattr(disk, "probe", lambda folder: able)
    monkeypatch.setattr(disk, "file_system", lambda folder: kind)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, free))
    finding = of_store(tmp_path / "not" / "yet")
    assert (finding.state, said in finding.found) == (state, True), finding
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)
    assert not (tmp_path / "not").exists()


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    (tmp_path / "a b" / "c").mkdir(parents=True)
    point = str(tmp_path / "a b").replace(" ", "\\040")
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda rw", f"2 1 0:3 / {point} rw shared:1 - nfs4 server:/x rw", "broken"]
    mounts.write_text("\n".join(lines))
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(tmp_path / "a b" / "c", mounts) == "nfs4"
    assert file_system(tmp_path, tmp_path / "nowhere") == ""


def test_a_store_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    for place in (disk, folders):
        monkeypatch.setattr(place, "probe", refuse)
    [finding] = folders.store()
    assert (finding.state, f"cannot be created in {tmp_path} (Permission denied)" in finding.found) == ("broken", True)
    registry.default_home().mkdir()
    [finding] = folders.store()
    assert (finding.state, "Nothing can be stored (Permission denied)." in finding.found) == ("broken", True)
    assert "`home`" in finding.advice
    tried = of_store(registry.default_home())
    assert (tried.state, "not tried" in tried.found) == ("not here", True)
    [data] = folders.data()
    assert (data.state, "DSACTL_DATA" in data.advice) == ("slow", True)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can mount")
def test_a_home_folder_that_is_read_only(tmp_path: Path) -> None:
    code = "from dsactl.diagnosis.folders import store, data; print([(f.state, f.found) for f in (*store(), *data())])"
    command = f"mount -t tmpfs -o ro none '{tmp_path}' && '{sys.executable}' -c \"{code}\""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    for name in ("DSACTL_HOME", "DSACTL_DATA", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    unshared = ["unshare", "-m", "sh", "-c", command]
    ended = subprocess.run(unshared, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if ended.returncode and ("unshare" in ended.stderr or "mount" in ended.stderr):
        pytest.skip("mounting is not allowed here")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Read-only file system") == 2
    assert [state for state in ("broken", "slow") if f"'{state}'" in ended.stdout] == ["broken", "slow"]


def test_what_is_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dsactl.condense("digits", ipc=1, method="random")
    [finding] = folders.store()
    assert (finding.state, finding.found.startswith("1 set and 0 pools of experts in ")) == ("ok", True)
    assert finding.advice == "To check every file: `verify(store)`"
    store = registry.Store()
    record = store.find(registry.parse_reference(made.reference)).record
    record.write_text("{")
    [finding] = folders.store()
    assert (finding.state, "1 version cannot be read" in finding.found) == ("broken", True)
    assert "`verify(store)`" in finding.advice
    store.layout.marker.write_text(json.dumps({"schema_version": 99}))
    [finding] = folders.store()
    assert (finding.state, "newer program" in finding.found, finding.advice) == ("broken", True, "Update dsactl.")
    monkeypatch.setenv("DSACTL_HOME", "~no-such-user/store")
    [finding] = folders.store()
    assert (finding.state, "no such home folder" in finding.found) == ("broken", True)
    assert next(disk.disks()).state == "not here"


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(disk.tempfile, "gettempdir", fail)
    *_, finding = disk.disks()
    assert (finding.check, finding.state) == ("temporary disk", "broken")
    assert "TMPDIR" in finding.advice


def test_the_probe_blames_only_what_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        probe(tmp_path)
