"""Tasks side by side on Ray: on this machine's cores or GPUs, or on a cluster that runs already.

Ray starts a task again elsewhere when its worker or its node dies, three times at most. What tasks share is put once
into each node's memory, and unpacked once in each worker.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dsactl.engine.tasks import Failure, InProcess, Report, Result, Task, Workers
from dsactl.errors import ClusterError, UsageError

TRIES_AGAIN = 3
ANSWER_SECONDS = 10.0
AUTO, OFF = "auto", "off"
_LOCAL_TASKS = 2  # fewer are done in this process
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def workers(where: str, tasks: int, device: str, share_of_gpu: float = 1.0) -> Workers:
    """Who does so many tasks.

    Args:
        where: "auto": a local cluster, if Ray is installed and more than one task waits; "off": this process; else the
            address of a cluster.
        tasks: how many wait.
        device: "cpu" or "cuda", where a task computes.
        share_of_gpu: that a task takes, 0 … 1, so that several share one.

    Raises:
        UsageError: Ray is not installed, or a share makes no sense.
        ClusterError: no cluster answers, or it is of another version.
    """
    if not 0 < share_of_gpu <= 1:
        raise UsageError(f"A task takes a share of a GPU above 0 and at most 1, not {share_of_gpu:g}.")
    installed = importlib.util.find_spec("ray") is not None
    if where == OFF or (where == AUTO and (not installed or tasks < _LOCAL_TASKS)):
        return InProcess()
    if not installed:
        raise UsageError("Ray is not installed.", "Install it: pip install 'dsactl[ray]'. Or use --ray off.")
    return OnRay(None if where == AUTO else where, device, share_of_gpu)


class OnRay(Workers):
    """Ray's workers.

    Args:
        address: of a cluster, host:port; None for one of this machine's own, which ends with this.
        device: "cpu" or "cuda", where a task computes.
        share_of_gpu: that a task takes.

    Raises:
        ClusterError: no cluster answers within ten seconds, or it is of another version.
    """

    def __init__(self, address: str | None, device: str, share_of_gpu: float = 1.0) -> None:
        import ray

        if address is not None:
            _check_that_it_answers(address)
        how: dict[str, Any] = {"include_dashboard": False} if address is None else {"address": address}
        try:
            ray.init(**how, **_QUIET)
        except ValueError as error:
            raise UsageError(f"{address} is no address of a cluster: {error}", "It is host:port.") from error
        except (RuntimeError, ConnectionError) as error:
            said = " ".join(str(error).split())
            raise ClusterError(
                f"Ray cannot be used: {said}",
                "Use the same versions of Ray and Python there as here, or --ray off.",
            ) from error
        # Ray tells of every worker's death on stdout, where results go. What is given up is told as a failure.
        self._left = contextlib.ExitStack()
        nowhere = self._left.enter_context(Path(os.devnull).open("w"))  # noqa: SIM115  (closed with the stack)
        self._left.enter_context(contextlib.redirect_stdout(nowhere))
        self._ray = ray
        needs = {"num_gpus": share_of_gpu} if device == "cuda" else {"num_cpus": 1}
        self._do: Any = ray.remote(max_retries=TRIES_AGAIN, **needs)(_do)

    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], report: Report = lambda done, doing: None
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """As of `Workers`; the dearest begin."""
        place = self._ray.put(shared)
        waiting = {
            # In a list, so that Ray hands over the place and the worker unpacks the value once for all its tasks.
            self._do.remote([place], task.work, task.arguments): task
            for task in sorted(tasks, key=lambda task: -task.cost)
        }
        done = 0
        report(0, f"{len(waiting)} tasks on Ray")
        try:
            while waiting:
                (ready, *_), _ = self._ray.wait(list(waiting), num_returns=1, fetch_local=True)
                task = waiting.pop(ready)
                yield task, self._result(ready)
                done += 1
                report(done, task.name)
        finally:
            for left in waiting:
                self._ray.cancel(left, force=True)

    def _result(self, ready: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(ready)
        except errors.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except errors.RayError as error:
            return Failure(f"its worker died {TRIES_AGAIN + 1} times ({type(error).__name__})")

    def close(self) -> None:
        """End the local cluster, or leave the other."""
        self._ray.shutdown()
        self._left.close()


_unpacked: OrderedDict[str, Any] = OrderedDict()
_MOST_UNPACKED = 2


def _do(place: list[Any], work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    """In a worker."""
    import ray

    key = place[0].hex()
    if key not in _unpacked:
        _unpacked[key] = ray.get(place[0])
        while len(_unpacked) > _MOST_UNPACKED:
            _unpacked.popitem(last=False)
    return work(_unpacked[key], *arguments, lambda share: None)


def _check_that_it_answers(address: str) -> None:
    """Ask at an address in a process of its own, which can be stopped: Ray would wait for long.

    Raises:
        ClusterError: nothing answers, or what does is no cluster.
    """
    asked = [sys.executable, "-c", f"import ray, sys; ray.init(address=sys.argv[1], **{_QUIET})", address]
    try:
        # A cluster of another version answers at once, with an error that is told when it is used.
        subprocess.run(asked, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"No Ray cluster answers at {address} within {ANSWER_SECONDS:.0f} seconds.",
            "Is it host:port, as `ray start --head` says, with its token? Without a cluster: --ray auto, or --ray off.",
        ) from None
