"""The runs of a store, read from their folders while other processes work in them. Importing this loads no torch."""

import contextlib
import fnmatch
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import registry
from dsactl.engine import run_files
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.recipes.methods import BUILT_IN
from dsactl.recipes.recipe import Recipe
from dsactl.runs.events import FOLLOWED_BYTES, TAIL_BYTES, EventLog
from dsactl.runs.steps import steps_of
from registry.locks import is_held

State = Literal["running", "stopped", "finished", "removed"]
STATES: tuple[State, ...] = ("running", "stopped", "finished", "removed")
UNFINISHED: tuple[State, ...] = ("running", "stopped")
_INNER_STEPS = ("dsa", "dc", "idc")
"""Methods whose steps are the inner ones."""
_EXPERTS = "experts"
_SHORT = 8  # characters of a key, as in the folders of `log_dir`


@dataclass(frozen=True)
class Run:
    """A run: the making of a set, or of a pool of experts.

    Attributes:
        key: the name of its folder within `runs` of the store's home.
        kind: of what it makes: "set" or "experts".
        name: of what it makes.
        method: of the recipe; "experts" for a pool.
        state: "running" if a process works on it now; "stopped"; "finished" if its set is in the store; "removed" if
            the set was in the store.
        done: steps done, or epochs of all networks of a pool; None if that is not known.
        total: all of them; None if that is not known.
        seconds: of work so far; None if that is not known.
        seconds_per_step: in the last minute of work, of a finished run on average; None if that is not known.
        figures: the last measured values by name, such as `distance` or `loss`.
        curve: the distance or loss, in the last steps that the log of events has; empty if there is none.
        written: when its progress was last written, ISO 8601 in UTC.
        reference: of the stored set or pool; None without one.
        folder: where its files are.
        recipe: the recipe.
        source: the arguments of `load_dataset` with which the images were read.
        mode: how its checkpoint was computed, such as {"device": "cpu"}; empty without one.
        workers: how many of the steps are made at once.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="dm", width=8, iterations=3)
        >>> [run] = dsactl.list_runs("digits-dm-*")
        >>> run.state, run.percent, run.reference
        ('finished', 100, 'digits-dm-convnet-width8-ipc1:1')
    """

    key: str
    kind: Literal["set", "experts"]
    name: str
    method: str
    state: State
    done: int | None
    total: int | None
    seconds: float | None
    seconds_per_step: float | None
    figures: Mapping[str, float]
    written: str
    reference: str | None
    folder: Path
    recipe: Recipe | PoolRecipe = field(repr=False)
    curve: tuple[float, ...] = field(default=(), repr=False)
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mode: Mapping[str, Any] = field(default_factory=dict, repr=False)
    workers: int = 1

    @property
    def share(self) -> float | None:
        """The share of the steps that is done, from 0 to 1; None if that is not known."""
        return None if self.done is None or not self.total else min(1.0, self.done / self.total)

    @property
    def percent(self) -> int | None:
        """The whole percents of the steps that are done; None if that is not known."""
        return None if self.done is None or not self.total else min(100, 100 * self.done // self.total)

    @property
    def seconds_left(self) -> float | None:
        """The seconds of work that are left at the present speed; None if that is not known, 0 if there is nothing."""
        if self.state not in UNFINISHED:
            return 0.0
        if self.done is None or self.total is None or self.seconds_per_step is None:
            return None
        return max(0, self.total - self.done) * self.seconds_per_step / self.workers

    @property
    def figure(self) -> tuple[str, float] | None:
        """The distance or the loss with its name; None without either."""
        return next(((name, self.figures[name]) for name in ("distance", "loss") if name in self.figures), None)


def list_runs(
    pattern: str = "*",
    *,
    unfinished: bool = False,
    store: registry.Store | None = None,
    progress: Progress = NO_PROGRESS,
) -> list[Run]:
    """Return the runs of a store, the one that was written last at the end.

    The same call or command that began a run goes on with it.

    Args:
        pattern: of names of sets and pools, or of the runs' keys, with * and ?; or the first 8 or more characters of a
            key.
        unfinished: leave out those whose set was stored.
        store: None for the default store.
        progress: is told of folders and files that are damaged; what can be read is listed.

    Raises:
        dsactl.Error: the store cannot be read.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="dd", width=8, iterations=2)
        >>> [(run.name, run.state, run.done, run.total) for run in dsactl.list_runs()]
        [('digits-dd-convnet-width8-ipc1', 'finished', 2, 2)]
        >>> dsactl.list_runs(unfinished=True)
        []
    """
    reader = RunReader(registry.Store() if store is None else store, progress)
    runs = [run for key in reader.all_keys() if (run := reader.read(key)) and is_wanted(run, pattern)]
    return sorted((run for run in runs if not unfinished or run.state in UNFINISHED), key=lambda run: run.written)


def is_wanted(run: Run, pattern: str) -> bool:
    """Return whether a pattern matches a run's name or key, or is the beginning of its key as short digests are."""
    short = len(pattern) >= _SHORT and run.key.startswith(pattern)
    return short or any(fnmatch.fnmatchcase(text, pattern) for text in (run.name, run.key))


class RunReader:
    """Reader of the runs of a store.

    Args:
        store: the store.
        progress: is told, once, of each folder or file that is damaged.
        live: for reading the same runs again and again, with their whole logs of events.
    """

    def __init__(self, store: registry.Store, progress: Progress = NO_PROGRESS, *, live: bool = False) -> None:
        self._store, self._progress, self._live = store, progress, live
        self._home = store.home / "runs"
        self._logs: dict[str, EventLog] = {}
        self._told: set[str] = set()
        self._stored: dict[str, list[registry.Entry]] | None = None

    def all_keys(self) -> Iterator[str]:
        """Yield the keys of all runs; those that have not begun are among them."""
        for before in ("", f"{_EXPERTS}/"):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for each in sorted((self._home / before).iterdir()):
                    if (each / run_files.RECIPE).is_file() or (each / run_files.CHECKPOINT).is_file():
                        yield f"{before}{each.name}"

    def is_held(self, key: str) -> bool:
        """Return whether a process works on a run."""
        return is_held(self._home / key / "lock")

    def read(self, key: str) -> Run | None:
        """Return a run; None if its recipe cannot be read, or there is none."""
        self._stored = None if self._live else self._stored
        folder = self._home / key
        try:
            values = run_files.read_json(folder / run_files.RECIPE)
            if values is None:
                raise registry.CorruptError(f"{folder} has no {run_files.RECIPE}.")
            if key.startswith(f"{_EXPERTS}/"):
                return self._pool(key, folder, PoolRecipe.from_dict(values))
            return self._set(key, folder, Recipe.from_dict(values))
        except registry.Error as error:
            self._tell(f"A run is left out: {error.message} Its folder is {folder}.")
        except OSError as error:
            self._tell(f"A run is left out: {folder} cannot be read ({error.strerror or error}).")
        return None

    def _set(self, key: str, folder: Path, recipe: Recipe) -> Run:
        held = self.is_held(key)  # before the record: a run that ends meanwhile has written it
        about = self._json(folder, run_files.RUN)
        source = self._json(folder, run_files.SOURCE)
        finished = self._json(folder, run_files.FINISHED)
        kept = self._description(folder / run_files.CHECKPOINT)
        end = FOLLOWED_BYTES if self._live else TAIL_BYTES
        log = self._logs.setdefault(key, EventLog(folder / run_files.EVENTS, end))
        with contextlib.suppress(OSError):
            log.read()
        last = log.last
        done, seconds = 0, 0.0
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if kept:
                done, seconds = steps_of(kept, recipe), float(kept["seconds"])
        # Steps of an earlier process that are in no checkpoint were lost.
        if last and (finished or (held and _time(folder / run_files.EVENTS) >= _time(folder / run_files.RECIPE))):
            done, seconds = max(done, last.step), max(seconds, last.seconds)
        total = _number(kept, "total") or (last.total if last else None) or _usual_total(recipe)
        state, reference = self._state(finished, held=held)
        speed = log.seconds_per_step() or (seconds / done if done else None)
        if finished:
            seconds, done = _number(finished, "seconds") or seconds, int(total or done)
            speed = seconds / done if done else None
        name = (about or {}).get("name") or (reference or recipe.set_name).partition(":")[0]
        return Run(
            key=key,
            kind="set",
            name=str(name),
            method=recipe.method,
            state=state,
            done=done if done or total else None,
            total=None if total is None else int(total),
            seconds=seconds,
            seconds_per_step=speed,
            figures=last.figures if last else {},
            written=_written(folder, finished=finished is not None),
            reference=reference,
            folder=folder,
            recipe=recipe,
            curve=tuple(log.curve()),
            source=source or {},
            mode=_mode(kept),
        )

    def _pool(self, key: str, folder: Path, recipe: PoolRecipe) -> Run:
        held, total = self.is_held(key), recipe.networks * recipe.epochs  # held: before the record, as of a set
        finished, about = self._json(folder, run_files.FINISHED), self._json(folder, run_files.RUN)
        networks = [folder / f"network-{index}.safetensors" for index in range(recipe.networks)]
        kept = [each for path in networks if (each := self._description(path))]
        done = sum(int(_number(each, "epoch") or 0) for each in kept)
        seconds = math.fsum(_number(each, "seconds") or 0.0 for each in kept)
        if not (finished or kept or held):
            finished = self._unrecorded(recipe)
        state, reference = self._state(finished, held=held)
        if finished:
            done, seconds = total, _number(finished, "seconds") or 0.0
        losses = [each["losses"] for each in kept if isinstance(each.get("losses"), list) and each["losses"]]
        curve = [float(loss) for loss in losses[-1] if isinstance(loss, int | float)] if losses else []
        return Run(
            key=key,
            kind="experts",
            name=str((about or {}).get("name") or (reference or recipe.pool_name).partition(":")[0]),
            method=_EXPERTS,
            state=state,
            done=done,
            total=total,
            seconds=seconds,
            seconds_per_step=seconds / done if done else None,
            figures={"loss": curve[-1]} if curve else {},
            written=_written(folder, finished=finished is not None),
            reference=reference,
            folder=folder,
            recipe=recipe,
            curve=tuple(curve),
            source=self._json(folder, run_files.SOURCE) or {},
            mode=_mode(kept[-1] if kept else None),
            workers=max(1, sum(is_held(folder / f".network-{index}") for index in range(recipe.networks))),
        )

    def _state(self, finished: Mapping[str, Any] | None, *, held: bool) -> tuple[State, str | None]:
        """Return the state of a run, and the reference of what it has made."""
        if finished is None:
            return ("running" if held else "stopped"), None
        known = [entry.reference for entry in self._entries().get(str(finished.get("digest")), ())]
        recorded = finished.get("reference")
        if not known:
            return "removed", None
        return "finished", str(recorded) if recorded in known else known[-1]

    def _unrecorded(self, recipe: PoolRecipe) -> dict[str, Any] | None:
        """Return what the record of a finished pool would say, of one that has none; None if the store has no pool."""
        for entry in (each for entries in self._entries().values() for each in entries):
            if entry.kind == registry.EXPERTS and tuple(entry.epochs) == recipe.keep:
                with contextlib.suppress(registry.Error):
                    manifest = self._store.read(entry.name, entry.version).manifest
                    if manifest.recipe == recipe.to_dict():
                        return {"digest": entry.digest, "seconds": manifest.provenance.get("seconds")}
        return None

    def _entries(self) -> dict[str, list[registry.Entry]]:
        """Return the versions in the store by their digests."""
        if self._stored is None:
            self._stored = {}
            for entry in self._store.entries()[0]:
                self._stored.setdefault(entry.digest, []).append(entry)
        return self._stored

    def _json(self, folder: Path, name: str) -> dict[str, Any] | None:
        """Return the content of a file that a run can do without; None if there is none, or it is damaged."""
        try:
            return run_files.read_json(folder / name)
        except registry.Error as error:
            self._tell(error.message)
        except OSError as error:
            self._tell(f"{folder / name} cannot be read ({error.strerror or error}).")
        return None

    def _description(self, path: Path) -> dict[str, Any] | None:
        try:
            return run_files.read_description(path)
        except registry.Error as error:
            self._tell(f"{error.message} To start over, use `fresh=True`, or remove it.")
        except OSError as error:
            self._tell(f"{path} cannot be read ({error.strerror or error}).")
        return None

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._progress.remark(text)


def _number(values: Mapping[str, Any] | None, name: str) -> float | None:
    """Return a number of a file that may have been edited; None without one."""
    value = (values or {}).get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _mode(about: Mapping[str, Any] | None) -> dict[str, Any]:
    mode = (about or {}).get("mode")
    return dict(mode) if isinstance(mode, dict) else {}


def _usual_total(recipe: Recipe) -> int | None:
    """Return the number of steps of a run that has not said it, by its settings; None if they do not say it."""
    settings = recipe.settings.values()
    if recipe.method not in BUILT_IN:
        return None
    total = settings.get("iterations", settings.get("epochs"))
    if total is None:
        return None
    return int(total) * (int(settings.get("inner_steps", 1)) if recipe.method in _INNER_STEPS else 1)


def _time(path: Path) -> float:
    """Return when a file was written; 0 without one."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _written(folder: Path, *, finished: bool) -> str:
    """Return when a run's progress was last written."""
    names = [run_files.FINISHED] if finished else [run_files.RECIPE, run_files.CHECKPOINT, run_files.EVENTS]
    times = [_time(folder / name) for name in names]
    times += [] if finished else [_time(path) for path in folder.glob("network-*.safetensors")]
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="milliseconds")
