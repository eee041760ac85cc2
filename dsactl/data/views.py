"""Dataset views: resize, change channels, select classes, or hold out a validation split.

A view follows the dataset's name after an "@" and is part of the name from then on, so that sets made from it are found
under that name:

    mnist@3x32x32               grey images of 28×28, resized to 32×32 with three channels
    cifar10@classes0-1          the first two classes
    mnist@3x32x32@classes5-9    both, applied from left to right
    mnist@validation            nine tenths of the training images, tested on the last tenth: for choosing settings

Importing this does not import torch until a view is applied.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dsactl.errors import UsageError
from dsactl.text.formatting import many

if TYPE_CHECKING:
    from torch import Tensor

    from dsactl.data.dataset import Dataset, ImageSet

MARK = "@"
MIN_SIDE, MAX_SIDE = 4, 1024  # pixels
_SHAPE = re.compile(r"(\d{1,4})x(\d{1,4})x(\d{1,4})", re.ASCII)
_CLASSES = re.compile(r"classes(\d{1,6})-(\d{1,6})", re.ASCII)
_LAST = re.compile(rf"{MARK}(?:{_SHAPE.pattern}|{_CLASSES.pattern}|validation)\Z", re.ASCII)
_CHUNK = 2000  # images resized at once
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Shape:
    """A view of images as C×H×W."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class Classes:
    """A view of the classes first … last, counted from 0."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"classes{self.first}-{self.last}"


@dataclass(frozen=True)
class Validation:
    """A view with a tenth of the training images in place of the test images (`parts.hold_out`)."""

    def __str__(self) -> str:
        return "validation"


View = Shape | Classes | Validation


def split_name(name: str) -> tuple[str, tuple[View, ...]]:
    """Split a name into the name without views, and the views.

    Raises:
        UsageError: text after an "@" that is neither a view nor part of a folder's name; or a view of one class.
    """
    base = base_name(name)
    if MARK in base and not Path(base).is_dir():
        raise UsageError(
            f"{name}: {MARK}{base.rpartition(MARK)[2]} is not a view of a dataset.",
            f"Views: {MARK}3x32x32 (channels, height, width), {MARK}classes0-4 and {MARK}validation.",
        )
    return base, tuple(_parse(text, name) for text in name[len(base) :].split(MARK)[1:])


def base_name(name: str) -> str:
    """Return the name without its views; a folder's own name may contain an "@" and even look like a view."""
    while (found := _LAST.search(name)) and not Path(name).is_dir():
        name = name[: found.start()]
    return name


def with_views(name: str, *views: View) -> str:
    """Return the name of a view, or of several views applied in turn."""
    return MARK.join([name, *map(str, views)])


def take(dataset: "Dataset", views: tuple[View, ...]) -> "Dataset":
    """Apply views to a dataset; the result's name includes them.

    Mean and standard deviation are those of the dataset; for another size, and for grey images made of coloured ones,
    they are measured on the training images. The views' counts are appended to a folder's remark.

    Raises:
        UsageError: a view does not fit the dataset.
    """
    read = dataset.remark
    for view in views:
        match view:
            case Shape():
                seen = _of_shape(dataset, view)
            case Classes():
                seen = _of_classes(dataset, view)
            case Validation():
                from dsactl.data.parts import hold_out

                seen = hold_out(dataset)
        dataset = replace(seen, name=with_views(dataset.name, view))
    if not read or not views:
        return dataset
    tested = many(len(dataset.test), "test image", ",")
    counts = f"{dataset.classes} classes, {len(dataset.train):,} training and {tested}"
    return replace(dataset, remark=f"{read} Viewed as {dataset.name}: {counts}.")


def _parse(text: str, name: str) -> View:
    shape, classes = _SHAPE.fullmatch(text), _CLASSES.fullmatch(text)
    if shape:
        view = Shape(*map(int, shape.groups()))
        sides = (view.height, view.width)
        if view.channels not in (1, 3) or min(sides) < MIN_SIDE or max(sides) > MAX_SIDE:
            raise UsageError(f"{name}: images must have 1 or 3 channels and sides of {MIN_SIDE} … {MAX_SIDE} pixels.")
        return view
    if classes:
        part = Classes(*map(int, classes.groups()))
        if part.first == part.last:
            raise UsageError(f"{name}: nothing can be learned from one class.", f"Take two, e.g. {MARK}classes0-1.")
        return part
    return Validation()


def _of_shape(dataset: "Dataset", shape: Shape) -> "Dataset":
    from dsactl.data.dataset import channel_statistics

    size = (shape.height, shape.width)
    train, test = (_reshaped(images, shape) for images in (dataset.train, dataset.test))
    if size != dataset.size:
        mean, std = channel_statistics(train.images_NCHW)
    elif shape.channels == dataset.channels:
        mean, std = dataset.mean, dataset.std
    elif shape.channels == 3:
        mean, std = dataset.mean * 3, dataset.std * 3
    else:
        mean, std = channel_statistics(train.images_NCHW)
    return replace(dataset, train=train, test=test, mean=mean, std=std)


def _reshaped(images: "ImageSet", shape: Shape) -> "ImageSet":
    import torch

    chunks = [_pixels(chunk_NCHW, shape) for chunk_NCHW in torch.split(images.images_NCHW, _CHUNK)]
    return replace(images, images_NCHW=torch.cat(chunks))


def _pixels(images_NCHW: "Tensor", shape: Shape) -> "Tensor":
    """Convert uint8 images to a shape: bilinear resizing, antialiased when shrinking."""
    import torch
    from torch.nn import functional as F

    size, channels = (shape.height, shape.width), images_NCHW.shape[1]
    if channels == 3 and shape.channels == 1:
        weights = torch.tensor(_LUMA, device=images_NCHW.device).view(1, 3, 1, 1)
        images_NCHW = (images_NCHW * weights).sum(1, keepdim=True).round().clamp(0, 255).byte()
    if tuple(images_NCHW.shape[2:]) != size:
        smooth_NCHW = F.interpolate(images_NCHW.float(), size, mode="bilinear", align_corners=False, antialias=True)
        images_NCHW = smooth_NCHW.round().clamp(0, 255).byte()
    return images_NCHW.expand(-1, shape.channels, -1, -1).contiguous()


def _of_classes(dataset: "Dataset", classes: Classes) -> "Dataset":
    if not classes.first <= classes.last < dataset.classes:
        raise UsageError(
            f"{dataset.name} has the classes 0 … {dataset.classes - 1}, not {classes.first} … {classes.last}."
        )
    wanted = slice(classes.first, classes.last + 1)
    train, test = (_part(images, classes) for images in (dataset.train, dataset.test))
    return replace(dataset, class_names=dataset.class_names[wanted], train=train, test=test)


def _part(images: "ImageSet", classes: Classes) -> "ImageSet":
    counts = images.counts[classes.first : classes.last + 1]
    first = images.starts[classes.first]
    wanted = slice(first, first + sum(counts))
    return replace(
        images,
        images_NCHW=images.images_NCHW[wanted].clone(),  # a slice would keep all images in memory
        labels_N=images.labels_N[wanted] - classes.first,
        counts=counts,
    )
