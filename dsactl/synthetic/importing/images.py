"""Images of sets that other programs made: their layout, their type, and IDC's tiles.

Shapes: N images, C channels, H, W; factor F, T tiles.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dsactl.errors import DataError, UsageError
from dsactl.synthetic.importing.source import FIRST, LAST
from registry.importing import MAX_BYTES


def to_images(images: Tensor, shape: tuple[int, int, int], where: str, channels: str | None = None) -> Tensor:
    """Return images as N×C×H×W, of whatever type they are.

    Args:
        images: N×C×H×W or N×H×W×C; N×H×W if the dataset is grey.
        shape: (C, H, W) of the dataset's images.
        where: the file's name, for the error message.
        channels: "first" or "last", where the shape fits both.

    Raises:
        DataError: another shape.
        UsageError: the shape fits both and `channels` is not given.
    """
    found, (c, height, width) = tuple(images.shape), shape
    text = "×".join(map(str, found)) or "one number"
    if len(found) < 2 or not found[0]:
        hint = "Are images and labels swapped? The images come first: [images, labels]." if len(found) == 1 else ""
        raise DataError(f"{where}: the images are {text}, and should be N×C×H×W.", hint)
    if c == 1 and found[1:] == (height, width):
        return images.unsqueeze(1)
    first, last = found[1:] == shape, found[1:] == (height, width, c)
    if channels is None and first and last and c > 1:
        raise UsageError(
            f"{where}: images of {text} may have their channels first or last.",
            'Add `channels="first"` for N×C×H×W, or `channels="last"` for N×H×W×C.',
        )
    if first and channels != LAST:
        return images
    if last and channels != FIRST:
        return images.permute(0, 3, 1, 2)
    if len(found) != 4:
        raise DataError(
            f"{where}: the images are {text}, and should be N×C×H×W.",
            f"Save images.reshape(-1, {c}, {height}, {width}).",
        )
    raise DataError(
        f"{where}: the images are {text}, those of the dataset {'×'.join(map(str, shape))}.",
        "Are they of another dataset? Give that as `dataset`.",
    )


def to_floats(images_NCHW: Tensor, where: str) -> tuple[Tensor, bool]:
    """Return images as float32, and whether they were 8-bit levels, 0 … 255, which are then 0 … 1.

    Raises:
        DataError: numbers that are not finite, or integers outside of 0 … 255.
    """
    if images_NCHW.dtype == torch.bool:
        images_NCHW = images_NCHW.byte() * 255
    floats_NCHW = images_NCHW.detach().float()
    least, most = floats_NCHW.min().item(), floats_NCHW.max().item()
    if not floats_NCHW.isfinite().all():
        raise DataError(f"{where}: some pixels are not finite numbers.")
    if images_NCHW.is_floating_point():
        whole = least >= 0 and 2 <= most <= 255 and bool((floats_NCHW == floats_NCHW.round()).all())
        return (floats_NCHW / 255, True) if whole else (floats_NCHW, False)
    if least < 0 or most > 255:
        raise DataError(
            f"{where}: the images are whole numbers of {least:.0f} … {most:.0f}, which are not 8-bit pixels.",
            "Save them as floats, 0 … 1.",
        )
    return floats_NCHW / 255, True


def check_tiles(images_NCHW: Tensor, factor: int, where: str) -> None:
    """Refuse images that cannot be decoded into F×F tiles each.

    Raises:
        DataError: the decoded images would be too many.
        UsageError: the images are smaller than F pixels.
    """
    height, width = images_NCHW.shape[2:]
    if factor > min(height, width):
        raise UsageError(f"{where}: images of {height}×{width} pixels have no {factor}×{factor} tiles.")
    if 4 * images_NCHW.numel() * factor**2 > MAX_BYTES:
        raise DataError(f"{where}: its {len(images_NCHW) * factor**2:,} decoded images are too many for a set.")


def decode_tiles(images_NCHW: Tensor, factor: int, where: str) -> Tensor:
    """Decode the tiles of IDC's images into full images, by bilinear enlargement as IDC does.

    Each image holds F×F tiles of 1/F of its side; where the side is no multiple of F, it is padded with 0.5.
    Source: Kim et al. 2022, "Dataset Condensation via Efficient Synthetic-Data Parameterization", section 4.1, and the
    authors' `decode_zoom`.

    Returns:
        N·F²×C×H×W, an image's tiles one after the other, row by row.

    Raises:
        DsactlError: see `check_tiles`.
    """
    check_tiles(images_NCHW, factor, where)
    height, width = images_NCHW.shape[2:]
    padded_NCHW = F.pad(images_NCHW.contiguous(), (0, -width % factor, 0, -height % factor), value=0.5)
    tall, wide = padded_NCHW.shape[2] // factor, padded_NCHW.shape[3] // factor
    tiles_NCFhFw = padded_NCHW.view(*padded_NCHW.shape[:2], factor, tall, factor, wide)
    tiles_TChw = tiles_NCFhFw.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return F.interpolate(tiles_TChw, size=(height, width), mode="bilinear", align_corners=False)
