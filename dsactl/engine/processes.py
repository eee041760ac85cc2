"""Several processes, on one machine or more, that share the classes of a run.

torchrun starts them and tells each its place in the environment. Every process computes the distances of its own
classes; one all-gather per inner step gives all of them the whole gradient, and all train the same network from the
same draws. A process that dies is found by its silence: each counts up a number of its own in torchrun's key-value
store, twice a second.
"""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from dsactl.errors import DeviceError, ProcessError

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 5.0  # after which a process counts as dead
_GRACE_SECONDS = 20.0  # for the main thread to end by itself once another process is dead
_GONE = "gone"


class Processes:
    """One process alone; see `join` for several. As a context manager it leaves at the end.

    Attributes:
        rank: 0 … count − 1. Process 0 keeps the checkpoint, stores the set and speaks.
        count: how many.
    """

    rank = 0
    count = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def share(self, classes: int) -> range:
        """The classes that are this process's own: parts that differ by one at most."""
        return _share(classes, self.rank, self.count)

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:  # noqa: ARG002
        """All classes' rows from each process's own.

        Args:
            own_kX: a row for every class of `share(classes)`.
            classes: K.

        Returns:
            KxX, the same in every process.

        Raises:
            ProcessError: another process died.
        """
        return own_kX

    def broadcast(self, data: bytes) -> bytes:
        """Process 0's bytes, in every process. What the others pass does not matter.

        Raises:
            ProcessError: another process died.
        """
        return data

    def death(self) -> ProcessError | None:
        """That another process died, after waiting long enough to know; None where none did."""
        return None

    def leave(self) -> None:
        """Say that this process ends on purpose."""


ALONE = Processes()


class Rehearsal(Processes):
    """This process's part of several, without the others: to try out a step and see whether it works at all.

    Args:
        processes: whose part.
    """

    def __init__(self, processes: Processes) -> None:
        self.rank, self.count = processes.rank, processes.count

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:
        """Its own rows, and zeros for those of the others."""
        share = self.share(classes)
        everything = own_kX.new_zeros(classes, own_kX.shape[1])
        everything[share.start : share.stop] = own_kX
        return everything


class _Together(Processes):
    def __init__(self, rank: int, count: int, device: torch.device, on_death: Callable[[ProcessError], None]) -> None:
        self.rank, self.count = rank, count
        self._device, self._on_death = device, on_death
        cuda = torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else None
        backend = "nccl" if cuda else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=count, timeout=timedelta(hours=1), device_id=cuda)
        self._store = _connect()
        self._seen = dict.fromkeys(range(count), ("", time.monotonic()))
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._store.set(f"beat/{rank}", "0")
        dist.barrier()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:
        most = -(-classes // self.count)
        padded = own_kX.new_zeros(most, own_kX.shape[1])
        padded[: len(own_kX)] = own_kX
        gathered = own_kX.new_empty(self.count * most, own_kX.shape[1])
        self._together(lambda: dist.all_gather_into_tensor(gathered, padded))
        parts = torch.split(gathered, most)
        return torch.cat([part[: len(_share(classes, rank, self.count))] for rank, part in enumerate(parts)])

    def broadcast(self, data: bytes) -> bytes:
        length = torch.tensor([len(data)], device=self._device)
        self._together(lambda: dist.broadcast(length, 0))
        content = torch.empty(int(length), dtype=torch.uint8, device=self._device)
        if self.rank == 0 and data:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self._together(lambda: dist.broadcast(content, 0))
        return content.cpu().numpy().tobytes()

    def _together(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            death = self.death()
            if death is None and not self._anyone_left():
                raise  # nobody else's fault
            raise death or self._error([]) from error

    def _error(self, dead: list[int]) -> ProcessError:
        if not dead:
            return ProcessError(
                f"Another of the {self.count} processes stopped.", "Its own message says why.", mine=False
            )
        names = " and ".join(map(str, dead))
        return ProcessError(
            f"Process {names} of the {self.count} (counted from 0) died.",
            "The checkpoint is good: start the same command again, without --fresh, and it goes on from there.",
            mine=self.rank == min(set(range(self.count)) - set(dead)),
        )

    def death(self) -> ProcessError | None:
        # Whoever is silent for so long from now on is dead; whoever left has said so.
        deadline = time.monotonic() + SILENCE_SECONDS + 2 * BEAT_SECONDS
        while time.monotonic() < deadline and not self._silent():
            time.sleep(BEAT_SECONDS)
        silent = self._silent()
        return self._error(silent) if silent else None

    def _silent(self) -> list[int]:
        now = time.monotonic()
        with self._lock:
            return [
                rank
                for rank, (beat, heard) in self._seen.items()
                if rank != self.rank and beat != _GONE and now - heard > SILENCE_SECONDS
            ]

    def _anyone_left(self) -> bool:
        with self._lock:
            return any(beat == _GONE for rank, (beat, _) in self._seen.items() if rank != self.rank)

    def _watch(self) -> None:
        """Beat, listen, and end a process that waits for a dead one in a call that cannot be interrupted."""
        beat = 0
        found: float | None = None
        while not self._left.is_set():
            beat += 1
            try:
                self._store.set(f"beat/{self.rank}", str(beat))
                self._listen()
            except RuntimeError:  # the store went with the process that held it; silence will tell
                pass
            if self._silent():
                found = found or time.monotonic()
                if time.monotonic() - found > _GRACE_SECONDS:
                    error = self._error(self._silent())
                    if error.mine:
                        self._on_death(error)
                    os._exit(1)
            else:
                found = None
            self._left.wait(BEAT_SECONDS)

    def _listen(self) -> None:
        beats = self._store.multi_get([f"beat/{rank}" for rank in range(self.count)])
        now = time.monotonic()
        with self._lock:
            for rank, value in enumerate(beats):
                beat = value.decode()
                if beat != self._seen[rank][0]:
                    self._seen[rank] = (beat, now)

    def leave(self) -> None:
        if self._left.is_set():
            return
        self._left.set()
        self._watcher.join()  # a thread in the store while the interpreter goes down would abort the process
        try:
            self._store.set(f"beat/{self.rank}", _GONE)
            if not self._silent():  # what waits for the dead would never end
                dist.destroy_process_group()
        except RuntimeError:  # the store is gone already
            pass


def _share(classes: int, rank: int, count: int) -> range:
    return range(classes * rank // count, classes * (rank + 1) // count)


def _connect() -> Any:
    """A connection of our own, so that waiting in the group's does not hold up the beats."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))  # type: ignore[attr-defined]


def started() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: torch.device, on_death: Callable[[ProcessError], None] = lambda error: None) -> Processes:
    """Meet the other processes that torchrun started; this process alone without it.

    Each CPU process gets its part of the machine's cores, and each CUDA process the GPU of its local rank.

    Args:
        device: what every process computes on.
        on_death: called just before this process has to end because another one died.

    Raises:
        DeviceError: there is no GPU for each process.
        ProcessError: the others cannot be reached.
    """
    count = started()
    if count == 1:
        return ALONE
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    neighbours = max(local_rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if device.type == "cuda":
        check_gpus(device, neighbours, torch.cuda.device_count())
        torch.cuda.set_device(local_rank)
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // neighbours))
    try:
        return _Together(int(os.environ["RANK"]), count, device, on_death)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ProcessError(
            f"The {count} processes could not meet: {error}.", "Start them with torchrun, which sets RANK and the rest."
        ) from error


def check_gpus(device: torch.device, processes: int, gpus: int) -> None:
    """Refuse processes that would not have a GPU each.

    Args:
        device: of type "cuda", as it was asked for.
        processes: on this machine.
        gpus: on this machine.

    Raises:
        DeviceError: says how to start them.
    """
    if device.index is not None:
        raise DeviceError(
            f"--device {device} names one GPU, and under torchrun each process has one of its own.",
            "Use --device cuda.",
        )
    if processes > gpus:
        raise DeviceError(
            f"{processes} processes on this machine are too many for its {gpus} GPUs: each needs one of its own.",
            f"Use torchrun --nproc-per-node {gpus}, or --device cpu.",
        )
