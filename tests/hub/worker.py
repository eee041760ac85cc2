"""The command line in one process for many commands: the real client is imported once."""

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_LOOP = """
import io, json, os, sys
from dsactl.cli.main import main
answers, own = sys.stdout, dict(os.environ)
sys.stdout, sys.stderr = io.StringIO(), io.StringIO()  # for good: the client's log keeps hold of them
for line in sys.stdin:
    arguments, environment, folder = json.loads(line)
    os.environ.clear()
    os.environ.update({**own, **environment})
    os.chdir(folder)
    sys.argv = ["dsactl", *arguments]
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    texts = []
    for stream in (sys.stdout, sys.stderr):
        texts.append(stream.getvalue())
        stream.seek(0)
        stream.truncate()
    print(json.dumps([code, *texts]), file=answers, flush=True)
"""

_PATIENCE = 300.0  # seconds


class Worker:
    """A process that runs commands one after another, inside its `with` block.

    Args:
        environment: whole; what the client reads when it is imported stays so for all commands.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def run(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a command.

        Args:
            arguments: of `dsactl`.
            environment: what changes for this command.
            folder: to run it in.
        """
        self._process.stdin.write(json.dumps([arguments, environment, str(folder)]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], _PATIENCE)[0]:
            self._process.kill()
            raise TimeoutError(f"dsactl {' '.join(arguments)} took more than {_PATIENCE:.0f} seconds")
        code, output, errors = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, output, errors)
