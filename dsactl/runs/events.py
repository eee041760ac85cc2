"""The log of a run's events, read from its end while the run may be writing it. Importing this loads no torch."""

import itertools
import json
import math
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TAIL_BYTES = 2**14
"""What a list of runs reads of a log: some hundred events."""
MAX_EVENTS = 20_000
"""Of a log of which only the end is read: some six hours."""
FOLLOWED_BYTES = 2**22
"""What is read at first of a log that is followed."""
_RATE_SECONDS = 60.0
"""Of work, by which the speed is measured."""
_NOT_FIGURES = ("step", "total", "iteration", "seconds", "time")
"""What events have beside figures."""


@dataclass(frozen=True)
class Event:
    """What a run has said of a step.

    Attributes:
        step: steps done.
        total: all steps; None in logs of earlier versions.
        seconds: of work, including those before interruptions.
        figures: measured values by name, such as the mean matching distance, or the loss.
    """

    step: int
    total: int | None
    seconds: float
    figures: Mapping[str, float]

    @property
    def figure(self) -> tuple[str, float] | None:
        """The distance or the loss with its name, or else the first figure; None without any."""
        for name in ("distance", "loss", *self.figures):
            if name in self.figures:
                return name, self.figures[name]
        return None


class EventLog:
    """The events of a run, as far as they have been read.

    Lines that cannot be read are passed over: a killed process may leave a part of one. Of steps that were taken again
    after an interruption, the last events count.

    Args:
        path: of the log, which need not exist.
        end: the bytes at its end that are read at first, up to `MAX_EVENTS`; None for the whole log.

    Attributes:
        events: in the order of their steps.
    """

    def __init__(self, path: Path, end: int | None = TAIL_BYTES) -> None:
        self._path, self._end = path, end
        self.events: deque[Event] = deque(maxlen=None if end is None else MAX_EVENTS)
        self._file, self._read = 0, 0

    def read(self) -> None:
        """Read what was added since the last time; everything, if the run was started over.

        Raises:
            OSError: the log cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                self._continue(file)
        except FileNotFoundError:
            self.events.clear()
            self._file = self._read = 0

    def _continue(self, file: BinaryIO) -> None:
        now = os.fstat(file.fileno())
        if now.st_ino != self._file or now.st_size < self._read:
            self.events.clear()
            self._file, self._read = now.st_ino, 0 if self._end is None else max(0, now.st_size - self._end)
        file.seek(self._read)
        # Not what another process is about to complete.
        data, _, _ = file.read(now.st_size - self._read).rpartition(b"\n")
        self._read += len(data) + 1 if data else 0
        for line in data.split(b"\n"):
            event = _event(line)
            if event is not None:
                while self.events and self.events[-1].step >= event.step:
                    self.events.pop()
                self.events.append(event)

    @property
    def last(self) -> Event | None:
        """The last event; None if none was read."""
        return self.events[-1] if self.events else None

    def seconds_per_step(self) -> float | None:
        """Return the seconds of a step, in the last minute of work; None if fewer than two events are known."""
        last = self.last
        if last is None:
            return None
        first = last
        for event in itertools.islice(reversed(self.events), 1, None):
            if event.seconds > last.seconds or (first is not last and last.seconds - event.seconds > _RATE_SECONDS):
                break
            first = event
        steps, seconds = last.step - first.step, last.seconds - first.seconds
        return seconds / steps if steps else None

    def curve(self) -> list[float]:
        """Return the figure of each event that has the last one's."""
        figure = None if self.last is None else self.last.figure
        if figure is None:
            return []
        name, _ = figure
        return [event.figures[name] for event in self.events if name in event.figures]


def _event(line: bytes) -> Event | None:
    """Return the event of a line; None if it has none."""
    try:
        value = json.loads(line)
        total = value.get("total")
        figures = {
            name: float(number)
            for name, number in value.items()
            if name not in _NOT_FIGURES
            and isinstance(number, int | float)
            and not isinstance(number, bool)
            and math.isfinite(number)
        }
        step, seconds = int(value["step"]), float(value["seconds"])
        return None if step < 0 else Event(step, None if total is None else int(total), seconds, figures)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
