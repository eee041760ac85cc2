"""Layouts of the `.pt` files of the authors' program and its relatives.

    {"data": [[images, labels], …], "accs_all_exps": …}    DC, DSA, DM: one pair per experiment
    [images, labels]                                       IDC's data.pt, whose images are pixels
    {"images": …, "labels": …}, {"data": …, "targets": …}
    images                                                 MTT, which has a second file for the labels

Shapes: N images, C channels, H, W, K classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsactl.errors import DataError, UsageError
from dsactl.synthetic.importing.torch_files import load
from dsactl.text.formatting import many

IMAGE_KEYS, LABEL_KEYS = ("images", "image", "data"), ("labels", "label", "targets")
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
    """One set in a file.

    Attributes:
        images_NCHW: float32, finite, in the file's space.
        labels_N: int64, ascending.
    """

    images_NCHW: Tensor
    labels_N: Tensor


def read(path: Path, classes: int, labels: Path | None = None) -> list[tuple[Any, Any]]:
    """Read the pairs of images and labels in a file, one per experiment, unchecked (see `to_experiment`).

    Args:
        path: the file.
        classes: K, for images without labels: those are taken as sorted by class, with equally many of each.
        labels: the file with the labels of a file that has only images.

    Raises:
        registry.RegistryError: no file, or too large.
        DataError: not a torch.save file, or of another layout.
        UsageError: `labels` for a file with its own labels.
    """
    content = load(path)
    if isinstance(content, Tensor):
        return [(content, _lone_labels(content, classes, path) if labels is None else load(labels))]
    if labels is not None:
        raise UsageError(f"{path} has labels of its own.", "Leave `labels` out.")
    pairs = _pairs(content)
    if not pairs:
        raise DataError(
            f"{path} has {_describe(content)}; expected images and labels.",
            "Save them as torch.save([images, labels], FILE), images float N×C×H×W, labels N integers.",
        )
    return pairs


def _lone_labels(images: Tensor, classes: int, path: Path) -> Tensor:
    count = images.shape[0] if images.dim() else 0
    if count == 0 or count % classes:
        raise DataError(
            f"{path} has {many(count, 'image')} without labels, for {classes} classes.",
            "Give the file with the labels as `labels`.",
        )
    return torch.arange(classes).repeat_interleave(count // classes)


def _pairs(content: Any) -> list[tuple[Any, Any]]:
    if isinstance(content, dict):
        images, labels = (_first(content, keys) for keys in (IMAGE_KEYS, LABEL_KEYS))
        if isinstance(images, Tensor) and labels is not None:
            return [(images, labels)]
        content = content.get("data")
    if not isinstance(content, list | tuple):
        return []
    if _is_pair(content):
        return [(content[0], content[1])]
    return [(each[0], each[1]) for each in content] if all(map(_is_pair, content)) else []


def _first(content: dict[Any, Any], keys: Sequence[str]) -> Any:
    return next((content[key] for key in keys if key in content), None)


def _is_pair(content: Any) -> bool:
    return isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(each, Tensor) for each in content)


def _describe(content: Any) -> str:
    """Describe the content for an error message: its type, and the elements of a dict, list or tuple."""
    if isinstance(content, dict):
        return f"a dict of {', '.join(f'{key!s:.40}' for key in list(content)[:8]) or 'nothing'}"
    if isinstance(content, list | tuple):
        kinds = ", ".join(type(each).__name__ for each in content[:4])
        return f"a {type(content).__name__} of {len(content)} ({kinds})"
    return f"a {type(content).__name__}"


def to_experiment(images: Any, labels: Any, classes: int, shape: tuple[int, int, int], where: str) -> Experiment:
    """Check one pair of a file and sort it by class.

    Args:
        images, labels: as returned by `read`.
        classes: K.
        shape: (C, H, W) of the dataset's images.
        where: the file's name, for the error message.

    Raises:
        DataError: images that are not floats N×C×H×W of this shape, or not finite; labels that are not N integers in
            0 … K − 1.
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not len(images):
        raise DataError(f"{where}: the images are {_shape(images)}, and should be N×C×H×W.")
    if not images.is_floating_point():
        raise DataError(
            f"{where}: the images are {_dtype(images)}, and should be floats.", "Save images.float() / 255."
        )
    if tuple(images.shape[1:]) != shape:
        raise DataError(
            f"{where}: the images are {_shape(images)}, those of the dataset {'×'.join(map(str, shape))}.",
            "Are they of another dataset? Give that as `dataset`.",
        )
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dim() != 1:
        soft = isinstance(labels, Tensor) and labels.dim() == 2
        raise DataError(
            f"{where}: the labels are {_shape(labels)} {_dtype(labels)}, and should be N integers.",
            "Soft labels are not supported." if soft else "Save labels.long().",
        )
    if len(labels) != len(images):
        raise DataError(f"{where}: {many(len(images), 'image')} and {many(len(labels), 'label')}.")
    labels_N = labels.long()
    if labels_N.min() < 0 or labels_N.max() >= classes:
        raise DataError(f"{where}: labels {labels_N.min()} … {labels_N.max()}, for the classes 0 … {classes - 1}.")
    order = torch.argsort(labels_N, stable=True)
    images_NCHW = images.detach()[order].float()
    if not images_NCHW.isfinite().all():
        raise DataError(f"{where}: some pixels are not finite numbers.")
    return Experiment(images_NCHW.contiguous(), labels_N[order])


def _shape(value: Any) -> str:
    return "×".join(map(str, value.shape)) or "one number" if isinstance(value, Tensor) else type(value).__name__


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else ""
