"""The server of `processes`: loads the program once, and forks a child for each command.

    python fork_server.py SOCKET

It says "ready" when it listens. For each connection it takes the length of a request, with the three descriptors of the
child's streams, then the request; it answers with the child's number, and when the child ends with its exit code. It
ends when its standard input does; a child ends by force when its connection is closed.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import traceback

LOADED = ("dsactl", "dsactl.cli", "dsactl.cli.commands", "dsactl.runs", "dsactl.evaluation", "dsactl.synthetic")
LOADED += (
    "dsactl.studies",
    "dsactl.studies.continual",
    "dsactl.studies.nas",
    "dsactl.methods",
    "dsactl.methods.gradient_matching",
)
ALSO = ("torch._dynamo", "matplotlib.figure", "matplotlib.backends.backend_agg", "scipy.stats", "PIL.PngImagePlugin")


def load() -> None:
    """Import what commands import."""
    for package in LOADED:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if module.name != "dsactl.__main__":
                importlib.import_module(module.name)
    for name in ALSO:
        importlib.import_module(name)


def become(request: dict, streams: list[int]) -> None:
    """Be the process of a command, to its end."""
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, 4096)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:0] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each not in sys.path]
    sys.argv = ["dsactl", *request["arguments"]]
    code = 1
    try:
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
        from dsactl.__main__ import start

        start()
    except SystemExit as end:  # it leaves its end to the interpreter, as with Ray
        code = end.code if isinstance(end.code, int) else 0
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def request_from(connection: socket.socket) -> tuple[dict, list[int]]:
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    data = b""
    while len(data) < int.from_bytes(length, "big"):
        data += connection.recv(65536)
    return json.loads(data), streams


def serve(address: str) -> None:
    """Answer until the standard input ends."""
    children: dict[int, tuple[int, socket.socket]] = {}
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(address)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ, "command")
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "end")
        os.write(1, b"ready\n")
        while True:
            for key, _ in selector.select():
                match key.data:
                    case "end":
                        for process, _ in children.values():
                            os.killpg(process, signal.SIGKILL)
                        return
                    case "command":
                        connection, _ = listening.accept()
                        request, streams = request_from(connection)
                        process = os.fork()
                        if not process:
                            become(request, streams)
                        for descriptor in streams:
                            os.close(descriptor)
                        watch = os.pidfd_open(process)
                        children[watch] = process, connection
                        connection.sendall(f"{process}\n".encode())
                        selector.register(watch, selectors.EVENT_READ, "ended")
                        selector.register(connection, selectors.EVENT_READ, "left")
                    case "left":  # nobody waits for the child any more
                        selector.unregister(key.fileobj)
                        process = next((each for each, other in children.values() if other is key.fileobj), None)
                        if process is not None:
                            os.killpg(process, signal.SIGKILL)
                    case "ended":
                        process, connection = children.pop(key.fd)
                        _, status = os.waitpid(process, 0)
                        selector.unregister(key.fd)
                        os.close(key.fd)
                        if connection in (each.fileobj for each in selector.get_map().values()):
                            selector.unregister(connection)
                            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                        connection.close()


if __name__ == "__main__":
    load()
    gc.freeze()  # what is loaded stays where it is, in memory that all children share
    serve(sys.argv[1])
    os._exit(0)
