"""Data parallelism over the classes of a run, with several processes on one machine or more.

torchrun starts the processes and gives each its rank in the environment. Every process computes the distances of its
own classes; one all-gather per inner step gives all of them the whole gradient, and all train the same network from the
same draws. A dead process is detected by its missing heartbeat: each increments its own counter in torchrun's key-value
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

from dsactl.engine.cores import usable_cores
from dsactl.errors import DeviceError, ProcessError

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 5.0  # without a heartbeat, after which a process counts as dead
_GRACE_SECONDS = 20.0  # for the main thread to stop by itself after another process died
_CLOSED = "gone"


class Processes:
    """A process group of one process; see `join` for several. As a context manager it closes the group at the end.

    Attributes:
        rank: 0 … count − 1. Process 0 writes the checkpoint, stores the set and prints.
        count: number of processes.
    """

    rank = 0
    count = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def share(self, classes: int) -> range:
        """Return the classes of this process; the shares differ by one at most."""
        return _class_range(classes, self.rank, self.count)

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:  # noqa: ARG002
        """Gather the rows of all classes from all processes.

        Args:
            own_kX: one row for every class of `share(classes)`.
            classes: K.

        Returns:
            K×X, the same in every process.

        Raises:
            ProcessError: another process died.
        """
        return own_kX

    def broadcast(self, data: bytes) -> bytes:
        """Return process 0's bytes in every process. The other processes' arguments are ignored.

        Raises:
            ProcessError: another process died.
        """
        return data

    def first_failed(self, failed: bool) -> int | None:
        """Return the lowest rank of the processes that failed; None if none did.

        Args:
            failed: whether this process did. All processes call this function.

        Raises:
            ProcessError: another process died, or stopped.
        """
        return 0 if failed else None

    def death(self) -> ProcessError | None:
        """Return an error if another process died, after waiting long enough to know; otherwise None."""
        return None

    def leave(self) -> None:
        """Close the group: announce that this process ends on purpose."""


SINGLE_PROCESS = Processes()


class DryRunGroup(Processes):
    """A dry run of one process's share without the other processes, to test whether a step works at all.

    Args:
        processes: the group whose rank and size it takes.
    """

    def __init__(self, processes: Processes) -> None:
        self.rank, self.count = processes.rank, processes.count

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:
        """Return this process's rows, and zeros for the others'."""
        share = self.share(classes)
        everything = own_kX.new_zeros(classes, own_kX.shape[1])
        everything[share.start : share.stop] = own_kX
        return everything


class _ProcessGroup(Processes):
    def __init__(self, rank: int, count: int, device: torch.device, on_death: Callable[[ProcessError], None]) -> None:
        self.rank, self.count = rank, count
        self._device, self._on_death = device, on_death
        cuda = torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else None
        backend = "nccl" if cuda else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=count, timeout=timedelta(hours=1), device_id=cuda)
        self._store = _connect_to_store()
        self._heartbeats = dict.fromkeys(range(count), ("", time.monotonic()))
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._store.set(f"beat/{rank}", "0")
        dist.barrier()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:
        most = -(-classes // self.count)
        padded = own_kX.new_zeros(most, own_kX.shape[1])
        padded[: len(own_kX)] = own_kX
        gathered = own_kX.new_empty(self.count * most, own_kX.shape[1])
        self._run_collective(lambda: dist.all_gather_into_tensor(gathered, padded))
        parts = torch.split(gathered, most)
        return torch.cat([part[: len(_class_range(classes, rank, self.count))] for rank, part in enumerate(parts)])

    def broadcast(self, data: bytes) -> bytes:
        length = torch.tensor([len(data)], device=self._device)
        self._run_collective(lambda: dist.broadcast(length, 0))
        content = torch.empty(int(length), dtype=torch.uint8, device=self._device)
        if self.rank == 0 and data:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self._run_collective(lambda: dist.broadcast(content, 0))
        return content.cpu().numpy().tobytes()

    def first_failed(self, failed: bool) -> int | None:
        all_P1 = self.gather(torch.tensor([[float(failed)]], device=self._device), self.count)
        return next((rank for rank, value in enumerate(all_P1.flatten().tolist()) if value), None)

    def _run_collective(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except RuntimeError as error:
            death = self.death()
            if death is None and not self._any_peer_closed():
                raise  # no other process is the cause
            raise death or self._error([]) from error

    def _error(self, dead: list[int]) -> ProcessError:
        if not dead:
            return ProcessError(
                f"Another of the {self.count} processes stopped.", "See the message of that process.", mine=False
            )
        names = " and ".join(map(str, dead))
        which = f"Process {names}" if len(dead) == 1 else f"Processes {names}"
        return ProcessError(
            f"{which} of the {self.count} (counted from 0) died.",
            "The checkpoint is intact: start the run again, without `fresh=True`, and it resumes from there.",
            mine=self.rank == min(set(range(self.count)) - set(dead)),
        )

    def death(self) -> ProcessError | None:
        # A process without a heartbeat for this long from now on is dead; one that has closed has announced it.
        deadline = time.monotonic() + SILENCE_SECONDS + 2 * BEAT_SECONDS
        while time.monotonic() < deadline and not self._silent_ranks():
            time.sleep(BEAT_SECONDS)
        silent = self._silent_ranks()
        return self._error(silent) if silent else None

    def _silent_ranks(self) -> list[int]:
        now = time.monotonic()
        with self._lock:
            return [
                rank
                for rank, (beat, heard) in self._heartbeats.items()
                if rank != self.rank and beat != _CLOSED and now - heard > SILENCE_SECONDS
            ]

    def _any_peer_closed(self) -> bool:
        with self._lock:
            return any(beat == _CLOSED for rank, (beat, _) in self._heartbeats.items() if rank != self.rank)

    def _watch(self) -> None:
        """Send and read heartbeats; end this process if it waits for a dead one in a call that blocks signals."""
        beat = 0
        found: float | None = None
        while not self._closed.is_set():
            beat += 1
            try:
                self._store.set(f"beat/{self.rank}", str(beat))
                self._read_heartbeats()
            except RuntimeError:  # the store died with its process, which the missing heartbeat will show
                pass
            if self._silent_ranks():
                found = found or time.monotonic()
                if time.monotonic() - found > _GRACE_SECONDS:
                    error = self._error(self._silent_ranks())
                    if error.mine:
                        self._on_death(error)
                    os._exit(1)
            else:
                found = None
            self._closed.wait(BEAT_SECONDS)

    def _read_heartbeats(self) -> None:
        beats = self._store.multi_get([f"beat/{rank}" for rank in range(self.count)])
        now = time.monotonic()
        with self._lock:
            for rank, value in enumerate(beats):
                beat = value.decode()
                if beat != self._heartbeats[rank][0]:
                    self._heartbeats[rank] = (beat, now)

    def leave(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._watcher.join()  # a thread inside the store during interpreter shutdown would abort the process
        try:
            self._store.set(f"beat/{self.rank}", _CLOSED)
            if not self._silent_ranks():  # with a dead peer, destroying the group would block for ever
                dist.destroy_process_group()
        except RuntimeError:  # the store is gone already
            pass


def _class_range(classes: int, rank: int, count: int) -> range:
    return range(classes * rank // count, classes * (rank + 1) // count)


def _connect_to_store() -> Any:
    """Open a connection to the store of our own, so that waiting in the group's does not delay the heartbeats."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))  # type: ignore[attr-defined]


def started() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun, which sets RANK too.

    Raises:
        ProcessError: WORLD_SIZE is not a number.
    """
    given = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    try:
        return int(given)
    except ValueError:
        raise ProcessError(f"WORLD_SIZE is {given!r}, not a number.", "Unset it, or start with torchrun.") from None


def join(device: torch.device, on_death: Callable[[ProcessError], None] = lambda error: None) -> Processes:
    """Join the processes that torchrun started; without torchrun, return the group of this process alone.

    Each CPU process gets its share of the machine's cores, and each CUDA process the GPU of its local rank.

    Args:
        device: the device type of every process.
        on_death: called just before this process has to exit because another one died.

    Raises:
        DeviceError: there are fewer GPUs than processes.
        ProcessError: the other processes cannot be reached.
    """
    count = started()
    if count == 1:
        return SINGLE_PROCESS
    threads, local_rank = torch.get_num_threads(), int(os.environ.get("LOCAL_RANK", "0"))
    neighbours = max(local_rank + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if device.type == "cuda":
        check_gpus(device, neighbours, torch.cuda.device_count())
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(max(1, usable_cores() // neighbours))
    try:
        return _ProcessGroup(int(os.environ["RANK"]), count, device, on_death)
    except (RuntimeError, KeyError, ValueError) as error:
        torch.set_num_threads(threads)
        raise ProcessError(
            f"The {count} processes could not connect to each other: {error}.",
            "Start them with torchrun, which sets RANK and the other variables.",
        ) from error


def check_gpus(device: torch.device, processes: int, gpus: int) -> None:
    """Check that every process gets a GPU of its own.

    Args:
        device: of type "cuda", as given by the user.
        processes: number on this machine.
        gpus: number on this machine.

    Raises:
        DeviceError: the device names one GPU, or there are too few; the hint says how to start the processes.
    """
    if device.index is not None:
        raise DeviceError(
            f'`device="{device}"` names one GPU, and under torchrun each process has one of its own.',
            'Use `device="cuda"`.',
        )
    if processes > gpus:
        raise DeviceError(
            f"{processes} processes on this machine are too many for its {gpus} GPUs: each needs one of its own.",
            f'Start one process per GPU with torchrun (here {gpus}), or use `device="cpu"`.',
        )
