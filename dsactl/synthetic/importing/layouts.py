"""Layouts of the files of the authors' program and its relatives.

    {"data": [[images, labels], …], "accs_all_exps": …}    DC, DSA, DM: one pair per experiment
    [images, labels]                                       IDC's data.pt, whose images are pixels
    {"images": …, "labels": …}, {"data": …, "targets": …}  also as npz, or safetensors of other programs
    [(image, label), …]                                    a data set of torch as a list
    images                                                 MTT, which has a second file for the labels

Shapes: N images, C channels, H, W, K classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsactl.errors import DataError
from dsactl.synthetic.importing.pickle_reader import NumpyArray
from dsactl.text.formatting import many

IMAGE_KEYS = ("images", "image", "data", "x", "image_syn", "images_train", "arr_0")
LABEL_KEYS = ("labels", "label", "targets", "target", "y", "label_syn", "labels_train", "arr_1")
SOFT_KEYS = ("soft_labels", "soft_label")
FACTOR_KEYS = ("formation", "factor")
MAX_EXPERIMENTS = 1000
_AUTHORS_NAME = re.compile(r"res_([A-Za-z0-9]+)_([A-Za-z0-9]+)_([A-Za-z0-9]+)_([0-9]{1,5})ipc\.pt")


@dataclass(frozen=True)
class FileName:
    """Contents of the authors' file names, in this program's terms.

    Attributes:
        method, dataset, arch, ipc: "dsa", "cifar10", "convnet", 10 for res_DSA_CIFAR10_ConvNet_10ipc.pt.
    """

    method: str
    dataset: str
    arch: str
    ipc: int


def parse_file_name(name: str) -> FileName | None:
    """Parse a file's name; None if it is not one of the authors'."""
    found = _AUTHORS_NAME.fullmatch(name)
    if found is None:
        return None
    method, dataset, arch, ipc = found.groups()
    return FileName(method.lower(), dataset.lower(), arch.lower(), int(ipc))


@dataclass(frozen=True)
class Experiment:
    """One set in a file, unchecked: any tensors.

    Attributes:
        images: of any shape and type.
        labels: of any shape and type; None if the file has none.
        soft_labels: distributions beside the labels, if there are any.
    """

    images: Tensor
    labels: Tensor | None
    soft_labels: Tensor | None = None


def experiments(content: Any, where: str) -> list[Experiment]:
    """Return the sets in the content of a file.

    Args:
        content: as returned by `contents.read_content`.
        where: the file's name, for the error message.

    Raises:
        DataError: it is of another layout, or has more than `MAX_EXPERIMENTS`.
    """
    lone = to_tensor(content)
    if lone is not None:
        return [Experiment(lone, None)]
    found = _experiments(content)
    if not found:
        what, hint = _something_else(content)
        raise DataError(f"{where} has {what}; expected images and labels.", hint)
    if len(found) > MAX_EXPERIMENTS:
        raise DataError(
            f"{where} has {len(found):,} experiments; the limit is {MAX_EXPERIMENTS:,}.",
            "Save fewer of them in a file.",
        )
    return found


def lone_labels(content: Any, where: str) -> Tensor:
    """Return the labels in the content of a file of their own.

    Raises:
        DataError: they cannot be found.
    """
    labels = to_tensor(content)
    if labels is None and isinstance(content, dict):
        labels = _first(content, LABEL_KEYS)
    if labels is None:
        raise DataError(f"{where} has {describe(content)}; expected labels.", "Save them as torch.save(labels, FILE).")
    return labels


def sorted_labels(count: int, classes: int, where: str) -> Tensor:
    """Return labels for images without any: those are taken as sorted by class, with equally many of each.

    Raises:
        DataError: there cannot be equally many.
    """
    if count == 0 or count % classes:
        raise DataError(
            f"{where} has {many(count, 'image')} without labels, for {classes} classes.",
            "Give the file with the labels as `labels`.",
        )
    return torch.arange(classes).repeat_interleave(count // classes)


def factor(content: Any) -> int | None:
    """Return IDC's factor, if the content says one."""
    if not isinstance(content, dict):
        return None
    said = next((content[key] for key in FACTOR_KEYS if key in content), None)
    return said if type(said) is int and said > 0 else None


def to_tensor(value: Any) -> Tensor | None:
    """Return a tensor, an array, a list of numbers, or a list of images of one shape, as a tensor; None for others."""
    match value:
        case Tensor():
            return value
        case NumpyArray():
            return value.tensor
        case np.ndarray() if value.dtype.kind in "fiub":
            return torch.from_numpy(value)
        case list() | tuple() if value and all(type(each) in (int, float, bool) for each in value):
            try:
                return torch.tensor(value)
            except (OverflowError, RuntimeError):
                return None
        case list() | tuple() if value and all(isinstance(each, Tensor) and each.dim() == 3 for each in value):
            return torch.stack(list(value)) if len({each.shape for each in value}) == 1 else None
    return None


def _experiments(content: Any, *, nested: bool = False) -> list[Experiment]:
    if isinstance(content, dict):
        images, labels = _first(content, IMAGE_KEYS), _first(content, LABEL_KEYS)
        soft = _first(content, SOFT_KEYS)
        if images is not None:
            return [Experiment(images, labels, soft)]
        # One level only: a pickle can put a dict into itself.
        found = [] if nested else _experiments(content.get("data"), nested=True)
        return [replace(found[0], soft_labels=soft)] if len(found) == 1 else found
    if not isinstance(content, list | tuple):
        return []
    pair = _pair(content)
    if pair is not None:
        return [pair]
    if content and all(map(_is_sample, content)):
        return [Experiment(torch.stack([image for image, _ in content]), torch.tensor([label for _, label in content]))]
    pairs = [_pair(each) for each in content]
    return [each for each in pairs if each is not None] if None not in pairs else []


def _first(content: dict[Any, Any], keys: Sequence[str]) -> Tensor | None:
    return next((to_tensor(content[key]) for key in keys if key in content), None)


def _pair(content: Any) -> Experiment | None:
    if not isinstance(content, list | tuple) or len(content) != 2:
        return None
    images, labels = map(to_tensor, content)
    return None if images is None or labels is None else Experiment(images, labels)


def _is_sample(content: Any) -> bool:
    """Return whether this is an image C×H×W and its class, as data sets of torch give them."""
    return (
        isinstance(content, list | tuple)
        and len(content) == 2
        and isinstance(content[0], Tensor)
        and content[0].dim() == 3
        and type(content[1]) is int
        and abs(content[1]) < 2**31
    )


def describe(content: Any) -> str:
    """Describe the content for an error message: its type, and the elements of a dict, list or tuple."""
    if isinstance(content, dict):
        return f"a dict of {', '.join(f'{key!s:.40}' for key in list(content)[:8]) or 'nothing'}"
    if isinstance(content, list | tuple):
        kinds = ", ".join(type(each).__name__ for each in content[:4])
        return f"a {type(content).__name__} of {len(content)} ({kinds})"
    return f"a {type(content).__name__}"


def _something_else(content: Any) -> tuple[str, str]:
    """Return what the content of a file is that has no set, and what to do."""
    if isinstance(content, dict):
        names = {str(key).lower() for key in content}
        if any("state_dict" in name for name in names) or names & {"model", "net", "network"}:
            return f"{describe(content)}: a checkpoint of a network or run", "Give the file with the images."
        if "param_groups" in names:
            return f"{describe(content)}: the state of an optimiser", "Give the file with the images."
        if content and all(isinstance(value, Tensor) and "." in str(key) for key, value in content.items()):
            return f"{describe(content)}: the parameters of a network", "Give the file with the images."
    return (
        describe(content),
        "Save them as torch.save([images, labels], FILE), images N×C×H×W, labels N integers.",
    )
