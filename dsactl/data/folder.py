"""Image folders: `train/CLASS/*.png` with `test/CLASS/*.png`, or class folders alone.

Pillow decodes every image, by its content and not by the extension; formats that need a plug-in with its own decoder
are not supported.
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
from dsactl.data.paths import check_folder, expanded
from dsactl.engine.random import generator
from dsactl.errors import DataError, UsageError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
DEFAULT_TEST_FRACTION = 0.2
MAX_NAME_LENGTH = 200

Files = dict[str, list[Path]]
"""Class name → its image files, sorted."""

Pixels = npt.NDArray[np.uint8]


def load_folder(
    folder: Path, *, image_size: int | None = None, test_fraction: float | None = None, split_seed: int = 0
) -> Dataset:
    """Read a folder with one sub-folder per class.

    Colour is kept if any image has it, else all are grey; of 16 bits the upper eight are kept. Images of one size keep
    it; `image_size` makes them square: the shorter side is resized to it and the centre is cropped. Mean and standard
    deviation are measured on the training images. Files and folders whose name starts with "." are skipped, as are
    files with other extensions.

    Args:
        folder: contains `train` and `test`, or the class folders.
        image_size: side in pixels; required if the images differ in size.
        test_fraction: share of every class held out for testing if there is no `test` folder; default 0.2 (ours).
        split_seed: seed of that split; independent of a run's seed, so that runs can be compared.

    Raises:
        DataError: no folder, no classes, no images, an unreadable or unsuitable image (by name), different sizes.
        UsageError: `test_fraction` for a folder with its own `test`.
    """
    folder = expanded(folder)
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
            "Bring them to one size with `image_size`.",
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
    """Return a summary of what was read, and of what was skipped in the class folders: other files, and folders."""
    known = f"{folder}: {len(class_names)} classes, {train:,} training and {test:,} test images."
    passed = Counter[str]()
    for part in [folder / "train", folder / "test"] if (folder / "train").is_dir() else [folder]:
        for name in class_names:
            for path in (part / name).iterdir():
                if path.is_dir() and not path.name.startswith("."):
                    passed["sub-folders"] += 1
                elif path.suffix.lower() not in EXTENSIONS and not path.name.startswith("."):
                    passed[path.suffix.lower() or "files without an extension"] += 1
    if not passed:
        return known
    most = sorted(passed.items(), key=lambda item: (-item[1], item[0]))[:5]
    what = ", ".join(f"{count} {kind}" for kind, count in most)
    return f"{known} Skipped: {what}. Images end in {', '.join(sorted(EXTENSIONS))}."


def _size(images_NCHW: Tensor) -> str:
    return f"{images_NCHW.shape[2]}×{images_NCHW.shape[3]}"


def _set_name(folder: Path) -> str:
    """Return the folder's name, reduced to the characters allowed in a set's name."""
    name = re.sub(r"[^a-z0-9._-]+|\.\.+", "-", folder.resolve().name.lower()).strip("-._")[:40] or "folder"
    return f"folder-{name}" if name in CATALOGUE else name


def _classes(folder: Path) -> Files:
    """Return the class folders below a folder: sub-folders with images, sorted by name."""
    found: Files = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            pictures = [
                p for p in sorted(path.iterdir()) if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")
            ]
            if not pictures:
                hint = f"Images end in {', '.join(sorted(EXTENSIONS))}."
                if any(found.suffix.lower() in EXTENSIONS for found in path.glob("*/*")):
                    hint = f"Each sub-folder of the given folder is a class. Did you mean {path}?"
                raise DataError(f"{path} has no images.", hint)
            if not path.name.isprintable() or len(path.name) > MAX_NAME_LENGTH:
                raise DataError(f"{path!s:.300} has a name that cannot be stored.", "Rename the folder.")
            found[path.name] = pictures
    if not found:
        raise DataError(f"{folder} has no class folders.", "Give a folder with one sub-folder of images per class.")
    return found


def _read_split(folder: Path, test_fraction: float | None) -> tuple[Files, Files]:
    if not (folder / "test").is_dir():
        raise DataError(
            f"{folder} has a train folder and no test folder.",
            "Add test/CLASS/…, or give the train folder itself, so that part of it is held out for testing.",
        )
    if test_fraction is not None:
        raise UsageError(f"{folder} has a test folder of its own.", "Leave `test_fraction` out.")
    train, test = _classes(folder / "train"), _classes(folder / "test")
    unknown = sorted(set(test) ^ set(train))
    if unknown:
        raise DataError(f"Classes of {folder} that are not in both train and test: {', '.join(unknown)}.")
    return train, test


def _draw_split(classes: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    """Hold out a share of every class for testing: at least one image, and never all."""
    train: Files = {}
    test: Files = {}
    for label, (name, pictures) in enumerate(classes.items()):
        if len(pictures) < 2:
            raise DataError(f"Class {name!r} has only one image; it needs one for training and one for testing.")
        kept = min(len(pictures) - 1, max(1, round(fraction * len(pictures))))
        order = torch.randperm(len(pictures), generator=generator(seed, "test-split", label)).tolist()
        test[name] = [pictures[index] for index in sorted(order[:kept])]
        train[name] = [pictures[index] for index in sorted(order[kept:])]
    return train, test


def _open(path: Path) -> Image.Image:
    """Open an image, upright, with 8 bits per channel; the first frame of an animation.

    Raises:
        DataError: it cannot be read, or its values are not levels of 8 or 16 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                # Pillow opens a PGM of 16 bits in mode I, as it does 32-bit images.
                has_16_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
                upright = ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image in a known format.", "Replace or remove it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is not a readable image ({error}).", "Replace or remove it.") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError(
            f"{path} cannot be read: it is damaged or truncated ({error}).", "Replace or remove it."
        ) from error
    return _to_8_bits(upright, path, has_16_bits=has_16_bits)


def _to_8_bits(picture: Image.Image, path: Path, *, has_16_bits: bool) -> Image.Image:
    """Convert an image to 8 bits: the upper half of 16 bits; 32-bit integers or floats only if they are 0 … 255.

    Raises:
        DataError: 32-bit values that are not whole numbers of 0 … 255.
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
    """Return the pixels H×W×C uint8: one channel if the image is grey in any mode, else three; transparent is white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    if image_size is not None:
        picture = ImageOps.fit(picture, (image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    return pixels if (pixels[..., :1] != pixels).any() else pixels[..., :1]


def _decode(files: Files, class_names: tuple[str, ...], image_size: int | None) -> tuple[Tensor, Tensor]:
    """Decode images to uint8 N×C×H×W, one channel if all are grey, and labels in the order of the classes."""
    paths = [(path, label) for label, name in enumerate(class_names) for path in files[name]]
    images = [_pixels(_open(path), image_size) for path, _ in paths]
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        (height, width), _ = sizes.most_common(1)[0]
        odd = next(path for (path, _), image in zip(paths, images, strict=True) if image.shape[:2] != (height, width))
        raise DataError(
            f"The images differ in size: most are {width}×{height} pixels, {odd} is not.",
            "Bring them to one size with `image_size`.",
        )
    channels = max(image.shape[2] for image in images)
    stacked = torch.empty(len(images), channels, *images[0].shape[:2], dtype=torch.uint8)
    for index, image in enumerate(images):
        stacked[index] = torch.from_numpy(image.copy()).permute(2, 0, 1)
    return stacked, torch.tensor([label for _, label in paths])
