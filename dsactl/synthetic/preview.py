"""The picture of a set that a store keeps beside it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dsactl.parametrisation.formation import fits, parametrisation
from registry.importing import MAX_BYTES
from registry.pictures import MAX_COLUMNS, grid_png


def preview(
    images_NCHW: Tensor, labels_N: Tensor, formation: int, mean: Sequence[float], std: Sequence[float]
) -> bytes:
    """Return the picture of a set, a PNG file with a row per class; images that it does not show are not decoded.

    Args:
        images_NCHW: as stored, in normalised space. If they cannot be decoded, or would be too many, they are shown as
            they are.
        labels_N: their classes.
        formation: F of the set, which may be a stranger's.
        mean, std: of normalised space.

    Raises:
        registry.RegistryError: the images have neither one channel nor three.
    """
    height, width = images_NCHW.shape[2:]
    if formation > 1 and fits(formation, (height, width)):
        stored = parametrisation(formation)
        shown = _first_of_each(labels_N, -(-MAX_COLUMNS // stored.count))
        if 4 * stored.count * images_NCHW[0].numel() * len(shown) <= MAX_BYTES:
            images_NCHW, labels_N = stored.decode(images_NCHW[shown]), stored.decode_labels(labels_N[shown])
    return grid_png(images_NCHW.numpy(), labels_N.numpy(), mean, std)


def _first_of_each(labels_N: Tensor, most: int) -> Tensor:
    """Return the indices of the first images of each class, at most so many, in order."""
    sorted_N, order_N = labels_N.sort(stable=True)
    places_N = torch.arange(len(labels_N)) - torch.searchsorted(sorted_N, sorted_N)
    return order_N[places_N < most].sort().values
