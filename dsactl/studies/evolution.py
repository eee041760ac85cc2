"""Synthetic images while they are learned, from noise and from real images (Section 5.2, Figure 6).

Images are recorded at numbers of iterations that grow by a constant factor, since they change most at the start. The
recorded images are kept in the run's folder.

Shapes: K classes, I images per class, C, H, W.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.session import Session
from dsactl.errors import RunError
from dsactl.methods.gradient_matching.condense import initial
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, Job, prepare, run_folder
from dsactl.runs.run import execute, is_made, steps_done
from registry.pictures import png, to_pixels, to_uint8

Seen = dict[int, Tensor]
"""Recorded images K×I×C×H×W on the CPU, by number of iterations."""

_FRAMES, _COLUMNS = 24, 8  # maximum of an animation, and of a strip
_MILLISECONDS = 250  # per frame; the last one is shown eight times as long
_SEEN = "seen"  # folder of recorded images in the run's folder
_SIDE, _GAP, _LABEL, _NAMES = 48, 4, 14, 76  # pixels of a strip


def milestones(iterations: int) -> list[int]:
    """Return the numbers of iterations at which images are recorded: 0 to all, growing by a constant factor."""
    grown = {round(iterations ** (index / (_FRAMES - 2))) for index in range(_FRAMES - 1)}
    return sorted({0, *grown, iterations})


def is_watched(store: registry.Store, job: Job) -> bool:
    """Return whether a job's set is made and every milestone is recorded, so that nothing would be run."""
    folder = run_folder(store, job.recipe) / _SEEN
    seen = all(
        (folder / _file(number)).exists()
        for number in milestones(job.recipe.settings_as(GradientMatching).iterations)[1:]
    )
    return seen and is_made(store, job)


def recorded(run: Path) -> Seen:
    """Return the images that were recorded in a run's folder, from iteration 1 on, without damaged ones."""
    seen: Seen = {}
    for path in sorted((run / _SEEN).glob("*.safetensors")):
        with contextlib.suppress(OSError, ValueError, KeyError, RunError):
            images = read_checkpoint(path.read_bytes(), path, torch.device("cpu"))[0]["images"]
            seen |= {int(path.stem): images} if images.dim() == 5 else {}
    return seen


def watch_condensing(
    request: Request,
    session: Session,
) -> tuple[Job, Seen]:
    """Condense, and record the images of every milestone; a run that was finished without recording is repeated.

    Args:
        request: of Algorithm 1.
        session: has the store of the set, and of the run with the recorded images.

    Raises:
        dsactl.Error, KeyboardInterrupt: see `cells.make_one`.
        RunError: see `cells.make_one`; or recorded images are damaged.
    """
    job = prepare(request, session.device).within(STUDIES)
    folder = run_folder(session.store, job.recipe) / _SEEN
    wanted = milestones(job.recipe.settings_as(GradientMatching).iterations)
    start = initial(job.dataset, job.recipe).images_KICHW.cpu()

    def path(iteration: int) -> Path:
        return folder / _file(iteration)

    def watch(done: int, tensors: Mapping[str, Tensor]) -> None:
        iteration, step = divmod(done, job.recipe.settings_as(GradientMatching).inner_steps)
        if step == 0 and iteration in wanted:
            save_checkpoint(path(iteration), {"images": tensors["images"]}, {"iteration": iteration})

    unseen = [iteration for iteration in wanted[1:] if not path(iteration).exists()]
    # A run that has passed a milestone without recording it is repeated from the start, with the same bits.
    passed = steps_done(session.store, job) / job.recipe.settings_as(GradientMatching).inner_steps
    execute(job, session, fresh=any(iteration <= passed for iteration in unseen), watch=watch)
    seen: Seen = {0: start}
    for iteration in wanted[1:]:
        data = path(iteration).read_bytes()
        seen[iteration] = read_checkpoint(data, path(iteration), torch.device("cpu"))[0]["images"]
    return job, seen


def strip(seen: Mapping[int, Tensor], real: Dataset, labels: Sequence[int]) -> bytes:
    """Draw the first images of some classes as a PNG: a row for each class, a column for each number of iterations.

    Args:
        seen: the recorded images.
        real: the dataset, for its normalisation.
        labels: the classes.
    """
    numbers = sorted(seen)
    places = np.linspace(0, len(numbers) - 1, min(_COLUMNS, len(numbers))).round().astype(int)
    chosen = [numbers[place] for place in dict.fromkeys(places.tolist())]
    size = (_NAMES + len(chosen) * (_SIDE + _GAP), _LABEL + len(labels) * (_SIDE + _GAP) + _GAP)
    whole = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(whole)
    pen.text((_GAP, 2), "iterations", fill="black")
    for row, label in enumerate(labels):
        middle = _LABEL + row * (_SIDE + _GAP) + _SIDE / 2
        pen.text((_GAP, middle), real.class_names[label][:11], fill="black", anchor="lm")
    for column, number in enumerate(chosen):
        left = _NAMES + column * (_SIDE + _GAP)
        pen.text((left + _SIDE / 2, 2), str(number), fill="black", anchor="ma")
        for row, label in enumerate(labels):
            whole.paste(_tile(_levels(seen[number][label, :1], real)[0]), (left, _LABEL + row * (_SIDE + _GAP)))
    return png(np.asarray(whole))


def animation(seen: Mapping[int, Tensor], real: Dataset) -> bytes:
    """Draw the first image of every class over the iterations, as an animated WebP that ends on the finished set.

    Args:
        seen: the recorded images.
        real: the dataset, for its normalisation.
    """
    frames = []
    for number in sorted(seen):
        levels_KHWC = _levels(seen[number][:, 0], real)
        columns = -(-len(levels_KHWC) // (1 if len(levels_KHWC) < 4 else 2))
        rows = -(-len(levels_KHWC) // columns)
        frame = Image.new("RGB", (columns * (_SIDE + _GAP) + _GAP, _LABEL + rows * (_SIDE + _GAP) + _GAP), "white")
        ImageDraw.Draw(frame).text((_GAP, 2), f"{number} iterations", fill="black")
        for index, levels_HWC in enumerate(levels_KHWC):
            row, column = divmod(index, columns)
            frame.paste(_tile(levels_HWC), (_GAP + column * (_SIDE + _GAP), _LABEL + row * (_SIDE + _GAP)))
        frames.append(frame)
    buffer = io.BytesIO()
    durations = [_MILLISECONDS] * (len(frames) - 1) + [8 * _MILLISECONDS]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, lossless=True)
    return buffer.getvalue()


def _file(iteration: int) -> str:
    return f"{iteration:06d}.safetensors"


def _levels(images_NCHW: Tensor, real: Dataset) -> npt.NDArray[np.uint8]:
    """Convert images to 8-bit RGB, N×H×W×3."""
    levels_NHWC, _ = to_uint8(to_pixels(images_NCHW.numpy(), list(real.mean), list(real.std)))
    return np.repeat(levels_NHWC, 3, axis=3) if levels_NHWC.shape[3] == 1 else levels_NHWC


def _tile(levels_HWC: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(levels_HWC).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
