"""The real training image that is nearest to each image of a set, of the same class, in pixel space.

Shapes: N images of a set, M real ones, C, H, W; D = C·H·W.
"""

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset

_AT_ONCE = 512  # real images that are in memory as float32


def nearest(pixels_NCHW: Tensor, labels_N: Tensor, real: Dataset) -> tuple[Tensor, Tensor]:
    """Find the nearest training image of the same class for each image.

    The distance is the root of the mean squared difference of pixels in 0 … 1.

    Args:
        pixels_NCHW: in 0 … 1, not clipped.
        labels_N: int64, ascending or not.
        real: the dataset that the set was made from.

    Returns:
        Indices of training images, N int64, −1 for a class without any; and distances, N float32.
    """
    places_N, distances_N = torch.full((len(labels_N),), -1), torch.full((len(labels_N),), torch.inf)
    for label in sorted(set(labels_N.tolist())):
        own = (labels_N == label).nonzero().flatten()
        wanted_ND = pixels_NCHW[own].flatten(1)
        for chunk in torch.split((real.train.labels_N == label).nonzero().flatten(), _AT_ONCE):
            real_MD = real.train.images_NCHW[chunk].flatten(1).float() / 255
            found_N, index_N = torch.cdist(wanted_ND, real_MD, compute_mode="donot_use_mm_for_euclid_dist").min(1)
            closer = found_N < distances_N[own]
            distances_N[own[closer]], places_N[own[closer]] = found_N[closer], chunk[index_N[closer]]
    return places_N, distances_N / pixels_NCHW[0].numel() ** 0.5
