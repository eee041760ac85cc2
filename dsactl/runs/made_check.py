"""The check of the set that a method returns."""

import json

import torch
from torch import Tensor

from dsactl.errors import RunError
from dsactl.methods.work import Made
from dsactl.runs.job import Job


def checked(made: object, job: Job) -> Made:
    """Check that a method, of dsactl or of another package, returned a valid set.

    Raises:
        RunError: the set is not valid.
    """
    dataset, who = job.dataset, f"The method {job.recipe.method!r}"
    if not isinstance(made, Made):
        raise RunError(f"{who} returned an object of type {type(made).__name__}, not Made.", "See docs/methods.md.")
    images, labels, soft = made.images_NCHW, made.labels_N, made.soft_labels_NK
    for what, tensor in (("images", images), ("labels", labels), ("soft labels", soft)):
        if not isinstance(tensor, Tensor) and (tensor is not None or what != "soft labels"):
            raise RunError(f"{who} made {what} of type {type(tensor).__name__}, not Tensor.")
    if images.ndim != 4 or images.shape[1:] != (dataset.channels, *dataset.size):
        shape = "×".join(map(str, (dataset.channels, *dataset.size)))
        raise RunError(f"{who} made images of shape {tuple(images.shape)}, not N×{shape}.")
    if not torch.isfinite(images).all():
        raise RunError(f"{who} made images that are not finite.", "Try smaller learning rates.")
    if labels.shape != images.shape[:1]:
        raise RunError(f"{who} made {len(images)} images and {labels.numel()} labels.")
    if labels.dtype != torch.int64 or not len(labels) or labels.min() < 0 or (labels.diff() < 0).any():
        raise RunError(f"{who} made labels that are not int64, not negative, and in ascending order.")
    counts = torch.bincount(labels.cpu(), minlength=dataset.classes)
    if len(counts) > dataset.classes:
        raise RunError(f"{who} made a label {int(labels.max())}, and there are {dataset.classes} classes.")
    if counts.max() > job.recipe.ipc:
        raise RunError(f"{who} made {int(counts.max())} images of a class, more than `ipc={job.recipe.ipc}`.")
    if counts.min() == 0:
        without = dataset.class_names[int(counts.argmin())]
        raise RunError(f"{who} made no image of class {without!r}; each class needs at least one.")
    if soft is not None:
        if soft.shape != (len(images), dataset.classes):
            raise RunError(f"{who} made soft labels of shape {tuple(soft.shape)}, not images × classes.")
        if soft.min() < 0 or not torch.allclose(soft.sum(1), torch.ones_like(soft[:, 0]), atol=1e-4):
            raise RunError(f"{who} made soft labels that do not sum to one.")
    try:
        json.dumps(dict(made.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{who} returned a provenance that cannot be written as JSON ({error}).") from None
    return made
