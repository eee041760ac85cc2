"""Image folders: `train/CLASS/*.png` with `test/CLASS/*.png`, or class folders alone.

`layout` finds the files, `pictures` decodes them.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from dsactl.data.catalogue import keeps_mirrored
from dsactl.data.dataset import Dataset, ImageSet, channel_statistics
from dsactl.data.layout import Files, Layout, folder_name, in_numbers, read_layout
from dsactl.data.paths import check_folder
from dsactl.data.pictures import READ, Header, Size, read_header, read_picture
from dsactl.data.views import MAX_SIDE
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.engine.random import generator
from dsactl.errors import DataError, UsageError
from dsactl.text.formatting import many

DEFAULT_TEST_FRACTION = 0.2
MAX_PIXELS = MAX_SIDE**2
"""Larger images must be resized; ours."""
FEW_LEVELS = 64
"""Images of 16 bits that use no more of the 256 levels than this are probably of 10 to 14 bits; ours."""


def load_folder(
    folder: Path,
    *,
    image_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    as_before: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Dataset:
    """Read a folder with one sub-folder per class.

    Colour is kept if any image has it, else all are grey; of 16 bits the upper eight are kept. Images of one size keep
    it; `image_size` makes them square: the shorter side is resized to it and the centre is cropped. Mean and standard
    deviation are measured on the training images. Files and folders whose name starts with "." are skipped, as are
    files with the extension of no format that Pillow decodes. The headers of all files are read before any is decoded.

    Args:
        folder: contains `train` and `test` (or `val`), or the class folders (see `layout.read_layout`).
        image_size: side in pixels; required if the images differ in size, or have more than `MAX_PIXELS`.
        test_fraction: share of every class held out for testing if there is no `test` folder; default 0.2 (ours).
        split_seed: seed of that split; independent of a run's seed, so that runs can be compared.
        as_before: read it as dsactl 0.1 did, for sets that were made then: classes in alphabetical order even if they
            are numbers, files of ten extensions only, images of any size.
        progress: the meter, which counts images.

    Raises:
        DataError: no folder, no classes, no images, an unreadable or unsuitable image (by name), different sizes.
        UsageError: `test_fraction` for a folder with its own `test`.
    """
    check_folder(folder)
    layout = read_layout(folder, as_before=as_before)
    if len(layout.train) < 2:
        raise DataError(
            f"{folder} has {len(layout.train)} class; condensing needs at least two.", " ".join(layout.notes)
        )
    if layout.test is None:
        train, test = _draw_split(layout.train, test_fraction or DEFAULT_TEST_FRACTION, split_seed)
    elif test_fraction is None:
        train, test = layout.train, layout.test
    else:
        raise UsageError(f"{folder} has a {layout.test_name} folder of its own.", "Leave `test_fraction` out.")
    paths = [list(chain.from_iterable(files.values())) for files in (train, test)]
    size = _common_size(
        folder, sorted(paths[0] + paths[1]), image_size, most=None if as_before else MAX_PIXELS, progress=progress
    )
    reader = _Reader(size, image_size, sum(map(len, paths)), progress)
    images = [reader.read(each) for each in paths]
    channels = max(each_NCHW.shape[1] for each_NCHW in images)
    images = [each_NCHW.expand(-1, channels, -1, -1).contiguous() for each_NCHW in images]
    read = _image_set(images[0], train), _image_set(images[1], test)
    mean, std = channel_statistics(images[0])
    remark = " ".join([*_summary(folder, layout, *read), *_doubts(*read, reader.peak)])
    class_names = tuple(train)
    return Dataset(folder_name(folder), class_names, mean, std, keeps_mirrored(class_names), *read, remark)


def _image_set(images_NCHW: Tensor, files: Files) -> ImageSet:
    counts = tuple(map(len, files.values()))
    return ImageSet(images_NCHW, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), counts)


def _summary(folder: Path, layout: Layout, train: ImageSet, test: ImageSet) -> list[str]:
    """Return sentences on what was read, and on what was skipped."""
    said = [f"{folder}: {len(train.counts)} classes, {len(train):,} training and {many(len(test), 'test image', ',')}."]
    said += layout.notes
    if layout.skipped:
        said.append(f"Skipped: {in_numbers(layout.skipped)}. {READ}")
    return said


def _doubts(train: ImageSet, test: ImageSet, peak: int) -> list[str]:
    """Return sentences on images that are probably not as they should be."""
    said = []
    if peak and (peak >> 8) < FEW_LEVELS:
        said.append(
            f"The largest value of the images of 16 bits is {peak:,}: {(peak >> 8) + 1} of 256 levels are used. "
            "If they have fewer bits, scale them to 0 … 65,535."
        )
    known = {_hash(image_CHW) for image_CHW in train.images_NCHW}
    repeated = sum(_hash(image_CHW) in known for image_CHW in test.images_NCHW)
    if repeated:
        equal = "equals" if repeated == 1 else "equal"
        said.append(
            f"{repeated:,} of the {many(len(test), 'test image', ',')} {equal} a training image, so that accuracies "
            "are too high."
        )
    return said


def _hash(image_CHW: Tensor) -> bytes:
    return hashlib.sha1(image_CHW.numpy().data, usedforsecurity=False).digest()


def _draw_split(classes: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    """Hold out a share of every class for testing: at least one image, and never all."""
    if single := [name for name, pictures in classes.items() if len(pictures) < 2]:
        raise DataError(
            f"{_listed(single)} only one image; a class needs one for training and one for testing.",
            "Add images, remove the class, or give test images of your own: train/CLASS/… and test/CLASS/…",
        )
    train: Files = {}
    test: Files = {}
    for label, (name, pictures) in enumerate(classes.items()):
        kept = min(len(pictures) - 1, max(1, round(fraction * len(pictures))))
        order = torch.randperm(len(pictures), generator=generator(seed, "test-split", label)).tolist()
        test[name] = [pictures[index] for index in sorted(order[:kept])]
        train[name] = [pictures[index] for index in sorted(order[kept:])]
    return train, test


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"Class {names[0]!r} has"
    more = ", …" if len(names) > 3 else ""
    return f"{len(names)} classes ({', '.join(map(repr, names[:3]))}{more}) have"


def _common_size(
    folder: Path, paths: Sequence[Path], image_size: int | None, *, most: int | None, progress: Progress
) -> Size:
    """Return the width and height that all images will have, by their headers.

    Args:
        folder: for messages.
        paths: all images.
        image_size: see `load_folder`.
        most: largest number of pixels of an image that is not resized; None for any.
        progress: see `load_folder`.

    Raises:
        DataError: files cannot be read; the images differ in size or are too large; all together need more memory than
            this machine has.
    """
    headers: list[Header] = []
    faults: list[DataError] = []
    for index, path in enumerate(paths):
        try:
            headers.append(read_header(path))
        except DataError as error:
            faults.append(error)
        progress.update(0, len(paths), f"reading the header of image {index + 1} of {len(paths)}")
    if faults:
        more = len(faults) - 1
        others = f" ({more} more file{'s' if more > 1 else ''} cannot be read.)" if more else ""
        raise DataError(faults[0].message + others, faults[0].hint)
    sizes = Counter(header.size for header in headers)
    (width, height), _ = sizes.most_common(1)[0]
    if image_size is not None:
        width = height = image_size
    elif len(sizes) > 1:
        odd = next(path for path, header in zip(paths, headers, strict=True) if header.size != (width, height))
        raise DataError(
            f"The images differ in size: most are {width}×{height} pixels, {odd} is not.",
            "Bring them to one size with `image_size`.",
        )
    elif most is not None and width * height > most:
        raise DataError(
            f"The images of {folder} have {width}×{height} pixels, more than {MAX_SIDE}×{MAX_SIDE}.",
            "Make them smaller with `image_size`, for example `image_size=64`.",
        )
    need = len(paths) * max(header.channels for header in headers) * width * height
    if need > (there := _memory()):
        raise DataError(
            f"{len(paths):,} images of {width}×{height} pixels need {need / 2**30:,.1f} GiB of memory; "
            f"this machine has {there / 2**30:,.1f} GiB.",
            "Make them smaller with `image_size`.",
        )
    return width, height


def _memory() -> float:
    """Return the bytes of memory of this machine; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


class _Reader:
    """Decodes images one by one into one tensor.

    Attributes:
        peak: the largest value of the images of 16 bits; 0 without such images.
    """

    def __init__(self, size: Size, image_size: int | None, total: int, progress: Progress) -> None:
        self._size, self._image_size, self._total, self._progress = size, image_size, total, progress
        self._done = self.peak = 0

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Return images as uint8 N×C×H×W, with one channel if all are grey.

        Raises:
            DataError: one cannot be read.
        """
        width, height = self._size
        images_NCHW = torch.empty(len(paths), 1, height, width, dtype=torch.uint8)
        for index, path in enumerate(paths):
            pixels, peak = read_picture(path, self._image_size)
            if pixels.shape[:2] != (height, width):
                raise DataError(
                    f"{path} has {pixels.shape[1]}×{pixels.shape[0]} pixels once it is decoded, not {width}×{height}.",
                    "Bring all images to one size with `image_size`.",
                )
            if pixels.shape[2] > images_NCHW.shape[1]:
                images_NCHW = images_NCHW.expand(-1, 3, -1, -1).contiguous()
            images_NCHW[index] = torch.from_numpy(pixels).permute(2, 0, 1)
            self._done, self.peak = self._done + 1, max(self.peak, peak)
            self._progress.update(self._done, self._total, f"reading image {self._done} of {self._total}")
        return images_NCHW
