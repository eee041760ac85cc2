"""Stores on file systems that cannot flush folders, or have no flock: network shares, folders of virtual machines."""

import contextlib
import errno
import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from file_systems import lacking, needs_preload
from samples import put

import registry
from registry import locks, notices
from registry.files import write_atomically

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _nothing_is_said_yet() -> None:
    notices.notify_once.cache_clear()


def _failing(monkeypatch: pytest.MonkeyPatch, number: int, *, folders: bool) -> None:
    """Let fsync fail, of folders or of files."""
    original = os.fsync

    def fsync(handle: int) -> None:
        if os.path.isdir(f"/dev/fd/{handle}") == folders:  # noqa: PTH112
            raise OSError(number, os.strerror(number))
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "folders") for name in ("EINVAL", "ENOTSUP", "EIO", "EBADF", "ENOSYS")),
        *((name, "files") for name in ("EINVAL", "ENOTSUP", "ENOSYS")),
    ],
)
def test_what_cannot_be_flushed_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, what: str
) -> None:
    _failing(monkeypatch, getattr(errno, name), folders=what == "folders")
    store = registry.Store(tmp_path)
    assert store.tensors(put(store)).keys() == {"images", "labels"}
    put(store, 1)
    [said] = caplog.messages
    assert f"cannot flush {what}" in said
    assert "a power cut may lose what was stored last" in said


@pytest.mark.parametrize(("name", "folders"), [("EIO", False), ("ENOSPC", False), ("ENOSPC", True), ("EDQUOT", True)])
def test_other_failures_to_flush_are_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, folders: bool
) -> None:
    _failing(monkeypatch, getattr(errno, name), folders=folders)
    with pytest.raises(registry.StoreError, match="Cannot write"):
        write_atomically(tmp_path / "file", b"data")
    assert not [path for path in tmp_path.iterdir() if path.name != "file"]


def _without_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(_file: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("name", ["ENOSYS", "ENOTSUP", "EINVAL"])
def test_without_flock_locks_are_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    store = registry.Store(tmp_path)
    put(store)  # with flock: its file stays, and must not be taken for a lock that is held
    _without_flock(monkeypatch, getattr(errno, name))
    with store.writing():
        assert locks.marker(store.layout.lock).exists()
    assert not locks.marker(store.layout.lock).exists()
    put(store, 1)
    [said] = [text for text in caplog.messages if "flock" in text]
    assert "a lock is a file" in said


def test_where_locks_are_not_granted_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_flock(monkeypatch, errno.ENOLCK)
    with pytest.raises(registry.StoreError, match="does not grant locks") as caught:
        put(registry.Store(tmp_path))
    assert "`home`" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] in ([], ["lock"])


def test_a_lock_of_another_machine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without_flock(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr("registry.store._LOCK_TIMEOUT_SECONDS", 0.2)
    store = registry.Store(tmp_path)
    held = locks.marker(store.layout.lock)
    held.write_text("4242\nanother-machine\n")
    with pytest.raises(registry.StoreError, match="Another process") as caught:
        put(store)
    assert str(held) in caught.value.hint


HOLD = """
import sys, time, registry
from pathlib import Path
with registry.Store(Path(sys.argv[1])).writing():
    print("held", flush=True)
    time.sleep(60)
"""


@needs_preload
def test_a_killed_process_leaves_no_lock_without_flock(tmp_path: Path) -> None:
    environment = {**os.environ, **lacking(tmp_path, "FLOCK", "ENOSYS"), "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "store")]
    for _ in range(2):  # the second one gets the lock although the first was killed
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
        finally:
            holder.kill()
            holder.communicate()


@needs_preload
@pytest.mark.parametrize(
    ("call", "error", "said"),
    [("FOLDER_FSYNC", "EINVAL", "cannot flush folders"), ("FLOCK", "ENOSYS", "has no flock"), ("FLOCK", "ENOLCK", "")],
)
def test_commands_on_such_file_systems(tmp_path: Path, call: str, error: str, said: str) -> None:
    environment = {**os.environ, **lacking(tmp_path, call, error), "PYTHONPATH": str(TESTS.parent)}

    def dsactl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dsactl", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)

    made = dsactl("condense", "digits", "--ipc", "1", "--method", "random")
    assert "Traceback" not in made.stderr
    assert "Internal error" not in made.stderr
    if not said:
        assert made.returncode == 1
        assert "does not grant locks" in made.stderr
        assert "set DSACTL_HOME" in made.stderr
        return
    assert made.returncode == 0, made.stderr
    assert made.stderr.count(said) == 1
    assert dsactl("export", "digits-random-ipc1", "-o", "set.npz").returncode == 0
    assert not list((tmp_path / "home").rglob("*.held"))


@pytest.mark.usefixtures("open_to_all")
def test_a_store_of_somebody_else_can_be_shared_by_a_group(tmp_path: Path) -> None:
    """Two users of one group, with umask 002 and a setgid folder; under umask 022 the message says how."""
    put(registry.Store(tmp_path / "own"))  # loads what the other users may not read
    shared = tmp_path / "shared"
    for umask, works in ((0o002, True), (0o022, False)):
        home = shared / f"{umask:o}"
        home.mkdir(parents=True)
        shared.chmod(0o755)
        os.chown(home, 0, 4300)
        home.chmod(0o2775)
        assert _as_user(4301, umask, home, 0) == ""
        said = _as_user(4302, umask, home, 1)
        assert (said == "") == works
        if not works:
            assert "Permission denied" in said
            assert "umask 002" in said


def _as_user(uid: int, umask: int, home: Path, seed: int) -> str:
    """Store a set as a user of group 4300; return the error's message and hint, if any."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        text = "it did not end"
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(4300)
            os.setuid(uid)
            os.umask(umask)
            try:
                put(registry.Store(home), seed)
                text = ""
            except registry.Error as error:
                text = f"{error.message} {error.hint}"
        os.write(write_end, text.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_store_that_is_a_link(tmp_path: Path) -> None:
    """It is followed; but a link to nothing, as to a disk that is not mounted, is no empty store."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    put(registry.Store(tmp_path / "link"))
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    with pytest.raises(registry.StoreError, match="which is not there"):
        registry.Store(tmp_path / "link")
    assert len(registry.Store(tmp_path / "elsewhere").sets()) == 1, "a store can be moved"


def test_a_folder_that_can_be_written_to_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., int] = os.open

    def forbidden(path: str, flags: int, mode: int = 0o777) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", forbidden)
    write_atomically(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"
