"""Downloads of named datasets: by several processes at once, broken, interrupted, packed, to where nobody may write."""

import errno
import fcntl
import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision
from samples import write_idx

from dsactl.data import torchvision_sets
from dsactl.data.catalogue import CATALOGUE
from dsactl.data.load import load_dataset
from dsactl.errors import DataError

WAITS = 0.02  # seconds between the slices of a file


class Server(ThreadingHTTPServer):
    """Sends files slowly, and counts how often each is asked for.

    Attributes:
        files: content by name.
        asked: number of requests, by name.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked = files, Counter[str]()

    @property
    def address(self) -> str:
        """Where the files are."""
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def resources(self) -> list[tuple[str, str]]:
        """The files with their MD5, as torchvision lists them."""
        return [(name, hashlib.md5(content).hexdigest()) for name, content in self.files.items()]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self._head()
        if self.headers["Method"] == "HEAD":  # as torchvision asks for redirections
            return
        self.server.asked[self.path.strip("/")] += 1
        for place in range(20):
            self.wfile.write(content[len(content) * place // 20 : len(content) * (place + 1) // 20])
            time.sleep(WAITS)

    def _head(self) -> bytes:
        content = self.server.files[self.path.strip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """Run a server while the block runs."""
    server = Server(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def packed(tmp_path: Path) -> dict[str, bytes]:
    """The files of a small MNIST, packed."""
    write_idx(tmp_path / "source", "MNIST")
    return {f"{path.name}.gz": gzip.compress(path.read_bytes()) for path in (tmp_path / "source/MNIST/raw").iterdir()}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, which is not there yet; no proxy, and no quiet command before."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    return tmp_path / "data"


def use(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Let torchvision download from a server."""
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.address])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", server.resources)


def content(folder: Path) -> list[str]:
    """The names of all files in a folder, except for locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


PROCESS = """
import json, sys
import torchvision
torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources = [sys.argv[1]], json.loads(sys.argv[2])
from dsactl.data.load import load_dataset
print(load_dataset("mnist").train.checksum())
"""


def test_several_processes_download_each_file_once(packed: dict[str, bytes], data: Path) -> None:
    with serving(packed) as server:
        command = [sys.executable, "-c", PROCESS, server.address, json.dumps(server.resources)]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert len({out for out, _ in ends}) == 1
    assert server.asked == dict.fromkeys(packed, 1)
    said = f"Downloading MNIST to {data}.\n".encode()
    assert sorted(err for _, err in ends) == [b"", said], "bars are for terminals"


def test_an_interrupted_download_leaves_nothing_that_looks_complete(
    packed: dict[str, bytes], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsactl.data.torchvision_sets._open", interrupt(after=2))
    with serving(packed) as server:
        use(monkeypatch, server)
        with pytest.raises(KeyboardInterrupt):
            load_dataset("mnist")
        assert content(data) == []
        monkeypatch.undo()
        monkeypatch.setenv("DSACTL_DATA", str(data))
        use(monkeypatch, server)
        # A process that was killed could not clean up.
        left = data / ".mnist.part" / "MNIST" / "raw"
        left.mkdir(parents=True)
        for name in packed:
            (left / name.removesuffix(".gz")).write_bytes(b"half of it")
        assert len(load_dataset("mnist").train) == 30
    assert content(data) == sorted(name.removesuffix(".gz") for name in packed)


def interrupt(after: int) -> Callable[..., object]:
    """Return what unpacks some files and is then interrupted."""

    def unpack(name: str, root: Path, *, train: bool, download: bool = False) -> object:
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for number in range(after):
            (raw / f"file {number}").write_bytes(b"x")
        raise KeyboardInterrupt((name, train, download))

    return unpack


def test_a_broken_download_says_why(packed: dict[str, bytes], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(packed) as server:
        use(monkeypatch, server)
        server.files = {name: content[:-9] + b"different" for name, content in packed.items()}
        with pytest.raises(DataError, match=r"could not be downloaded \(.*File not found or corrupted\.\)") as raised:
            load_dataset("mnist")
    assert "Get it from github.com/cvdfoundation/mnist" in raised.value.hint
    assert "(packed as .gz will do)" in raised.value.hint
    assert content(data) == []


def test_packed_files_of_the_user_are_used_and_kept(
    packed: dict[str, bytes], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    names = sorted(packed)
    for name in names[:3]:
        (raw / name).write_bytes(packed[name])
    with serving(packed) as server:
        use(monkeypatch, server)
        assert len(load_dataset("mnist").train) == 30
    assert server.asked == {names[3]: 1}
    assert content(data) == sorted([*names[:3], *(name.removesuffix(".gz") for name in names)])


def test_an_archive_of_the_user_is_unpacked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.mkdir()
    (data / "cifar-10-python.tar.gz").write_bytes(b"packed")
    files = CATALOGUE["cifar10"].files

    def unpack(name: str, root: Path, *, train: bool, download: bool = False) -> None:
        assert (name, download) == ("cifar10", True)
        assert (root / "cifar-10-python.tar.gz").read_bytes() == b"packed"
        for file in files if train else ():
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).write_bytes(b"unpacked")

    monkeypatch.setattr(torchvision_sets, "_open", unpack)
    torchvision_sets._download("cifar10")
    assert content(data) == sorted(["cifar-10-python.tar.gz", *(Path(file).name for file in files)])


def test_a_data_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSACTL_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match=r"MNIST is not on this machine, and .*data cannot be written to") as raised:
        load_dataset("mnist")
    assert "Set DSACTL_DATA" in raised.value.hint


@pytest.mark.parametrize("silent", [False, True])
def test_a_download_reports_no_bar_to_a_log(
    silent: bool,
    data: Path,
    packed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """torchvision prints to both streams."""
    monkeypatch.setenv("TQDM_DISABLE", "1" if silent else "0")
    with serving(packed) as server:
        use(monkeypatch, server)
        load_dataset("mnist")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("" if silent else f"Downloading MNIST to {data}.\n")


def test_downloads_without_flock(packed: dict[str, bytes], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of an earlier lock stays, and must not be taken for a lock that is held."""

    def flock(_file: int, _how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    data.mkdir()
    (data / ".mnist.lock").write_bytes(b"")
    monkeypatch.setattr(fcntl, "flock", flock)
    with serving(packed) as server:
        use(monkeypatch, server)
        assert len(load_dataset("mnist").train) == 30
    assert not (data / ".mnist.lock.held").exists()
