"""One sitting of a run of a method other than Algorithm 1: from what it kept last, or the beginning, to its set.

A method says after each step what it needs to go on (`Work.keep`). That is written to the run's checkpoint now and
then, and whenever the method ends before its time.
"""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode, difference
from dsactl.engine.native import library
from dsactl.errors import RunError, is_want_of_memory
from dsactl.methods.work import Made, Work
from dsactl.recipes.methods import find
from dsactl.runs.job import Job
from dsactl.runs.sitting import CHECKPOINT, CHECKPOINT_SECONDS, Progress, environment
from registry.errors import Error


class _Kept(Work):
    """Work whose checkpoint is a file.

    Attributes:
        environments: it was done in.
        from_report: what `report` raised, if it did.
    """

    def __init__(self, path: Path, job: Job, every: float, report: Callable[[Progress], None]) -> None:
        super().__init__(job.dataset, job.recipe)
        self._path, self._every, self._report = path, every, report
        self._mode = Mode(job.device.type, native=job.device.type == "cpu" and library() is not None)
        self._tensors: Mapping[str, Tensor] = {}
        self._done, self._saved, self._earlier, self._began = 0, time.monotonic(), 0.0, time.monotonic()
        self.environments: list[str] = []
        self.from_report: Exception | None = None
        if path.exists():
            self._tensors = self._read()
        self.environments = list(dict.fromkeys([*self.environments, environment(job)]))

    @property
    def seconds(self) -> float:
        """Of work, earlier sittings included."""
        return self._earlier + time.monotonic() - self._began

    def resume(self) -> dict[str, Tensor]:
        return _copies(self._tensors)

    def keep(
        self, done: int, total: int, tensors: Mapping[str, Tensor], *, loss: float | None = None, doing: str = ""
    ) -> None:
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name!r} is to be kept, and is no tensor but of type {type(tensor).__name__}")
        self._done, self._tensors = done, _copies(tensors)
        said = doing if loss is None else f"loss {loss:.3f}, {doing}" if doing else f"loss {loss:.3f}"
        if time.monotonic() - self._saved >= self._every:
            self.save()
        try:
            self._report(Progress(done, total, done, None, self.seconds, said))
        except Exception as error:
            self.from_report = error
            raise

    def save(self) -> None:
        """Write the checkpoint, if there is something to keep."""
        if self._tensors:
            about = {
                "done": self._done,
                "seconds": self.seconds,
                "mode": self._mode.to_dict(),
                "environments": self.environments,
            }
            save_checkpoint(self._path, self._tensors, about)
            self._saved = time.monotonic()

    def _read(self) -> dict[str, Tensor]:
        tensors, about = read_checkpoint(self._path.read_bytes(), self._path, self.device)
        again = f"use dsactl condense with --fresh, or remove {self._path}."
        try:
            begun = Mode.from_dict(about["mode"])
            self._done, self._earlier = int(about["done"]), float(about["seconds"])
            self.environments = list(map(str, about["environments"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"The checkpoint {self._path} is damaged ({error!r}).", f"To start over, {again}") from error
        way_out = difference(begun, self.device, processes=1)
        if way_out is None and begun.native != self._mode.native:
            way_out = "set DSACTL_NATIVE=0"
        if way_out is not None:
            raise RunError(
                f"The run was begun on {begun} and cannot go on on {self._mode} to the same bits.",
                f"To go on, {way_out}; to start over, {again}",
            )
        return tensors


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What stays as it is, whatever is done in place to the tensors."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def make(
    folder: Path,
    job: Job,
    *,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Made, float, list[str]]:
    """Run a method to its end.

    Args:
        folder: the run's.
        job: of any method but those that run Algorithm 1.
        checkpoint_every: seconds between checkpoints, at least.
        report: called after every step that the method tells of.

    Returns:
        The set, the seconds of work, earlier sittings included, and the environments it was made in.

    Raises:
        RunError: the checkpoint is damaged or of another device; the method gave what is no set; or it is of another
            package, and failed.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    if job.device.type == "cpu":
        keep_freed_memory()
    work, method = _Kept(folder / CHECKPOINT, job, checkpoint_every, report), find(job.recipe.method)
    try:
        made = method.load()(work)
    except RunError:
        raise  # what diverged is not worth keeping
    except BaseException as error:
        work.save()
        if method.function is not None and error is not work.from_report and _is_a_fault(error):
            raise RunError(
                f"The method {job.recipe.method!r} failed: {_in_words(error)}, at {_place(error)}.",
                "That is to be mended in its package; DSACTL_DEBUG=1 shows the traceback.",
            ) from error
        raise
    return _checked(made, job), work.seconds, work.environments


def _is_a_fault(error: BaseException) -> bool:
    """Whether an exception is one that nobody raised on purpose, and no want of memory."""
    return isinstance(error, Exception) and not isinstance(error, Error) and not is_want_of_memory(error)


def _in_words(error: BaseException) -> str:
    """The type, and the first line of the message if there is one."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _place(error: BaseException) -> str:
    """FILE:LINE where an exception was raised; of what torch or this program raised, where that was called."""
    frames = list(traceback.walk_tb(error.__traceback__))
    theirs = [(frame, line) for frame, line in frames if _package(frame.f_globals) not in ("torch", "dsactl")]
    frame, line = (theirs or frames)[-1]
    return f"{frame.f_code.co_filename}:{line}"


def _package(names: Mapping[str, object]) -> str:
    return str(names.get("__name__")).partition(".")[0]


def _checked(made: object, job: Job) -> Made:
    """What a method gave, if it is a set, whoever wrote the method.

    Raises:
        RunError: says what is wrong.
    """
    dataset, who = job.dataset, f"The method {job.recipe.method!r}"
    if not isinstance(made, Made):
        raise RunError(f"{who} gave an object of type {type(made).__name__}, not Made.", "See docs/methods.md.")
    images, labels, soft = made.images_NCHW, made.labels_N, made.soft_labels_NK
    for what, tensor in (("images", images), ("labels", labels), ("soft labels", soft)):
        if not isinstance(tensor, Tensor) and (tensor is not None or what != "soft labels"):
            raise RunError(f"{who} made {what} of type {type(tensor).__name__}, not Tensor.")
    if images.ndim != 4 or images.shape[1:] != (dataset.channels, *dataset.size):
        raise RunError(f"{who} made images of shape {tuple(images.shape)}, not N×{dataset.channels}×H×W as they are.")
    if not torch.isfinite(images).all():
        raise RunError(f"{who} made images that are not finite.", "Try smaller learning rates.")
    if labels.shape != images.shape[:1]:
        raise RunError(f"{who} made {len(images)} images and {labels.numel()} labels.")
    if labels.dtype != torch.int64 or not len(labels) or labels.min() < 0 or (labels.diff() < 0).any():
        raise RunError(f"{who} made labels that are not int64, from 0 on, ascending.")
    counts = torch.bincount(labels.cpu(), minlength=dataset.classes)
    if len(counts) > dataset.classes:
        raise RunError(f"{who} made a label {int(labels.max())} of {dataset.classes} classes.")
    if counts.max() > job.recipe.ipc:
        raise RunError(f"{who} made {int(counts.max())} images of a class, not {job.recipe.ipc}.")
    if counts.min() == 0:
        without = dataset.class_names[int(counts.argmin())]
        raise RunError(f"{who} made no image of class {without!r}; each has one at least.")
    if soft is not None:
        if soft.shape != (len(images), dataset.classes):
            raise RunError(f"{who} made soft labels of shape {tuple(soft.shape)}, not images × classes.")
        if soft.min() < 0 or not torch.allclose(soft.sum(1), torch.ones_like(soft[:, 0]), atol=1e-4):
            raise RunError(f"{who} made soft labels that do not sum to one.")
    try:
        json.dumps(dict(made.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{who} gave a provenance that cannot be written down ({error}).") from None
    return made
