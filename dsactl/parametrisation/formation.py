"""Formation: each stored image holds F×F smaller ones, which are enlarged to full size for training.

Multi-formation of IDC (Kim et al., ICML 2022, arXiv 2205.14959): a set of N stored images is a set of F²·N images to
train on, for the same number of stored values. Decoding is linear, so the gradient of an objective with respect to the
stored images is the adjoint of decoding.

Shapes: N stored images, C, H, W, F tiles along a side, h = H / F, w = W / F.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from dsactl.errors import UsageError
from dsactl.parametrisation.parametrisation import Parametrisation, Pixels


class Formation(Parametrisation):
    """Tiles in images; F divides H and W.

    Args:
        factor: F, at least 2.
    """

    def __init__(self, factor: int) -> None:
        self._factor, self.count = factor, factor**2

    def decode(self, images_NCHW: Tensor) -> Tensor:
        """Enlarge each tile to full size, bilinearly (as `interpolate` with `align_corners=False`).

        Returns:
            F²·N×C×H×W: the tiles of the first image row by row, then those of the second.
        """
        factor, (_, channels, height, width) = self._factor, images_NCHW.shape
        device, dtype = images_NCHW.device, images_NCHW.dtype
        rows_Hh, columns_Ww = (_enlarging(side // factor, side, device, dtype) for side in (height, width))
        tiles = images_NCHW.view(-1, channels, factor, height // factor, factor, width // factor)
        tiles_NFFChw = tiles.permute(0, 2, 4, 1, 3, 5)
        return (rows_Hh @ tiles_NFFChw @ columns_Ww.T).reshape(-1, channels, height, width)

    def encode(self, images_NCHW: Tensor) -> Tensor:
        """Shrink images and join F² of them in each stored image, in the order of `decode`.

        A pixel is the mean of F×F pixels: ours; IDC's program takes every F-th pixel.
        """
        factor, (_, channels, height, width) = self._factor, images_NCHW.shape
        small = functional.avg_pool2d(images_NCHW, factor)
        tiles_NFFChw = small.view(-1, factor, factor, channels, height // factor, width // factor)
        return tiles_NFFChw.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)


def fits(formation: int, size: tuple[int, int]) -> bool:
    """Return whether F divides H and W, `size`, and leaves tiles of more than one pixel."""
    return not any(side % formation for side in size) and (formation == 1 or formation < min(size))


def check_formation(formation: int, size: tuple[int, int]) -> None:
    """Refuse a formation that does not divide the images, or leaves tiles of one pixel.

    Args:
        formation: F.
        size: H and W.

    Raises:
        UsageError: F does not divide both, or is one of them.
    """
    if fits(formation, size):
        return
    whole = not any(side % formation for side in size)
    fitting = [str(each) for each in range(1, 9) if not any(side % each or side // each < 4 for side in size)] or ["1"]
    fault = "leaves tiles of one pixel of" if whole else "does not divide"
    raise UsageError(
        f"`formation={formation}` {fault} images of {size[0]}×{size[1]} pixels.",
        f"Use {' or '.join(fitting)}, or images of another size.",
    )


def parametrisation(formation: int) -> Parametrisation:
    """Return the parametrisation of a recipe's formation, 1 or more."""
    return Pixels() if formation == 1 else Formation(formation)


@functools.cache
def _enlarging(small: int, large: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the matrix of linear interpolation from `small` to `large` points, large×small, computed in float64.

    Point i of the result lies at (i + ½)·small/large − ½; outside of the first and last point it has their value. The
    matrix stays on the device: nothing may be copied there while a CUDA graph is captured.
    """
    with torch.inference_mode(mode=False):  # a later caller may need gradients
        positions = ((torch.arange(large, dtype=torch.float64) + 0.5) * small / large - 0.5).clamp(0, small - 1)
        left_L = positions.floor().long()
        right_L = (left_L + 1).clamp(max=small - 1)
        share_L, rows_L = positions - left_L, torch.arange(large)
        weights = torch.zeros(large, small, dtype=torch.float64)
        weights.index_put_((rows_L, left_L), 1 - share_L, accumulate=True)
        weights.index_put_((rows_L, right_L), share_L, accumulate=True)
        return weights.to(device, dtype)
