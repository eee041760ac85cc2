"""Reading of untrusted input: a single file, or a folder of pictures per class.

Shapes: N images, C channels, H, W, K classes.
"""

import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.class_folders import class_folders
from registry.errors import CorruptError, RegistryError

if TYPE_CHECKING:
    from PIL import Image

    from registry.tensors import Array

MAX_BYTES = 4 * 2**30
"""Size limit of a file; 50 images of 224×224 pixels for each of 100 classes have 3 · 10⁹ bytes."""

_PICTURES = (".png", ".jpg", ".jpeg")
_SETS = (".safetensors", ".pt", ".pth", ".npz", ".npy", ".parquet")


def read_file(path: Path) -> bytes:
    """Read a regular file of limited size.

    Raises:
        RegistryError: it is not a file, is too large, or cannot be read.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RegistryError(f"Cannot read {path}: {error.strerror or error}.") from error


def check_file(path: Path) -> None:
    """Check that a path may be read, without opening it.

    Raises:
        RegistryError: it is not a regular file, or has more than `MAX_BYTES`.
    """
    if not path.is_file():
        raise RegistryError(f"{path} is not a file." if path.exists() else f"There is no {path}.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RegistryError(f"{path} has {size:,} bytes; the limit is {MAX_BYTES:,}.", "Is it a condensed set?")


def read_folder(folder: Path, class_names: Sequence[str], shape: tuple[int, int, int]) -> "tuple[Array, Array]":
    """Read a folder of CLASS/*.png, as `export` writes it, or *.jpg. Names that begin with "." are ignored.

    Args:
        folder: contains a folder per class; classes may be missing.
        class_names: K names, in the order of the labels.
        shape: (C, H, W) of every picture.

    Returns:
        Images N×C×H×W float32 in 0 … 1 and labels N int64, sorted by class.

    Raises:
        RegistryError: a folder that is not a class, a file that is no PNG or JPEG, a picture of another size or kind.
        CorruptError: a damaged picture.
    """
    import numpy as np

    files = _pictures(folder, class_names)
    if not files:
        raise RegistryError(
            f"{folder} contains no pictures.",
            f"Give a folder with one sub-folder of PNG files per class{_or_file(folder)}.",
        )
    if 4 * len(files) * shape[0] * shape[1] * shape[2] > MAX_BYTES:
        raise RegistryError(f"{folder} has {len(files):,} pictures, too many for a set.")
    images = np.stack([_read_picture(path, shape) for path, _ in files])
    return images.astype(np.float32) / np.float32(255), np.array([label for _, label in files], np.int64)


def read_pictures(pictures: Sequence[bytes], where: str) -> "Array":
    """Read PNG files of one size and kind from their bytes.

    Args:
        pictures: N files, at least one.
        where: the file that has them, for error messages.

    Returns:
        N×H×W×C uint8, C = 1 for grey and 3 for RGB.

    Raises:
        RegistryError: pictures of different sizes, or too many.
        CorruptError: a damaged picture.
    """
    import numpy as np
    from PIL import Image

    levels: list[Array] = []
    try:
        for data in pictures:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                channels = 1 if picture.mode == "L" else 3
                if picture.width * picture.height * channels * len(pictures) > MAX_BYTES:
                    raise RegistryError(f"{where} has {len(pictures):,} pictures, too many for a set.")
                if levels and levels[0].shape != (channels, picture.height, picture.width):
                    raise RegistryError(f"{where}: its pictures differ in size or kind.")
                levels.append(_levels(picture, channels, Path(where)))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise CorruptError(f"{where}: a picture in it is not a readable PNG file ({error}).") from error
    return np.ascontiguousarray(np.stack(levels).transpose(0, 2, 3, 1))


def _pictures(folder: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the pictures of a folder and their classes, sorted by class and name."""
    labels = {name: label for label, name in enumerate(class_folders(class_names))}
    found = []
    for path in _visible(folder):
        if not path.is_dir():
            continue
        if path.name not in labels:
            near = difflib.get_close_matches(path.name, labels, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known classes: {', '.join(list(labels)[:20])}."
            if sets := _or_file(folder):
                hint = f"Give a folder with one sub-folder of PNG files per class{sets}."
            raise RegistryError(f"{path} does not have the name of a class of the dataset.", hint)
        for picture in _visible(path):
            if picture.suffix.lower() not in _PICTURES or not picture.is_file():
                raise RegistryError(
                    f"{picture} is not a PNG or JPEG file.", "Convert it, or remove it from the folder."
                )
            found.append((picture, labels[path.name]))
    return sorted(found, key=lambda entry: (entry[1], entry[0].name))


def _or_file(folder: Path) -> str:
    """Return the end of a hint that names the files of sets in a folder; empty if there are none."""
    sets = sorted(path.name for path in _visible(folder) if path.suffix.lower() in _SETS)
    return f", or a file of it: {', '.join(sets[:5])}" if sets else ""


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise RegistryError(f"Cannot read the folder {folder}: {error.strerror or error}.") from error


def _read_picture(path: Path, shape: tuple[int, int, int]) -> "Array":
    """Return a picture as C×H×W uint8. Its size is checked before decompression."""
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.size != (width, height):
                raise RegistryError(
                    f"{path} has {picture.width}×{picture.height} pixels, not {width}×{height} as in the dataset."
                )
            return _levels(picture, channels, path)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise CorruptError(f"{path} is not a readable PNG or JPEG file ({error}).", "Replace or remove it.") from error


def _levels(picture: "Image.Image", channels: int, path: Path) -> "Array":
    """Return the 8-bit values of a picture, C×H×W, if the conversion is lossless."""
    import numpy as np

    if picture.mode not in ("1", "L", "P", "RGB") or "transparency" in picture.info:
        raise RegistryError(
            f"{path} is transparent or not 8-bit; only 8-bit grey and RGB are supported.", "Convert it."
        )
    levels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    if channels == 1:
        if (levels[:1] != levels).any():
            raise RegistryError(f"{path} is in colour; the images of the dataset are grey.", "Convert it.")
        return levels[:1]
    return levels
