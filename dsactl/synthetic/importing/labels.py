"""Labels of sets that other programs made: class numbers, one-hot rows, distributions or logits.

Shapes: N images, K classes.
"""

import torch
from torch import Tensor

from dsactl.errors import DataError, UsageError
from dsactl.text.formatting import many

_TOLERANCE = 1e-3
_HALF_TOLERANCE = 2e-2
"""Tolerance of the sum of a distribution; that of numbers of 16 bits."""


def to_labels(
    labels: Tensor, count: int, classes: int, where: str, *, logits: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the class of each image, and its distribution over the classes if the labels are soft.

    Logits are only taken as such if the caller says so: regression targets (KIP's) look alike, and a softmax would
    flatten those without a word.

    Args:
        labels: class numbers, N or N×1, as integers or whole floats; or N×K, one-hot rows or distributions.
        count: N.
        classes: K.
        where: the file's name, for the error message.
        logits: the labels are logits, N×K, whose softmax is the distribution.

    Returns:
        Classes N int64: for soft labels, the most likely ones; and None or N×K float32.

    Raises:
        DataError: they are none of these, or do not fit the images or the classes.
        UsageError: `logits` for labels that are not.
    """
    shape = "×".join(map(str, labels.shape)) or "one number"
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.dim() not in (1, 2):
        raise DataError(
            f"{where}: the labels are {shape}, and should be N class numbers, or N×{classes}.", "Save labels.flatten()."
        )
    if len(labels) != count:
        raise DataError(f"{where}: {many(count, 'image')} and {many(len(labels), 'label')}.")
    if not labels.isfinite().all():
        raise DataError(f"{where}: some labels are not finite numbers.")
    if labels.dim() == 1:
        if logits:
            raise UsageError(f"{where}: the labels are class numbers, not logits.", "Leave `logits` out.")
        return _class_numbers(labels, classes, where), None
    if labels.shape[1] != classes:
        raise DataError(
            f"{where}: the labels have {labels.shape[1]} numbers per image, and the dataset has {classes} classes.",
            "Are they of another dataset? Give that as `dataset`.",
        )
    return _rows(labels, where, logits=logits)


def _class_numbers(labels_N: Tensor, classes: int, where: str) -> Tensor:
    numbers_N = labels_N.long()
    if labels_N.is_floating_point() and not torch.equal(numbers_N.to(labels_N.dtype), labels_N):
        raise DataError(
            f"{where}: the labels are fractions, such as {labels_N[numbers_N != labels_N][0]:.3g}.",
            "Save the class numbers: labels.long(), or N×K distributions.",
        )
    least, most = int(numbers_N.min()), int(numbers_N.max())
    if least < 0 or most >= classes:
        counted = "Are they counted from 1? Save labels - 1." if least >= 1 and most == classes else ""
        hint = counted or "Are they of another dataset? Give that as `dataset`."
        raise DataError(f"{where}: labels {least} … {most}, for the classes 0 … {classes - 1}.", hint)
    return numbers_N


def _rows(labels_NK: Tensor, where: str, *, logits: bool) -> tuple[Tensor, Tensor | None]:
    exact_NK = labels_NK.double()
    sums_N = exact_NK.sum(1)
    tolerance = _HALF_TOLERANCE if labels_NK.dtype in (torch.float16, torch.bfloat16) else _TOLERANCE
    distributions = bool(exact_NK.min() >= 0) and bool((sums_N - 1).abs().max() <= tolerance)
    if logits:
        if distributions:
            raise UsageError(f"{where}: the labels are distributions already.", "Leave `logits` out.")
        soft_NK = exact_NK.softmax(1).float()
        return soft_NK.argmax(1), soft_NK
    if not distributions:
        raise DataError(
            f"{where}: the labels are neither classes nor distributions: the rows sum to {sums_N.min():.3g} … "
            f"{sums_N.max():.3g}, with values of {exact_NK.min():.3g} … {exact_NK.max():.3g}.",
            "Add `logits=True` if they are logits; else save the classes, labels.argmax(1).",
        )
    classes_N = exact_NK.argmax(1)
    if bool(((exact_NK == 0) | (exact_NK == 1)).all()):
        return classes_N, None
    if labels_NK.dtype == torch.float32:
        return classes_N, labels_NK.detach()
    return classes_N, (exact_NK / sums_N.unsqueeze(1)).float()
