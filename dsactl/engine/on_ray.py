"""Parallel tasks on Ray: on this machine's cores or GPUs, or on a running cluster.

Ray restarts a task elsewhere when its worker or node dies, at most three times. The value that tasks share is sent once
to each node's memory and unpickled once in each worker. Tasks report their progress to an actor, which is polled.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from dsactl import __version__
from dsactl.engine.cores import usable_cores
from dsactl.engine.device import describe, resolve_device
from dsactl.engine.memory import limit_gpu_memory
from dsactl.engine.native import library
from dsactl.engine.progress import NO_FIGURES, Progress
from dsactl.engine.tasks import Executor, Failure, LocalExecutor, Result, Task
from dsactl.engine.words import AUTO, OFF, check_cluster, check_gpu_share
from dsactl.errors import ClusterError, UsageError
from dsactl.text.formatting import many
from registry import extras

MAX_RETRIES = 3
ANSWER_SECONDS = 10.0
LOAD_SECONDS = 60.0  # for a busy machine to load Ray
REPORT_SECONDS = 1.0
STOP_SECONDS = 3.0
MIN_TASKS_FOR_RAY = 2  # fewer run in this process
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
_NO_ANSWER = 3
_PROBE = f"""import json, os, ray, sys, threading
end = threading.Timer(float(sys.argv[3]), os._exit, [{_NO_ANSWER}])
end.daemon = True
end.start()
try:
    ray.init(address=sys.argv[1], **json.loads(sys.argv[2]))
except Exception as error:
    sys.exit(type(error).__name__ + ": " + " ".join(str(error).split()))
end.cancel()
"""  # the timer starts once Ray is loaded; a message of several lines is joined into one
_WORKER_DEATHS = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "OwnerDiedError", "ObjectLostError")


def open_executor(where: str, device: str, share_of_gpu: float = 1.0) -> Executor:
    """Return the executor for a command's tasks.

    Args:
        where: "auto": a local cluster, if Ray is installed and there is more than one task; "off": this process;
            otherwise the address of a cluster.
        device: the device of the tasks, as for `condense`.
        share_of_gpu: share of a GPU that a task takes, above 0 and at most 1, so that several tasks share one.

    Raises:
        UsageError: an invalid share or device.
        MissingPackageError: Ray is not installed.
        ClusterError: no cluster answers, its versions differ, or it has GPUs and this machine has none.

    Examples:
        >>> import dsactl
        >>> executor = dsactl.open_executor("off", "cpu")
        >>> condensed = dsactl.condense("digits", ipc=1, method="random")
        >>> dsactl.evaluate(condensed, networks=2, epochs=1, device="cpu", executor=executor).n
        2
        >>> executor.close()
    """
    check_gpu_share(share_of_gpu)
    check_cluster(where)
    if where == OFF or (where == AUTO and not extras.is_installed("ray")):
        return LocalExecutor()
    extras.require(f'`ray="{where}"`', "ray", "ray", otherwise='Or use `ray="off"`.')
    if ":" in device:
        raise UsageError(
            f"Ray assigns the GPUs to the tasks, so that they cannot all use {device}.",
            'Use `device="cuda"`, or `ray="off"`.',
        )
    target = resolve_device(device).type
    if where == AUTO:
        return AutoExecutor(target, share_of_gpu)
    cluster = RayExecutor(where, target, share_of_gpu)
    if device == AUTO and target == "cpu" and cluster.gpus:
        cluster.close()
        raise ClusterError(
            f"The cluster at {where} has GPUs, and this machine has none.",
            "Run dsactl on a machine with a GPU, for example as a Ray job whose entrypoint takes 0.01 of a GPU, or use "
            '`device="cpu"`.',
        )
    return cluster


class AutoExecutor(LocalExecutor):
    """An executor that runs single tasks in this process and starts a local Ray cluster for two or more.

    Args:
        device, share_of_gpu: see `RayExecutor`.
    """

    def __init__(self, device: str, share_of_gpu: float = 1.0) -> None:
        self._ray = RayExecutor(None, device, share_of_gpu)

    def choose(self, tasks: int) -> Executor:
        """Return the Ray executor for two or more tasks."""
        return self if tasks < MIN_TASKS_FOR_RAY else self._ray

    def close(self) -> None:
        """Shut down the local cluster, if it was started."""
        self._ray.close()


class RayExecutor(Executor):
    """An executor that runs tasks on Ray's workers.

    Args:
        address: host:port of a cluster; None for a local cluster, which starts with the first tasks and ends with this
            executor.
        device: "cpu" or "cuda", the device of the tasks.
        share_of_gpu: share of a GPU that a task takes.

    Raises:
        UsageError: an invalid address.
        ClusterError: no cluster answers within ten seconds, its versions differ, or it has no GPU.
    """

    def __init__(self, address: str | None, device: str, share_of_gpu: float = 1.0) -> None:
        self.threads = 1
        self._address, self._device, self._share = address, device, share_of_gpu
        self._ray: Any = None
        if address is not None:
            _check_cluster_responds(address)
            self._start()

    def _start(self) -> None:
        import ray

        own = {"address": "local", "include_dashboard": False, "num_cpus": usable_cores()}
        if self._address is None:
            os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # unlimited by default
        on_termination = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**(own if self._address is None else {"address": self._address}), **_QUIET)
        except Exception as error:  # Ray raises various errors, even when it is only slow to start
            why = " ".join(str(error).split())
            if self._address is None:
                raise ClusterError(f"Ray does not start here: {why}", 'Try again, or use `ray="off"`.') from error
            raise _unusable(why) from error
        self._ray = ray
        _silence(ray)
        if callable(on_termination) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_termination)  # Ray installs its own handler
        on_gpu = self._device == "cuda"
        if on_gpu and self.gpus < self._share:
            self.close()
            raise ClusterError("The cluster has no GPU.", 'Use `device="cpu"`, or `ray="off"`.')
        needs: dict[str, Any] = {"num_gpus": self._share, "max_calls": 0} if on_gpu else {"num_cpus": 1}
        self._run_remote: Any = ray.remote(max_retries=MAX_RETRIES, **needs)(_do)
        self._shares: Any = ray.remote(num_cpus=0, max_restarts=-1)(_ShareActor)

    @property
    def gpus(self) -> float:
        """Number of GPUs of the started cluster."""
        return float(self._ray.cluster_resources().get("GPU", 0.0))

    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], progress: Progress
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """Run the tasks, the most expensive first; see `Executor.run`."""
        if self._ray is None:
            self._start()
        reference, shares, ours = self._ray.put(shared), self._shares.remote(), _environment(self._device)
        waiting = {
            # The reference is in a list, so that Ray passes it on as it is and each worker unpickles the value once.
            self._run_remote.remote(
                [reference], index, shares, (self._device, ours, self._share), task.work, task.arguments
            ): (
                index,
                task,
            )
            for index, task in enumerate(sorted(tasks, key=lambda task: -task.cost))
        }
        total, done, known = sum(task.cost for task in tasks), 0.0, dict[int, float]()
        progress.update(0, total, f"{many(len(tasks), 'task')} on Ray")
        try:
            while waiting:
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=REPORT_SECONDS, fetch_local=True)
                for each in ready:
                    _, task = waiting.pop(each)
                    yield task, self._result(each, ours)
                    done += task.cost
                known |= self._reported_shares(shares)
                part = sum(known.get(index, 0.0) * task.cost for index, task in waiting.values())
                doing = f"{len(tasks) - len(waiting)} of {len(tasks)} tasks on Ray are done"
                if len(waiting) == len(tasks) and not self._slots:
                    doing += "; the cluster has no CPU yet"
                progress.update(done + part, total, doing)
        finally:
            self._cancel(list(waiting))

    def _cancel(self, left: list[Any]) -> None:
        """Cancel tasks: interrupt them, so that they can write checkpoints; then kill those that have not stopped."""
        for each in left:
            self._ray.cancel(each)
        _, remaining = self._ray.wait(left, num_returns=len(left), timeout=STOP_SECONDS) if left else ([], [])
        for each in remaining:  # only these: forced on a task that has ended, Ray would exit when the task answers
            self._ray.cancel(each, force=True)

    def _reported_shares(self, shares: Any) -> dict[int, float]:
        """Return the completed share of each task by its index; empty if the actor does not answer at once."""
        try:
            return dict(self._ray.get(shares.all.remote(), timeout=REPORT_SECONDS))
        except self._ray.exceptions.RayError:  # timeout, or the actor's node died and it restarts elsewhere
            return {}

    def _result(self, ready: Any, ours: str) -> Any:
        errors = self._ray.exceptions
        try:
            theirs, result = self._ray.get(ready)
        except errors.RayTaskError as error:
            if isinstance(error, _worker_deaths(errors)):
                return Failure(f"it was tried {MAX_RETRIES + 1} times, and its worker died ({type(error).__name__})")
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except _worker_deaths(errors) as error:
            return Failure(f"it was tried {MAX_RETRIES + 1} times, and its worker died ({type(error).__name__})")
        except errors.RayError as error:
            raise _unusable(" ".join(str(error).split())) from error
        if theirs != ours:
            raise _unusable(f"a worker is {theirs}, and this process has {ours}")
        return result

    def group_size(self, networks: int, most: int) -> int:
        """Return a size that gives every worker networks, two or more if possible; on part of a GPU, what fits."""
        if self._ray is None:
            self._start()
        fitting = max(1, int(most * self._share)) if self._device == "cuda" else most
        return max(min(2, fitting), min(fitting, -(-networks // max(1, self._slots))))

    @property
    def _slots(self) -> int:
        """Number of tasks that the cluster runs at once; 0 until its workers have started."""
        cpus = int(self._ray.cluster_resources().get("CPU", 0.0))
        return min(cpus, int(self.gpus / self._share)) if self._device == "cuda" else cpus

    def task_device(self, device: torch.device) -> str:
        """Return the first of the GPUs that a worker sees."""
        return device.type

    def close(self) -> None:
        """Shut down the local cluster, or disconnect from the other."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None


def _unusable(why: str) -> ClusterError:
    return ClusterError(
        f"Ray cannot be used: {why}",
        'Use machines of one kind, with the same versions of Python, Ray, torch and dsactl, or `ray="off"`.',
    )


def _worker_deaths(errors: Any) -> tuple[type[Exception], ...]:
    """Return what Ray raises when a task has failed because its workers or nodes died."""
    return tuple(getattr(errors, name) for name in _WORKER_DEATHS if hasattr(errors, name))


def _silence(ray: Any) -> None:
    """Keep Ray from printing every worker's death on stdout, which is for results; Ray has no option for that."""
    printer = ray._private.worker
    if hasattr(printer, "print_to_stdstream"):
        printer.print_to_stdstream = lambda *_, **__: None


_unpacked: dict[str, Any] = {}


class _ShareActor:
    """An actor that collects the completed share of each task."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def set(self, index: int, share: float) -> None:
        """Set the share of one task, 0 … 1."""
        self._shares[index] = share

    def all(self) -> dict[int, float]:
        """Return the shares of all tasks that have reported."""
        return self._shares


class _RemoteProgress(Progress):
    """The meter of a task on a worker: sends the completed share to the driver."""

    def __init__(self, shares: Any, index: int) -> None:
        self._shares, self._index, self._sent = shares, index, 0.0

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del doing, figures
        if time.monotonic() - self._sent >= REPORT_SECONDS:
            self._shares.set.remote(self._index, done / total if total else 0.0)
            self._sent = time.monotonic()


def _do(
    reference: list[Any],
    index: int,
    shares: Any,
    driver: tuple[str, str, float],
    work: Callable[..., Result],
    arguments: tuple[Any, ...],
) -> tuple[str, Result | None]:
    """Run the task on a worker. Returns the worker's environment, and no result if it differs from the driver's.

    Results are recorded with the driver's environment, so no other may produce them.
    """
    import ray

    torch.set_num_threads(1)
    device, ours, share_of_gpu = driver
    if _environment(device) != ours:
        return _environment(device), None
    if device == "cuda":
        limit_gpu_memory(torch.device(device), share_of_gpu)
    key = reference[0].hex()
    if key not in _unpacked:
        _unpacked.clear()  # free the memory before the next value is unpickled
        _unpacked[key] = ray.get(reference[0])
    result = work(_unpacked[key], *arguments, _RemoteProgress(shares, index))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # other tasks share the GPU
    return ours, result


def _environment(device: str) -> str:
    """Return a description of everything that must be the same on all machines."""
    own = ", own layers" if device == "cpu" and library() is not None else ""
    return f"dsactl {__version__}, torch {torch.__version__}, {describe(torch.device(device), 1)}{own}"


def _check_cluster_responds(address: str) -> None:
    """Connect to an address in a subprocess that can be stopped: Ray itself would wait much longer.

    Raises:
        UsageError, ClusterError: nothing answers, or the cluster cannot be used; the message says why.
    """
    asked = [sys.executable, "-c", _PROBE, address, json.dumps(_QUIET), str(ANSWER_SECONDS)]
    answer, patience = None, LOAD_SECONDS + ANSWER_SECONDS
    with contextlib.suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=patience, check=False)
    if answer is None or answer.returncode == _NO_ANSWER:
        raise ClusterError(
            f"No Ray cluster answers at {address} within {ANSWER_SECONDS:.0f} seconds.",
            "Check that it is the host:port that Ray printed when its head node started, and that the token is set. "
            'Without a cluster: `ray="auto"`, or `ray="off"`.',
        )
    if answer.returncode:
        *_, last = answer.stderr.strip().splitlines() or ["no message"]
        if last.startswith("ValueError"):
            raise UsageError(f"{address} is not an address of a cluster.", "Give it as host:port.")
        raise _unusable(last.partition(": ")[2] or last)
