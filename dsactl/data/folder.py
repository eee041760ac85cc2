"""Image folders: `train/CLASS/*.png` with `test/CLASS/*.png`, or class folders alone.

Every picture is opened by pillow as its own bytes say; formats that only a plug-in with a decoder of its own can read
are not.
"""

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dsactl.data.catalogue import CATALOGUE
from dsactl.data.dataset import Dataset, ImageSet, measure
from dsactl.data.load import check_folder
from dsactl.engine.random import generator
from dsactl.errors import DataError, UsageError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
DEFAULT_TEST_FRACTION = 0.2
LONGEST_NAME = 200

Files = dict[str, list[Path]]
"""Class name → its pictures, sorted."""

Pixels = npt.NDArray[np.uint8]


def load_folder(
    folder: Path, *, image_size: int | None = None, test_fraction: float | None = None, split_seed: int = 0
) -> Dataset:
    """Read a folder of one sub-folder per class.

    Colour is kept if any picture has it, else all are grey; of 16 bits the upper eight are kept. Pictures of one size
    stay as they are; `image_size` brings them to a square: the shorter side is resized to it, the middle is cut out.
    Mean and deviation are measured on the training images. Files and folders whose name starts with "." are passed
    over, as are files of other endings.

    Args:
        folder: has `train` and `test`, or the classes themselves.
        image_size: side in pixels; needed where the pictures differ in size.
        test_fraction: share of every class kept for testing where there is no `test` folder; 0.2 if not given.
        split_seed: seed of that choice; independent of a run's seed, so that runs can be compared.

    Raises:
        DataError: no folder, no classes, no pictures, an unreadable or unfit one (by name), different sizes.
        UsageError: `test_fraction` with a folder that has its own `test`.
    """
    folder = folder.expanduser()
    check_folder(folder)
    if (folder / "train").is_dir():
        train, test = _read_split(folder, test_fraction)
    else:
        train, test = _draw_split(_classes(folder), test_fraction or DEFAULT_TEST_FRACTION, split_seed)
    class_names = tuple(train)
    if len(class_names) < 2:
        raise DataError(f"{folder} has {len(class_names)} class; condensing needs at least two.")
    train_images, train_labels = _decode(train, class_names, image_size)
    test_images, test_labels = _decode(test, class_names, image_size)
    if train_images.shape[1] != test_images.shape[1]:
        train_images, test_images = (
            images.expand(-1, 3, -1, -1).contiguous() for images in (train_images, test_images)
        )
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"Training images of {folder} are {_size(train_images)}, test images {_size(test_images)}.",
            "Bring them to one size with --image-size N.",
        )
    mean, std = measure(train_images)
    return Dataset(
        _set_name(folder),
        class_names,
        mean,
        std,
        True,
        ImageSet.from_tensors(train_images, train_labels, len(class_names)),
        ImageSet.from_tensors(test_images, test_labels, len(class_names)),
        _remark(folder, len(train_labels), len(test_labels), class_names),
    )


def _remark(folder: Path, train: int, test: int, class_names: tuple[str, ...]) -> str:
    """What was read, and what lies in the classes' folders and was not: files by their endings, and folders."""
    known = f"{folder}: {len(class_names)} classes, {train:,} training and {test:,} test images."
    passed = Counter[str]()
    for part in [folder / "train", folder / "test"] if (folder / "train").is_dir() else [folder]:
        for name in class_names:
            for path in (part / name).iterdir():
                if path.is_dir() and not path.name.startswith("."):
                    passed["sub-folders"] += 1
                elif path.suffix.lower() not in ENDINGS and not path.name.startswith("."):
                    passed[path.suffix.lower() or "files without an ending"] += 1
    if not passed:
        return known
    most = sorted(passed.items(), key=lambda item: (-item[1], item[0]))[:5]
    what = ", ".join(f"{count} {kind}" for kind, count in most)
    return f"{known} Passed over: {what}. Pictures end in {', '.join(sorted(ENDINGS))}."


def _size(images_NCHW: Tensor) -> str:
    return f"{images_NCHW.shape[2]}×{images_NCHW.shape[3]}"


def _set_name(folder: Path) -> str:
    """The folder's name in the letters that a set's name may have."""
    name = re.sub(r"[^a-z0-9._-]+|\.\.+", "-", folder.resolve().name.lower()).strip("-._")[:40] or "folder"
    return f"folder-{name}" if name in CATALOGUE else name


def _classes(folder: Path) -> Files:
    """The classes below a folder: sub-folders with pictures, sorted by name."""
    found: Files = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            pictures = [p for p in sorted(path.iterdir()) if p.suffix.lower() in ENDINGS and not p.name.startswith(".")]
            if not pictures:
                hint = f"Pictures end in {', '.join(sorted(ENDINGS))}."
                if any(found.suffix.lower() in ENDINGS for found in path.glob("*/*")):
                    hint = f"Each sub-folder of what is given is a class. Is it {path}?"
                raise DataError(f"{path} has no pictures.", hint)
            if not path.name.isprintable() or len(path.name) > LONGEST_NAME:
                raise DataError(f"{path!s:.300} has a name that cannot be written down.", "Rename the folder.")
            found[path.name] = pictures
    if not found:
        raise DataError(f"{folder} has no class folders.", "Give a folder with one sub-folder of pictures per class.")
    return found


def _read_split(folder: Path, test_fraction: float | None) -> tuple[Files, Files]:
    if not (folder / "test").is_dir():
        raise DataError(
            f"{folder} has train and no test folder.",
            "Add test/CLASS/…, or point at the train folder itself to have a part of it kept for testing.",
        )
    if test_fraction is not None:
        raise UsageError(f"{folder} has a test folder of its own.", "Leave --test-fraction out.")
    train, test = _classes(folder / "train"), _classes(folder / "test")
    unknown = sorted(set(test) ^ set(train))
    if unknown:
        raise DataError(f"Classes of {folder} that are not in both train and test: {', '.join(unknown)}.")
    return train, test


def _draw_split(classes: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    """Keep a share of every class for testing, at least one picture, and leave at least one."""
    train: Files = {}
    test: Files = {}
    for label, (name, pictures) in enumerate(classes.items()):
        if len(pictures) < 2:
            raise DataError(f"Class {name!r} has one picture; one to train and one to test are needed.")
        kept = min(len(pictures) - 1, max(1, round(fraction * len(pictures))))
        order = torch.randperm(len(pictures), generator=generator(seed, "test-split", label)).tolist()
        test[name] = [pictures[index] for index in sorted(order[:kept])]
        train[name] = [pictures[index] for index in sorted(order[kept:])]
    return train, test


def _open(path: Path) -> Image.Image:
    """A picture, upright, of 8 bits per channel; animated ones give their first frame.

    Raises:
        DataError: it cannot be read, or its values are no levels of 8 or 16 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                # PGM of 16 bits is opened in mode I, as is what has 32.
                has_16_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
                upright = ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a picture in a format that is known.", "Replace or remove it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is not a readable picture ({error}).", "Replace or remove it.") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError(
            f"{path} cannot be read: it is damaged or cut off ({error}).", "Replace or remove it."
        ) from error
    return _of_8_bits(upright, path, has_16_bits=has_16_bits)


def _of_8_bits(picture: Image.Image, path: Path, *, has_16_bits: bool) -> Image.Image:
    """The picture with the upper half of 16 bits; of 32, integers or floats, with levels that are those of 8 bits.

    Raises:
        DataError: they are not.
    """
    if has_16_bits:
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode not in ("I", "F"):
        return picture
    values = np.asarray(picture)
    levels = np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)
    if (levels != values).any():
        raise DataError(
            f"{path} has values from {values.min():g} to {values.max():g}, which are not all whole numbers of 0 … 255.",
            "Save it with 8 or 16 bits per channel.",
        )
    return Image.fromarray(levels)


def _pixels(picture: Image.Image, image_size: int | None) -> Pixels:
    """H×W×C uint8: one channel where the picture is grey, whatever its mode, else three; transparency on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    if image_size is not None:
        picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    return pixels if (pixels[..., :1] != pixels).any() else pixels[..., :1]


def _decode(files: Files, class_names: tuple[str, ...], image_size: int | None) -> tuple[Tensor, Tensor]:
    """uint8 N×C×H×W, one channel if all are grey, and labels in the order of the classes."""
    paths = [(path, label) for label, name in enumerate(class_names) for path in files[name]]
    images = [_pixels(_open(path), image_size) for path, _ in paths]
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        (height, width), _ = sizes.most_common(1)[0]
        odd = next(path for (path, _), image in zip(paths, images, strict=True) if image.shape[:2] != (height, width))
        raise DataError(
            f"The pictures differ in size: most are {width}×{height} pixels, {odd} is not.",
            "Bring them to one size with --image-size N.",
        )
    channels = max(image.shape[2] for image in images)
    stacked = torch.empty(len(images), channels, *images[0].shape[:2], dtype=torch.uint8)
    for index, image in enumerate(images):
        stacked[index] = torch.from_numpy(image.copy()).permute(2, 0, 1)
    return stacked, torch.tensor([label for _, label in paths])
