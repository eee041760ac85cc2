"""Runs that processes work on now, followed while they go on. Importing this loads no torch."""

import time

import registry
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.runs.listing import Run, RunReader, is_wanted

LOOK_SECONDS = 1.0
"""Between two looks at the runs that are followed."""
SEARCH_SECONDS = 5.0
"""Between two searches for runs that have begun meanwhile."""
PATIENCE_SECONDS = 3.0
"""After the end of the last run, for the next one to begin: of several sets, or of several methods."""


class Watcher:
    """The runs of a store that are going on, and those that were when this looked.

    Args:
        store: the store.
        pattern: of the runs' names or keys, with * and ?.
        progress: is told of damaged files.

    Attributes:
        runs: by their keys, as they were last seen, in the order in which they were found.
    """

    def __init__(self, store: registry.Store, pattern: str = "*", progress: Progress = NO_PROGRESS) -> None:
        self._reader, self._pattern = RunReader(store, progress, live=True), pattern
        self._searched = self._busy = float("-inf")
        self.runs: dict[str, Run] = {}

    def look(self) -> list[Run]:
        """Read the runs again, and return those that are new or have changed."""
        now, before = time.monotonic(), dict(self.runs)
        for key in self._going_on:
            run = self._reader.read(key)
            if run is not None:
                self.runs[key] = run
        if not self._going_on or now - self._searched >= SEARCH_SECONDS:
            self._searched = now
            self._search()
        if self._going_on:
            self._busy = now
        return [run for key, run in self.runs.items() if run != before.get(key)]

    @property
    def is_over(self) -> bool:
        """Whether nothing goes on any more, or nothing did."""
        return not self._going_on and time.monotonic() - self._busy >= PATIENCE_SECONDS

    @property
    def _going_on(self) -> list[str]:
        return [key for key, run in self.runs.items() if run.state == "running"]

    def _search(self) -> None:
        for key in self._reader.all_keys():
            if key not in self._going_on and self._reader.is_held(key):
                run = self._reader.read(key)
                if run is not None and run.state == "running" and is_wanted(run, self._pattern):
                    self.runs[key] = run
