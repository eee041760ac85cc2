"""One sitting of a run of a method other than Algorithm 1: from what it kept last, or the beginning, to its set.

A method says after each step what it needs to go on (`Work.keep`). That is written to the run's checkpoint now and
then, and whenever the method ends before its time.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.native import library
from dsactl.errors import RunError
from dsactl.jobs import Job
from dsactl.methods.catalogue import find
from dsactl.methods.work import Made, Work
from dsactl.sitting import CHECKPOINT, CHECKPOINT_SECONDS, Progress, environment


class _Kept(Work):
    """Work whose checkpoint is a file."""

    def __init__(self, path: Path, job: Job, every: float, report: Callable[[Progress], None]) -> None:
        super().__init__(job.dataset, job.recipe)
        self._path, self._every, self._report = path, every, report
        native = job.device.type == "cpu" and library() is not None
        self._where = f"{describe(job.device)}{', native layers' if native else ''}"
        self._tensors: Mapping[str, Tensor] = {}
        self._done, self._saved, self._earlier, self._began = 0, time.monotonic(), 0.0, time.monotonic()
        self.environments: list[str] = []
        if path.exists():
            self._tensors = self._read()
        self.environments = list(dict.fromkeys([*self.environments, environment(job)]))

    @property
    def seconds(self) -> float:
        """Of work, earlier sittings included."""
        return self._earlier + time.monotonic() - self._began

    def resume(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    def keep(
        self, done: int, total: int, tensors: Mapping[str, Tensor], *, loss: float | None = None, doing: str = ""
    ) -> None:
        self._done, self._tensors = done, tensors
        said = doing if loss is None else f"loss {loss:.3f}, {doing}" if doing else f"loss {loss:.3f}"
        if time.monotonic() - self._saved >= self._every:
            self.save()
        self._report(Progress(done, total, done, None, self.seconds, said))

    def save(self) -> None:
        """Write the checkpoint, if there is something to keep."""
        if self._tensors:
            about = {
                "done": self._done,
                "seconds": self.seconds,
                "device": self._where,
                "environments": self.environments,
            }
            save_checkpoint(self._path, self._tensors, about)
            self._saved = time.monotonic()

    def _read(self) -> dict[str, Tensor]:
        tensors, about = read_checkpoint(self._path.read_bytes(), self._path, self.device)
        if about.get("device") != self._where:
            raise RunError(
                f"The run was begun on {about.get('device')} and cannot go on on {self._where} to the same bits.",
                "Choose that one with --device, or start over with --fresh.",
            )
        try:
            self._done, self._earlier = int(about["done"]), float(about["seconds"])
            self.environments = list(map(str, about["environments"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The checkpoint {self._path} is damaged ({error!r}).", "Start over with --fresh."
            ) from error
        return tensors


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
        RunError: the checkpoint is damaged or of another device; or the method gave what is no set.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    prepare_device(job.device)
    if job.device.type == "cpu":
        keep_freed_memory()
    work = _Kept(folder / CHECKPOINT, job, checkpoint_every, report)
    try:
        made: Made = find(job.recipe.method).load()(work)
    except RunError:
        raise  # what diverged is not worth keeping
    except BaseException:
        work.save()
        raise
    _check(made, job)
    return made, work.seconds, work.environments


def _check(made: Made, job: Job) -> None:
    """Refuse what is no set, whoever wrote the method.

    Raises:
        RunError: says what is wrong.
    """
    dataset, who = job.dataset, f"The method {job.recipe.method!r}"
    images, labels, soft = made.images_NCHW, made.labels_N, made.soft_labels_NK
    if images.ndim != 4 or images.shape[1:] != (dataset.channels, *dataset.size):
        raise RunError(f"{who} made images of shape {tuple(images.shape)}, not N×{dataset.channels}×H×W as they are.")
    if not torch.isfinite(images).all():
        raise RunError(f"{who} made images that are not finite.", "Try smaller learning rates.")
    fits = labels.dtype == torch.int64 and labels.shape == images.shape[:1] and len(labels) > 0
    if not fits or labels.min() < 0 or (labels.diff() < 0).any():
        raise RunError(f"{who} made labels that are not one for each image, ascending.")
    counts = torch.bincount(labels.cpu(), minlength=dataset.classes)
    if len(counts) > dataset.classes:
        raise RunError(f"{who} made a label {int(labels.max())} of {dataset.classes} classes.")
    if counts.max() > job.recipe.ipc:
        raise RunError(f"{who} made {int(counts.max())} images of a class, not {job.recipe.ipc}.")
    if soft is not None:
        if soft.shape != (len(images), dataset.classes):
            raise RunError(f"{who} made soft labels of shape {tuple(soft.shape)}, not images × classes.")
        if soft.min() < 0 or not torch.allclose(soft.sum(1), torch.ones_like(soft[:, 0]), atol=1e-4):
            raise RunError(f"{who} made soft labels that do not sum to one.")
    try:
        json.dumps(dict(made.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{who} gave a provenance that cannot be written down ({error}).") from None
