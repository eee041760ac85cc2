"""Logs of runs for TensorBoard: figures, images as they become, and the recipe.

A run has a folder of its own in the folder that the user gives, `NAME-DIGEST` with the first letters of its recipe's
digest, which a resumed run continues.
"""

import contextlib
import io
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dsactl.data.paths import expand
from dsactl.engine.progress import NO_FIGURES, ForwardedProgress
from dsactl.engine.session import Session
from dsactl.errors import UsageError
from dsactl.runs.job import Job
from dsactl.runs.runner import EVENT_SECONDS, Watch
from dsactl.synthetic.decoding import decoded
from registry.extras import require
from registry.pictures import grid_png

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

GRIDS = 20
"""The number of times in a run that its images are written, besides the first step."""
_SECONDS = EVENT_SECONDS / 2
"""Between two steps whose figures are written; methods that must compute them do so once in `EVENT_SECONDS`."""
_POSITIONS = ("iteration",)
"""Figures that say where a run is, rather than how it goes."""


def check_log_dir(log_dir: str | Path | None) -> Path | None:
    """Check, before long work, that TensorBoard's files can be written; the folder is created.

    Args:
        log_dir: the folder; None for no log.

    Raises:
        MissingPackageError: the package tensorboard is not installed.
        DataError: there is no such user as in ~USER.
        UsageError: the folder cannot be written to.
    """
    if log_dir is None:
        return None
    require("`log_dir`", "tensorboard", "tensorboard")
    folder = expand(str(log_dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except FileExistsError:
        raise UsageError(f"{folder} is not a folder.", "Give another folder as `log_dir`.") from None
    except OSError as error:
        raise UsageError(
            f"Cannot write to {folder}: {error.strerror or error}.", "Give another folder as `log_dir`."
        ) from error
    if not writable:
        raise UsageError(f"Cannot write to {folder}.", "Give another folder as `log_dir`.")
    return folder


@contextlib.contextmanager
def logged(log_dir: Path | None, job: Job, session: Session) -> Iterator[tuple[Session, Watch]]:
    """Log a run in a block; of a set that is only looked up, a remark says that nothing is written.

    Args:
        log_dir: see `check_log_dir`; None for no log.
        job: of the run.
        session: of the run.

    Yields:
        The session, and the function, to run the job with.
    """
    if log_dir is None:
        yield session, lambda done, tensors: None
        return
    log = _Log(log_dir / f"{job.name}-{job.recipe.digest()[:8]}", job, session)
    with _no_traceback_of_writers():
        try:
            yield replace(session, progress=log), log.watch
            if not log.has_steps:
                session.progress.remark(f"No log in {log_dir}: there was no step to make.")
        finally:
            log.close()


@contextlib.contextmanager
def _no_traceback_of_writers() -> Iterator[None]:
    """Let TensorBoard's thread that writes files print no traceback; its error reaches who adds to the log."""
    usual = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not (isinstance(failed.exc_value, OSError) and type(failed.thread).__module__.startswith("tensorboard.")):
            usual(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual


class _Log(ForwardedProgress):
    """A meter that writes what it is told after each step, and passes everything on.

    A log that cannot be written ends with a remark; the run goes on.

    Args:
        folder: of the run.
        job, session: of the run.

    Attributes:
        has_steps: whether it was told of a step.
    """

    def __init__(self, folder: Path, job: Job, session: Session) -> None:
        super().__init__(session.progress)
        self._folder, self._job = folder, job
        self._writer: SummaryWriter | None = None
        self._broken = False
        self._kept: Mapping[str, Tensor] | None = None
        self._figures = NO_FIGURES
        self._before: tuple[int, float] | None = None
        self._next_grid = 0.0
        self.has_steps = False

    def watch(self, done: int, tensors: Mapping[str, Tensor]) -> None:  # noqa: ARG002
        """Take the tensors of a step, which are valid until `update` returns."""
        self._kept = tensors

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        if self._kept is not None and not self._broken:
            self.has_steps = True
            try:
                self._write(int(done), total, self._kept, figures)
            except OSError as error:
                self._end(error)
        self._kept = None
        super().update(done, total, doing, figures)

    def close(self) -> None:
        """Write what is left, and close the files."""
        if self._writer is not None:
            try:
                self._writer.flush()  # closing does not raise what the writing thread met
            except OSError as error:
                self._end(error)
            with contextlib.suppress(OSError):
                self._writer.close()

    def _end(self, error: OSError) -> None:
        """Write no more, and say why, once."""
        if not self._broken:
            self._broken = True
            self.remark(f"The log in {self._folder} ends here: {error.strerror or error}.")

    def _write(self, done: int, total: float, tensors: Mapping[str, Tensor], figures: Mapping[str, float]) -> None:
        """Write the figures of a step if it has new ones, and the images if it is time."""
        now, before = time.monotonic(), self._before
        # Of steps without figures, the meter is told the last ones again.
        fresh = figures is not self._figures and (before is None or now - before[1] >= _SECONDS or done >= total)
        self._figures = figures
        grid = done >= min(self._next_grid, total)
        if not (fresh or grid):
            return
        writer = self._opened(done)
        if fresh:
            for name, value in figures.items():
                if name not in _POSITIONS:
                    writer.add_scalar(name, value, done)
            if before is not None and done > before[0]:
                writer.add_scalar("seconds per step", (now - before[1]) / (done - before[0]), done)
        if grid:
            self._next_grid = done + total / GRIDS
            self._draw(writer, done, tensors)
        if fresh:
            self._before = done, time.monotonic()  # what writing took is not counted

    def _opened(self, done: int) -> "SummaryWriter":
        """Return the writer; later steps of an earlier process are no longer shown, since they are made again."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=done)
            recipe = json.dumps(self._job.recipe.to_dict(), indent=1, ensure_ascii=False)
            self._writer.add_text("recipe", "\n".join(f"    {line}" for line in recipe.splitlines()), done)
        return self._writer

    def _draw(self, writer: "SummaryWriter", done: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the images as a grid, decoded; nothing for a method that does not keep them as `images`."""
        from PIL import Image

        dataset, recipe = self._job.dataset, self._job.recipe
        images, labels_N = tensors.get("images"), dataset.labels(recipe.ipc).cpu()
        shape = (dataset.channels, *dataset.size)
        if images is None or images.shape[-3:] != shape or images.numel() != len(labels_N) * math.prod(shape):
            return
        stored_NCHW = images.detach().float().cpu().reshape(-1, *shape)
        seen = decoded({"images": stored_NCHW, "labels": labels_N}, recipe)
        png = grid_png(seen["images"].numpy(), seen["labels"].numpy(), dataset.mean, dataset.std)
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        writer.add_image("images", pixels, done, dataformats="HWC")
