"""Messages for clusters that do not answer, have other versions, or have no workers."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from ray_workers import ALIKE
from sessions import Told

from dsactl.engine import on_ray
from dsactl.engine.on_ray import RayExecutor
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Task
from dsactl.errors import ClusterError, UsageError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dsactl[ray]'")


def add(shared: int, number: int, _progress: Progress) -> int:
    return shared + number


def test_an_address_where_no_cluster_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "ANSWER_SECONDS", 2.0)
    began = time.monotonic()
    with pytest.raises(ClusterError, match="No Ray cluster answers at 127"):
        RayExecutor("127.0.0.1:9", "cpu")
    assert time.monotonic() - began < on_ray.LOAD_SECONDS + on_ray.ANSWER_SECONDS
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(ClusterError, match="within 2 seconds"):
        RayExecutor(f"127.0.0.1:{deaf.getsockname()[1]}", "cpu")
    with pytest.raises(UsageError, match="nonsense is not an address"):
        RayExecutor("nonsense", "cpu")


OTHER = """import ray
{change}
ray.init(address="local", num_cpus={cpus}, include_dashboard=False, logging_level="ERROR")
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""


@contextlib.contextmanager
def other(cpus: int, change: str = "") -> Iterator[str]:
    """Start a cluster in another process and yield its address."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER.format(cpus=cpus, change=change)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ALIKE},
    ) as process:
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address
        yield address
        process.stdin.write("\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ray.__version__ = '0.1'", "Ray: 0.1"),
        ("ray._private.utils.compute_version_info = lambda: (ray.__version__, '3.1.4')", "Python: 3.1.4"),
    ],
)
def test_a_cluster_of_another_version(change: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running cluster reports another version; Ray itself compares the versions."""
    monkeypatch.setattr(on_ray, "ANSWER_SECONDS", 60.0)  # on a busy machine
    with other(1, change) as address:
        with pytest.raises(ClusterError, match=r"Ray cannot be used: .*" + said) as raised:
            RayExecutor(address, "cpu")
        assert "the same versions of Python, Ray" in str(raised.value.hint)


def test_a_cluster_whose_workers_are_yet_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster whose head node runs no tasks, tasks wait, which the progress says."""
    monkeypatch.setattr(on_ray, "ANSWER_SECONDS", 60.0)  # on a busy machine

    def stop(_done: float, _total: float, _doing: str) -> None:
        if len(told.updates) > 2:
            raise KeyboardInterrupt

    told = Told(stop)

    with other(0) as address, contextlib.closing(RayExecutor(address, "cpu")) as who:
        assert who.group_size(6, 4) == 4
        with pytest.raises(KeyboardInterrupt):
            list(who.run(1, [Task("waits", add, (1,)), Task("too", add, (2,))], told))
    said = [(done, total, doing) for done, total, doing, _ in told.updates]
    assert said[1:] == 2 * [(0, 2, "0 of 2 tasks on Ray are done; the cluster has no CPU yet")]


def test_ray_that_does_not_start_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(on_ray._QUIET, "object_store_memory", 1)  # less than Ray accepts
    who = RayExecutor(None, "cpu")
    with pytest.raises(ClusterError, match="Ray does not start here: ") as raised:
        list(who.run(1, [Task("one", add, (1,)), Task("two", add, (2,))], Progress()))
    assert '`ray="off"`' in str(raised.value.hint)
