"""Tasks side by side on Ray: on this machine's cores or GPUs, or on a cluster that runs already.

Ray starts a task again elsewhere when its worker or its node dies, three times at most. What tasks share is put once
into each node's memory, and unpacked once in each worker. How far each is they tell an actor, which is asked.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dsactl import __version__
from dsactl.engine.device import describe, resolve_device
from dsactl.engine.memory import keep_to_part_of_gpu
from dsactl.engine.native import library
from dsactl.engine.tasks import Failure, InProcess, Report, Result, Task, Workers
from dsactl.engine.words import AUTO, OFF, check_cluster, check_gpu_share
from dsactl.errors import ClusterError, UsageError
from registry import extras

MAX_RETRIES = 3
ANSWER_SECONDS = 10.0
LOAD_SECONDS = 60.0  # that a busy machine takes to load Ray
TELL_SECONDS = 1.0
STOP_SECONDS = 3.0
_SEVERAL = 2  # tasks; fewer are done in this process
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
_NO_ANSWER = 3
_ASK = f"""import json, os, ray, sys, threading
end = threading.Timer(float(sys.argv[3]), os._exit, [{_NO_ANSWER}])
end.daemon = True
end.start()
try:
    ray.init(address=sys.argv[1], **json.loads(sys.argv[2]))
except Exception as error:
    sys.exit(type(error).__name__ + ": " + " ".join(str(error).split()))
end.cancel()
"""  # the time counts from when Ray is loaded; in one line what it may say in several
_OF_A_DEATH = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "OwnerDiedError", "ObjectLostError")


def workers(where: str, device: str, share_of_gpu: float = 1.0) -> Workers:
    """Who does the tasks of a command.

    Args:
        where: "auto": a cluster of this machine, if Ray is installed and more than one task waits; "off": this process;
            else the address of a cluster.
        device: where a task computes, as of `condense`.
        share_of_gpu: that a task takes, 0 … 1, so that several share one.

    Raises:
        UsageError: a share or a device makes no sense.
        MissingPackageError: Ray is not installed.
        ClusterError: no cluster answers, it is of another version, or has GPUs and this machine none.
    """
    check_gpu_share(share_of_gpu)
    check_cluster(where)
    if where == OFF or (where == AUTO and not extras.is_installed("ray")):
        return InProcess()
    extras.require(f"--ray {where}", "ray", "ray", otherwise="Or use --ray off.")
    if ":" in device:
        raise UsageError(f"Ray gives each task a GPU, and cannot keep to {device}.", "Use --device cuda, or --ray off.")
    target = resolve_device(device).type
    if where == AUTO:
        return WhereItPays(target, share_of_gpu)
    cluster = OnRay(where, target, share_of_gpu)
    if device == AUTO and target == "cpu" and cluster.gpus:
        cluster.close()
        raise ClusterError(
            f"The cluster at {where} has GPUs, and this machine has none.",
            "Start dsactl where there is one, as by `ray job submit --entrypoint-num-gpus 0.01`, or use --device cpu.",
        )
    return cluster


class WhereItPays(InProcess):
    """This process; but for several tasks Ray on this machine, which is started when they come.

    Args:
        device, share_of_gpu: as of `OnRay`.
    """

    def __init__(self, device: str, share_of_gpu: float = 1.0) -> None:
        self._ray = OnRay(None, device, share_of_gpu)

    def suited(self, tasks: int) -> Workers:
        """Ray for two or more."""
        return self if tasks < _SEVERAL else self._ray

    def close(self) -> None:
        """End the cluster, if there is one."""
        self._ray.close()


class OnRay(Workers):
    """Ray's workers.

    Args:
        address: of a cluster, host:port; None for one of this machine's own, which begins with the first tasks and ends
            with this.
        device: "cpu" or "cuda", where a task computes.
        share_of_gpu: that a task takes.

    Raises:
        UsageError: that is no address.
        ClusterError: no cluster answers within ten seconds, it is of another version, or has no GPU.
    """

    def __init__(self, address: str | None, device: str, share_of_gpu: float = 1.0) -> None:
        self.threads = 1
        self._address, self._device, self._share = address, device, share_of_gpu
        self._ray: Any = None
        if address is not None:
            _check_that_it_answers(address)
            self._start()

    def _start(self) -> None:
        import ray

        own = {"address": "local", "include_dashboard": False}
        if self._address is None:
            os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # else it tries for ever
        on_termination = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**(own if self._address is None else {"address": self._address}), **_QUIET)
        except Exception as error:  # Ray raises as much where it is slow to start
            why = " ".join(str(error).split())
            if self._address is None:
                raise ClusterError(f"Ray does not start here: {why}", "Try again, or use --ray off.") from error
            raise _unusable(why) from error
        self._ray = ray
        _silence(ray)
        if callable(on_termination) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_termination)  # Ray sets its own
        on_gpu = self._device == "cuda"
        if on_gpu and self.gpus < self._share:
            self.close()
            raise ClusterError("The cluster has no GPU.", "Use --device cpu, or --ray off.")
        needs: dict[str, Any] = {"num_gpus": self._share, "max_calls": 0} if on_gpu else {"num_cpus": 1}
        self._do: Any = ray.remote(max_retries=MAX_RETRIES, **needs)(_do)
        self._shares: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Shares)

    @property
    def gpus(self) -> float:
        """How many GPUs a cluster has that was begun."""
        return float(self._ray.cluster_resources().get("GPU", 0.0))

    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], report: Report = lambda done, doing: None
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """As of `Workers`; the dearest begin."""
        if self._ray is None:
            self._start()
        place, shares, ours = self._ray.put(shared), self._shares.remote(), _about(self._device)
        waiting = {
            # In a list, so that Ray hands over the place and the worker unpacks the value once for all its tasks.
            self._do.remote([place], index, shares, (self._device, ours, self._share), task.work, task.arguments): (
                index,
                task,
            )
            for index, task in enumerate(sorted(tasks, key=lambda task: -task.cost))
        }
        total, done, known = sum(task.cost for task in tasks), 0.0, dict[int, float]()
        report(0, f"{len(tasks)} tasks on Ray")
        try:
            while waiting:
                ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=TELL_SECONDS, fetch_local=True)
                for each in ready:
                    _, task = waiting.pop(each)
                    yield task, self._result(each, ours)
                    done += task.cost
                known |= self._told(shares)
                part = sum(known.get(index, 0.0) * task.cost for index, task in waiting.values())
                doing = f"{len(tasks) - len(waiting)} of {len(tasks)} tasks on Ray are done"
                if len(waiting) == len(tasks) and not self._slots:
                    doing += "; the cluster has no CPU yet"
                report((done + part) / total, doing)
        finally:
            self._stop(list(waiting))

    def _stop(self, left: list[Any]) -> None:
        """End tasks: by an interruption, which lets them keep what they have; and what does not heed that, at once."""
        for each in left:
            self._ray.cancel(each)
        _, heedless = self._ray.wait(left, num_returns=len(left), timeout=STOP_SECONDS) if left else ([], [])
        for each in heedless:  # no others: by force Ray would end itself, when a task that has ended answers
            self._ray.cancel(each, force=True)

    def _told(self, shares: Any) -> dict[int, float]:
        """What share of each task is done, by its place; empty where the actor does not answer at once."""
        try:
            return dict(self._ray.get(shares.all.remote(), timeout=TELL_SECONDS))
        except self._ray.exceptions.RayError:  # the time is up, or its node is gone: it begins anew elsewhere
            return {}

    def _result(self, ready: Any, ours: str) -> Any:
        errors = self._ray.exceptions
        try:
            theirs, result = self._ray.get(ready)
        except errors.RayTaskError as error:
            if isinstance(error, _deaths(errors)):
                return Failure(f"it was tried {MAX_RETRIES + 1} times, and its worker died ({type(error).__name__})")
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except _deaths(errors) as error:
            return Failure(f"it was tried {MAX_RETRIES + 1} times, and its worker died ({type(error).__name__})")
        except errors.RayError as error:
            raise _unusable(" ".join(str(error).split())) from error
        if theirs != ours:
            raise _unusable(f"a worker is {theirs}, and this process has {ours}")
        return result

    def groups(self, networks: int, most: int) -> int:
        """So many that each worker has some, but not one alone if it can be helped; of a part of a GPU, what fits."""
        if self._ray is None:
            self._start()
        fitting = max(1, int(most * self._share)) if self._device == "cuda" else most
        return max(min(2, fitting), min(fitting, -(-networks // max(1, self._slots))))

    @property
    def _slots(self) -> int:
        """How many tasks the cluster does at once; none where its workers are yet to come."""
        cpus = int(self._ray.cluster_resources().get("CPU", 0.0))
        return min(cpus, int(self.gpus / self._share)) if self._device == "cuda" else cpus

    def place(self, device: torch.device) -> str:
        """Of the GPUs that a worker sees, the first."""
        return device.type

    def close(self) -> None:
        """End the local cluster, or leave the other."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None


def _unusable(why: str) -> ClusterError:
    return ClusterError(
        f"Ray cannot be used: {why}",
        "Use machines of one kind, with the same versions of Python, Ray, torch and dsactl, or --ray off.",
    )


def _deaths(errors: Any) -> tuple[type[Exception], ...]:
    """What Ray raises when it has given up a task whose workers or nodes died."""
    return tuple(getattr(errors, name) for name in _OF_A_DEATH if hasattr(errors, name))


def _silence(ray: Any) -> None:
    """Keep Ray from printing every worker's death on stdout, where results go; it has no switch for that."""
    printer = ray._private.worker
    if hasattr(printer, "print_to_stdstream"):
        printer.print_to_stdstream = lambda *_, **__: None


_unpacked: dict[str, Any] = {}


class _Shares:
    """An actor that is told what share of each task is done."""

    def __init__(self) -> None:
        self._shares: dict[int, float] = {}

    def tell(self, index: int, share: float) -> None:
        """Of one task, 0 … 1."""
        self._shares[index] = share

    def all(self) -> dict[int, float]:
        """Of every task that has told."""
        return self._shares


def _do(
    place: list[Any],
    index: int,
    shares: Any,
    driver: tuple[str, str, float],
    work: Callable[..., Result],
    arguments: tuple[Any, ...],
) -> tuple[str, Result | None]:
    """In a worker: what it is, and the result; None where it is not as the driver is.

    Results are kept and recorded as of the driver's machine, so that there must be no others.
    """
    import ray

    torch.set_num_threads(1)
    device, ours, share_of_gpu = driver
    if _about(device) != ours:
        return _about(device), None
    if device == "cuda":
        keep_to_part_of_gpu(torch.device(device), share_of_gpu)
    key = place[0].hex()
    if key not in _unpacked:
        _unpacked.clear()  # before the next comes, so that there is memory for it
        _unpacked[key] = ray.get(place[0])
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_SECONDS:
            shares.tell.remote(index, share)
            told = time.monotonic()

    result = work(_unpacked[key], *arguments, tell)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # others share the GPU
    return ours, result


def _about(device: str) -> str:
    """What must be alike everywhere, in words."""
    own = ", own layers" if device == "cpu" and library() is not None else ""
    return f"dsactl {__version__}, torch {torch.__version__}, {describe(torch.device(device), 1)}{own}"


def _check_that_it_answers(address: str) -> None:
    """Ask at an address in a process of its own, which can be stopped: Ray would wait for long.

    Raises:
        UsageError, ClusterError: nothing answers, or it cannot be used; says why.
    """
    asked = [sys.executable, "-c", _ASK, address, json.dumps(_QUIET), str(ANSWER_SECONDS)]
    answer, patience = None, LOAD_SECONDS + ANSWER_SECONDS
    with contextlib.suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=patience, check=False)
    if answer is None or answer.returncode == _NO_ANSWER:
        raise ClusterError(
            f"No Ray cluster answers at {address} within {ANSWER_SECONDS:.0f} seconds.",
            "Is it host:port, as `ray start --head` says, with its token? Without a cluster: --ray auto, or --ray off.",
        )
    if answer.returncode:
        *_, last = answer.stderr.strip().splitlines() or ["it says nothing"]
        if last.startswith("ValueError"):
            raise UsageError(f"{address} is no address of a cluster.", "It is host:port.")
        raise _unusable(last.partition(": ")[2] or last)
