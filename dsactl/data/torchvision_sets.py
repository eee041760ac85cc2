"""Datasets read and downloaded by torchvision."""

import contextlib
import io
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from dsactl.data.catalogue import CATALOGUE, data_root, missing_files
from dsactl.data.dataset import Dataset, ImageSet, channel_statistics
from dsactl.errors import DataError
from registry.errors import StoreError
from registry.locks import acquire

# Exceptions that torchvision and its readers raise on damaged files.
_DAMAGE = (RuntimeError, ValueError, AssertionError, OSError, EOFError, KeyError, IndexError, TypeError, ImportError)
_ARCHIVES = {"cifar10": ("cifar-10-python.tar.gz",), "cifar100": ("cifar-100-python.tar.gz",)}
"""Archives that torchvision unpacks if they are in the data folder."""
_SILENCE_SECONDS = 60.0  # after which a server counts as dead


def _open(name: str, root: Path, *, train: bool, download: bool = False) -> Any:
    """Open one split of a dataset in a folder."""
    match name:
        case "svhn":
            return datasets.SVHN(str(root), "train" if train else "test", download=download)
        case "mnist" | "fashionmnist" | "cifar10" | "cifar100" | "usps":
            kind = {
                "mnist": datasets.MNIST,
                "fashionmnist": datasets.FashionMNIST,
                "cifar10": datasets.CIFAR10,
                "cifar100": datasets.CIFAR100,
                "usps": datasets.USPS,
            }[name]
            return kind(str(root), train=train, download=download)
        case _:
            raise AssertionError(f"{name} is in the catalogue and cannot be read")


def load_torchvision(name: str) -> Dataset:
    """Read a dataset of the catalogue from the data folder; download it first if it is missing.

    Raises:
        DataError: it is missing and cannot be downloaded, or its files are damaged.
    """
    if missing_files(name):
        _download(name)
    entry = CATALOGUE[name]
    try:
        opened = [_open(name, data_root(), train=train) for train in (True, False)]
        splits = [_tensors(split, entry.channels) for split in opened]
    except _DAMAGE as error:
        raise _damaged(name, str(error)) from error
    for images_NCHW, labels_N in splits:
        if tuple(images_NCHW.shape[1:]) != (entry.channels, *entry.size) or len(images_NCHW) != len(labels_N):
            raise _damaged(name, f"images of {tuple(images_NCHW.shape)} with {len(labels_N)} labels")
        if not len(labels_N) or labels_N.min() < 0 or labels_N.max() >= entry.classes:
            raise _damaged(name, f"labels outside of 0 … {entry.classes - 1}")
    train, test = (ImageSet.from_tensors(*tensors, entry.classes) for tensors in splits)
    measured = (entry.mean, entry.std) if entry.mean and entry.std else channel_statistics(train.images_NCHW)
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


def _download(name: str) -> None:
    """Download a dataset, unless another process does.

    It is downloaded and unpacked in a folder beside its place, and its files are moved there when they are complete.

    Raises:
        DataError: it cannot be downloaded, or the data folder cannot be written to.
    """
    root, entry = data_root(), CATALOGUE[name]
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = acquire(root / f".{name}.lock").lock
    except StoreError as error:
        raise DataError(error.message, "Set DSACTL_DATA to a folder on another file system.") from error
    except OSError as error:
        raise DataError(
            f"{entry.title} is not on this machine, and {root} cannot be written to: {error.strerror or error}.",
            "Set DSACTL_DATA to the folder that has it, or to one that you can write to.",
        ) from error
    try:
        if missing_files(name):  # another process may have downloaded it in the meantime
            _download_to(root / f".{name}.part", name)
    except Exception as error:
        missing = missing_files(name)
        if not missing:
            raise _damaged(name, str(error)) from error
        packed = " (packed as .gz will do)" if entry.files[0].endswith("-ubyte") else ""
        packed += "".join(f" (or {root / archive})" for archive in _ARCHIVES.get(name, ()))
        raise DataError(
            f"{entry.title} is not on this machine and could not be downloaded ({_reason(error)}).",
            f"Get it from {entry.page} and put {_listing(missing)} there{packed}, "
            "or set DSACTL_DATA to the folder that has it.",
        ) from error
    finally:
        shutil.rmtree(root / f".{name}.part", ignore_errors=True)
        lock.release()


def _download_to(part: Path, name: str) -> None:
    """Download a dataset to an empty folder, and move its files from there to the data folder."""
    root, files = data_root(), CATALOGUE[name].files
    shutil.rmtree(part, ignore_errors=True)  # left behind by a process that was killed
    part.mkdir()
    for file in (*files, *(f"{file}.gz" for file in files), *_ARCHIVES.get(name, ())):
        if (root / file).is_file():
            (part / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / file, part / file)
    seconds = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        with _reporting(CATALOGUE[name].title):
            for train in (True, False):
                _open(name, part, train=train, download=True)
    finally:
        socket.setdefaulttimeout(seconds)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (part / file).replace(root / file)


def _reason(error: Exception) -> str:
    """Return what an exception says: of several lines, such as the mirrors that were tried, the first and the last."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0].rstrip(':')}: {lines[-1]}"


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
