"""Processes of the program that begin in milliseconds: children of a server that has loaded it, torch included.

Each command runs in a process of its own, with its own folder, environment, streams, session and signals, as if a shell
had started it; only the loading was done before, which takes longer than most of what is tested. What is about the
loading itself, or about programs around this one, starts `sys.executable`.
"""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

PATIENCE = 300.0  # seconds for a command
_SERVER = Path(__file__).with_name("fork_server.py")


class Forked:
    """A running command; the part of `subprocess.Popen` that the tests use.

    Attributes:
        pid: of its process, which leads a session of its own.
        stdout, stderr: text to read; None where a descriptor was given for it.
        returncode: its exit code, or less than 0 for the signal that ended it; None before it was seen to end.
    """

    def __init__(self, connection: socket.socket, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        self._connection, self._received = connection, b""
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self.pid = int(self._line(PATIENCE))

    def _line(self, seconds: float | None) -> str:
        while b"\n" not in self._received:
            if not select.select([self._connection], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("dsactl", seconds or 0.0)
            piece = self._connection.recv(64)
            assert piece, "the server of the tests' processes has ended"
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = PATIENCE) -> int:
        """The exit code, when it has ended."""
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """What it says until it ends, on each stream.

        Raises:
            subprocess.TimeoutExpired: it takes longer; it is killed.
        """
        said = {"stdout": "", "stderr": ""}

        def read(name: str, stream: IO[str]) -> None:
            with stream:
                said[name] = stream.read()

        streams = {"stdout": self.stdout, "stderr": self.stderr}
        readers = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams.items() if pair[1]]
        for reader in readers:
            reader.start()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        for reader in readers:
            reader.join(timeout)
        return said["stdout"], said["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)


def start(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Forked:
    """Start a command.

    Args:
        arguments: of `dsactl`.
        env: the whole environment; this process's if not given.
        cwd: its folder; this process's if not given.
        stdin, stdout, stderr: descriptors to use; if not given, nothing to read, and pipes.
    """
    request = {"arguments": arguments, "environment": dict(os.environ if env is None else env)}
    request["folder"] = str(cwd or Path.cwd())
    readers: list[IO[str] | None] = []
    given, own = [stdin, stdout, stderr], []
    if stdin is None:
        given[0] = os.open(os.devnull, os.O_RDONLY)
        own.append(given[0])
    for number in (1, 2):
        readers.append(None)
        if given[number] is None:
            reading, given[number] = os.pipe()
            readers[-1] = os.fdopen(reading, encoding="utf-8")
            own.append(given[number])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_address())
    payload = json.dumps(request).encode()
    socket.send_fds(connection, [len(payload).to_bytes(8, "big")], [each for each in given if each is not None])
    connection.sendall(payload)
    for each in own:
        os.close(each)
    return Forked(connection, *readers)


def run(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        arguments, env, cwd: as of `start`.
        timeout: seconds.
    """
    process = start(*arguments, env=env, cwd=cwd)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


@functools.cache
def _address() -> str:
    """Where the server listens, which is started by the first command and ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="dsactl-tests-")
    address = str(Path(folder.name) / "socket")
    # One thread: processes with more cannot be forked. Its standard input tells it when this process is no more.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_SERVER.parents[1])}
    server = subprocess.Popen(
        [sys.executable, str(_SERVER), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"

    def end() -> None:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()
        folder.cleanup()

    atexit.register(end)
    return address
