"""Reading one image file with Pillow, by its content and not by its extension."""

import contextlib
import functools
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from dsactl.errors import DataError

Size = tuple[int, int]
Pixels = npt.NDArray[np.uint8]

READ = "Images are files that Pillow reads, such as .jpg, .png, .tif and .webp."
_NOT_READ = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow knows and cannot decode, or only by starting another program."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image upright, by its orientation in EXIF."""
_GREY_MODES = {"1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L"}


class Header(NamedTuple):
    """What an image's header says.

    Attributes:
        size: width and height, upright.
        channels: 1 if the mode is grey, else 3.
    """

    size: Size
    channels: int


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: H×W×C, one channel if all pixels are grey, else three.
        peak: the largest value if it has 16 bits, else 0.
    """

    pixels: Pixels
    peak: int


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name in Image.OPEN and name not in _NOT_READ)


@functools.cache
def endings() -> frozenset[str]:
    """Return the extensions of all formats that the installed Pillow decodes, in lower case."""
    formats = _formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def read_header(path: Path) -> Header:
    """Read the size and the mode of an image, without decoding it.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(path) as picture:
        width, height = picture.size
        turned = picture.format != "TIFF" and _orientation(picture, whole=False) >= 5  # Pillow turns TIFF by itself
        return Header((height, width) if turned else (width, height), 1 if picture.mode in _GREY_MODES else 3)


def read_picture(path: Path, image_size: int | None) -> Picture:
    """Decode an image, upright, with 8 bits per channel; the first frame of an animation; transparent parts are white.

    The whole image is decoded before it is resized. Pillow's faster decoding of JPEG at a reduced size gives others.

    Args:
        path: the file.
        image_size: side in pixels to which the shorter side is resized, after which the centre is cropped; None to
            keep the size.

    Raises:
        DataError: it cannot be read, or its values are not levels of 8 or 16 bits.
    """
    with _opened(path) as picture:
        picture.load()
        # Pillow opens a PGM of 16 bits in mode I, as it does 32-bit images.
        has_16_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
        turn = _TURNS.get(_orientation(picture, whole=True))
        upright = picture if turn is None else picture.transpose(turn)
        peak = int(np.asarray(upright).max()) if has_16_bits else 0
        return Picture(_pixels(_to_8_bits(upright, path, has_16_bits=has_16_bits), image_size), peak)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow raises and warns of because of its content becomes a message with its name.

    Pillow warns of more than 89 million pixels, and refuses twice as many.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a regular file.", "Remove it.")
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_formats()) as picture:
            yield picture
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image in a known format.", "Replace or remove it.") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(f"{path} is too large: it has more than {most:,} pixels.", "Shrink or remove it.") from None
    except Exception as error:  # Pillow's readers raise every kind on damaged files
        if isinstance(error, OSError) and error.strerror:
            broken = path.is_symlink() and isinstance(error, FileNotFoundError)
            why = "it is a link to a file that does not exist" if broken else error.strerror
        else:
            why = f"it is damaged or truncated ({error})"
        raise DataError(f"{path} cannot be read: {why}.", "Replace or remove it.") from error


def _orientation(picture: Image.Image, *, whole: bool) -> int:
    """Return the orientation in EXIF, 1 … 8; 1 where there is none that can be read.

    Args:
        picture: opened.
        whole: whether to look for EXIF behind the pixels of a PNG as well, for which Pillow decodes it.
    """
    try:
        exif = picture.getexif() if whole else Image.Image.getexif(picture)
        found = exif.get(_ORIENTATION)
    except Exception:  # damaged entries raise every kind; viewers ignore them
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


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
    pixels = np.array(picture)
    return pixels if (pixels[..., :1] != pixels).any() else pixels[..., :1]
