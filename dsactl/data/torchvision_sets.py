"""Datasets read and downloaded by torchvision."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from dsactl.data.catalogue import CATALOGUE, data_root, missing_files
from dsactl.data.dataset import Dataset, ImageSet, measure
from dsactl.errors import DataError

# Exceptions that torchvision and its readers raise on damaged files.
_DAMAGE = (RuntimeError, ValueError, AssertionError, OSError, EOFError, KeyError, IndexError, TypeError, ImportError)


def _opener(name: str) -> Callable[[bool, bool], Any]:
    """Return a function of (train, download) that opens one split."""
    root = str(data_root())
    match name:
        case "svhn":
            return lambda train, download: datasets.SVHN(root, "train" if train else "test", download=download)
        case "mnist" | "fashionmnist" | "cifar10" | "cifar100" | "usps":
            kind = {
                "mnist": datasets.MNIST,
                "fashionmnist": datasets.FashionMNIST,
                "cifar10": datasets.CIFAR10,
                "cifar100": datasets.CIFAR100,
                "usps": datasets.USPS,
            }[name]
            return lambda train, download: kind(root, train=train, download=download)
        case _:
            raise AssertionError(f"{name} is in the catalogue and cannot be read")


def load_torchvision(name: str) -> Dataset:
    """Read a dataset of the catalogue from the data folder; download it first if it is missing.

    Raises:
        DataError: it is missing and cannot be downloaded, or its files are damaged.
    """
    open_split = _opener(name)
    if missing_files(name):
        _download(name, open_split)
    entry = CATALOGUE[name]
    try:
        opened = [open_split(train, False) for train in (True, False)]
        splits = [_tensors(split, entry.channels) for split in opened]
    except _DAMAGE as error:
        raise _damaged(name, str(error)) from error
    for images_NCHW, labels_N in splits:
        if tuple(images_NCHW.shape[1:]) != (entry.channels, *entry.size) or len(images_NCHW) != len(labels_N):
            raise _damaged(name, f"images of {tuple(images_NCHW.shape)} with {len(labels_N)} labels")
        if not len(labels_N) or labels_N.min() < 0 or labels_N.max() >= entry.classes:
            raise _damaged(name, f"labels outside of 0 … {entry.classes - 1}")
    train, test = (ImageSet.from_tensors(*tensors, entry.classes) for tensors in splits)
    measured = (entry.mean, entry.std) if entry.mean and entry.std else measure(train.images_NCHW)
    class_names = getattr(opened[0], "classes", None) or [str(label) for label in range(entry.classes)]
    return Dataset(name, _short(class_names), *measured, entry.mirrored, train, test)


def _short(class_names: list[str]) -> tuple[str, ...]:
    """Shorten MNIST's "0 - zero" to "0"."""
    return tuple(name.split(" - ")[0] for name in class_names)


def _tensors(split: Any, channels: int) -> tuple[Tensor, Tensor]:
    """Return the images N×C×H×W uint8 and labels of an opened torchvision dataset, for any layout of its `data`."""
    images = torch.from_numpy(np.ascontiguousarray(split.data))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == channels:
        images = images.permute(0, 3, 1, 2)
    labels = split.targets if hasattr(split, "targets") else split.labels
    return images.to(torch.uint8), torch.as_tensor(np.asarray(labels)).long()


def _download(name: str, open_split: Callable[[bool, bool], Any]) -> None:
    try:
        with _reporting(CATALOGUE[name].title):
            for train in (True, False):
                open_split(train, True)
    except Exception as error:
        missing = missing_files(name)
        if not missing:
            raise _damaged(name, str(error)) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{CATALOGUE[name].title} is not on this machine and could not be downloaded ({reason}).",
            f"Get it from {CATALOGUE[name].page} and put {_listing(missing)} there, "
            "or set DSACTL_DATA to the folder that has it.",
        ) from error


class _OneLine(io.StringIO):
    """A stream that answers the first text with a line on another stream, and drops all text."""

    def __init__(self, line: str, stream: TextIO) -> None:
        super().__init__()
        self._line, self._stream = line, stream

    def write(self, text: str) -> int:
        self._stream.write(self._line)
        self._line = ""
        return len(text)


@contextlib.contextmanager
def _reporting(title: str) -> Iterator[None]:
    """Let torchvision show its bars on a terminal; elsewhere, only say that the download has begun.

    Nothing is shown if TQDM_DISABLE is set, and nothing goes to the standard output, which is for results.
    """
    shown: TextIO = sys.stderr
    silent = os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    if silent or not shown.isatty():
        shown = _OneLine("" if silent else f"Downloading {title} to {data_root()}.\n", shown)
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        yield


def _listing(paths: list[Any]) -> str:
    return ", ".join(str(path) for path in paths)


def _damaged(name: str, reason: str) -> DataError:
    reason = reason.strip().splitlines()[0] if reason.strip() else "unreadable"
    files = _listing([data_root() / file for file in CATALOGUE[name].files])
    return DataError(
        f"The files of {CATALOGUE[name].title} are damaged or incomplete ({reason}).",
        f"Delete them and start again, or replace them: {files}",
    )
