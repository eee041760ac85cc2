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
    stored = parametrisation(formation if fits(formation, (height, width)) else 1)
    most = -(-MAX_COLUMNS // stored.count)
    of_class = [(labels_N == label).nonzero().flatten()[:most] for label in set(labels_N.tolist())]
    chosen = torch.cat(of_class).sort().values
    images_NCHW, labels_N = images_NCHW[chosen], labels_N[chosen]
    if 4 * stored.count * images_NCHW.numel() <= MAX_BYTES:
        images_NCHW, labels_N = stored.decode(images_NCHW), stored.decode_labels(labels_N)
    return grid_png(images_NCHW.numpy(), labels_N.numpy(), mean, std)
