"""Checks of the set that a method returns."""

import json
from typing import NoReturn

import torch
from torch import Tensor

from dsactl.errors import RunError
from dsactl.methods.work import CondensedSet
from dsactl.runs.job import Job
from dsactl.synthetic.importing.spaces import MAX_EXCESS
from dsactl.text.formatting import many


def checked(made: object, job: Job) -> CondensedSet:
    """Check that a method, of dsactl or of another package, returned a valid set.

    Raises:
        RunError: the set is not valid; the hint says what the method should return.
    """
    dataset, ipc = job.dataset, job.recipe.ipc
    shape = "×".join(map(str, (dataset.channels, *dataset.size)))

    def refuse(fault: str, hint: str) -> NoReturn:
        raise RunError(f"The method {job.recipe.method!r} {fault}.", hint)

    if not isinstance(made, CondensedSet):
        kind = type(made).__name__
        refuse(f"returned an object of type {kind}, not CondensedSet", "Return a CondensedSet; see docs/methods.md.")
    images, labels, soft = made.images_NCHW, made.labels_N, made.soft_labels_NK
    for what, tensor in (("images", images), ("labels", labels), ("soft labels", soft)):
        if not isinstance(tensor, Tensor) and (tensor is not None or what != "soft labels"):
            refuse(f"made {what} of type {type(tensor).__name__}, not Tensor", f"Return the {what} as a torch.Tensor.")
    if images.ndim != 4 or images.shape[1:] != (dataset.channels, *dataset.size):
        refuse(
            f"made images of shape {tuple(images.shape)}, not N×{shape}",
            f"Return one tensor of all images, for example `torch.stack(images)` where each image is {shape}.",
        )
    if not torch.isfinite(images).all():
        refuse("made images that are not finite", "Try smaller learning rates.")
    if labels.shape != images.shape[:1]:
        refuse(
            f"made {many(len(images), 'image')} and {many(labels.numel(), 'label')}", "Return one label for each image."
        )
    if labels.dtype != torch.int64 or not len(labels) or labels.min() < 0 or (labels.diff() < 0).any():
        refuse(
            "made labels that are not int64, not negative, and in ascending order",
            "Return the images sorted by class; labels of ipc images of every class are `work.dataset.labels(ipc)`.",
        )
    counts = torch.bincount(labels.cpu(), minlength=dataset.classes)
    if len(counts) > dataset.classes:
        refuse(
            f"made a label {int(labels.max())}, and there are {dataset.classes} classes",
            f"Return labels from 0 to {dataset.classes - 1}.",
        )
    if counts.max() > ipc:
        refuse(
            f"made {many(int(counts.max()), 'image')} of a class, more than `ipc={ipc}`",
            "Return at most `work.recipe.ipc` images of each class.",
        )
    if counts.min() == 0:
        without = dataset.class_names[int(counts.argmin())]
        refuse(
            f"made no image of class {without!r}; each class needs at least one",
            f"Return images of all {dataset.classes} classes.",
        )
    if soft is not None:
        if soft.shape != (len(images), dataset.classes):
            refuse(
                f"made soft labels of shape {tuple(soft.shape)}, not images × classes",
                f"Return {dataset.classes} probabilities for each of the {len(images)} images.",
            )
        if soft.min() < 0 or not torch.allclose(soft.sum(1), torch.ones_like(soft[:, 0]), atol=1e-4):
            refuse("made soft labels that do not sum to one", "Return probabilities, for example `logits.softmax(1)`.")
    try:
        json.dumps(dict(made.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        fault = f"returned a provenance that cannot be written as JSON ({error})"
        refuse(fault, "Return finite numbers, texts, lists and dicts; instead of a tensor, `tensor.tolist()`.")
    return made


def doubt_of_range(made: CondensedSet, job: Job) -> str:
    """Return a sentence on images whose values are far from those of the dataset, and the way out; empty otherwise.

    The bound is that of an import, `MAX_EXCESS`: ten times the range of the dataset's pixels, 0 … 1, beyond it. That is
    33 standard deviations of MNIST and 40 of CIFAR10; images learned with the paper's settings leave 0 … 1 by about
    one, and have values of up to 7 standard deviations.
    """
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (job.dataset.mean, job.dataset.std))
    pixels_NCHW = made.images_NCHW.detach().cpu().double() * std + mean
    least, most = pixels_NCHW.min().item(), pixels_NCHW.max().item()
    if least >= -MAX_EXCESS and most <= 1 + MAX_EXCESS:
        return ""
    lr = job.recipe.settings.values().get("image_lr")
    way_out = "Use smaller learning rates." if lr is None else f"Use a smaller `image_lr` than {lr:g}."
    return f"its pixels are {least:.3g} … {most:.3g}, and those of {job.dataset.name} are 0 … 1. {way_out}"
