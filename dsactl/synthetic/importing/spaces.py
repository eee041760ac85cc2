"""Spaces of images: normalised, pixels, or whitened; and what their statistics say about them.

Shapes: N images, C channels, H, W; D = C·H·W.
"""

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset
from dsactl.errors import UsageError
from dsactl.synthetic.importing.source import NORMALISED, PIXELS, ZCA

MAX_PIXEL_EXCESS = 2.0
"""Values beyond 0 … 1 by more than this are not pixels of 0 … 1; ours."""
MAX_EXCESS = 10.0
"""Pixels of normalised images beyond 0 … 1 by more than this show that the images are not normalised; ours."""
MAX_ZCA_DIMENSIONS = 4096  # of the covariance matrix, which takes 128 MiB
_SPACE = "Is `space` right? It is one of normalised, pixels, zca."
_RESCALE = "Their values lie in -1 … 1, and pixels in 0 … 1: save (images + 1) / 2, and import that."
_ZCA_EPSILON = 0.1
_AT_ONCE = 5000
_SAMPLE = 2**22  # of numbers, to measure statistics on


def check_space(images_NCHW: Tensor, space: str | None, dataset: Dataset, where: str) -> str:
    """Return the space of the images: the given one, else normalised; check that their values may be of it.

    Raises:
        UsageError: they are not, or look like those of another space and none is given; the hint says what to give.
    """
    least, most = images_NCHW.min().item(), images_NCHW.max().item()
    mean, std = sum(dataset.mean) / len(dataset.mean), sum(dataset.std) / len(dataset.std)
    if space == PIXELS and (least < -MAX_PIXEL_EXCESS or most > 1 + MAX_PIXEL_EXCESS):
        raise UsageError(
            f"{where}: values of {least:.3g} … {most:.3g} are not pixels of 0 … 1.",
            "Leave `space` out if they are normalised; divide by 255 if they have 8 bits.",
        )
    if space in (None, NORMALISED) and (least * std + mean < -MAX_EXCESS or most * std + mean > 1 + MAX_EXCESS):
        raise UsageError(
            f"{where}: values of {least:.3g} … {most:.3g} are neither normalised nor pixels of 0 … 1.",
            'If they have 8 bits, save images / 255 and add `space="pixels"`.',
        )
    if space is not None:
        return space
    spread = _spread(_sample(images_NCHW))
    hint = (
        'Add `space="pixels"`; or `space="normalised"`, if they are normalised; or `space="zca"`, if they are whitened.'
    )
    if least >= 0 and most <= 1:
        what = "all values lie in 0 … 1, like those of pixels and unlike those of normalised images."
        raise UsageError(f"{where}: {what}", hint)
    if least >= -1 and most <= 1:
        what = "all values lie in -1 … 1, as if scaled by 0.5, and not by the dataset's mean and standard deviation."
        raise UsageError(
            f"{where}: {what}",
            'Save images / 2 + 0.5 and add `space="pixels"`; or add `space="normalised"`, if they are normalised.',
        )
    if spread < std**0.5:  # the geometric mean of what pixels have and the 1 that normalised images have
        raise UsageError(
            f"{where}: the values have a standard deviation of {spread:.2f}, nearer to that of the dataset's pixels, "
            f"{std:.2f}, than to that of normalised images, 1.",
            hint,
        )
    return NORMALISED


def to_normalised(images_NCHW: Tensor, space: str, dataset: Dataset) -> Tensor:
    """Return images of a space in normalised space; images in other spaces are changed in place.

    Raises:
        UsageError: the images are too large to undo their whitening.
    """
    if space == NORMALISED:
        return images_NCHW
    if space == ZCA:
        images_NCHW = unwhiten(images_NCHW, dataset)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    return images_NCHW.sub_(mean).div_(std)


def unwhiten(images_NCHW: Tensor, dataset: Dataset) -> Tensor:
    """Undo ZCA whitening of pixels by the training images, as MTT and its relatives whiten.

    Whitened pixels are (x − m) U (S + 0.1)^(−1/2) Uᵀ, where m and U S Uᵀ are the mean and the covariance of the
    training pixels, 0 … 1. Source: the authors' program of Cazenavette et al. 2022, by kornia's `ZCAWhitening`.

    Returns:
        Pixels, 0 … 1 for ordinary images.

    Raises:
        UsageError: D is larger than `MAX_ZCA_DIMENSIONS`.
    """
    dimensions = images_NCHW[0].numel()
    if dimensions > MAX_ZCA_DIMENSIONS:
        raise UsageError(
            f"Images of {dimensions:,} numbers are too large to undo their whitening.",
            f"The limit is {MAX_ZCA_DIMENSIONS:,}. Undo it where they were made: zca.inverse_transform(images).",
        )
    total_D = torch.zeros(dimensions, dtype=torch.float64)
    products_DD = torch.zeros(dimensions, dimensions, dtype=torch.float64)
    for chunk in torch.split(dataset.train.images_NCHW, _AT_ONCE):
        pixels_ND = chunk.flatten(1).double() / 255
        total_D += pixels_ND.sum(0)
        products_DD.addmm_(pixels_ND.T, pixels_ND)
    count = len(dataset.train)
    mean_D = total_D / count
    covariance_DD = (products_DD - count * torch.outer(mean_D, mean_D)) / max(1, count - 1)
    values_D, vectors_DD = torch.linalg.eigh(covariance_DD)
    inverse_DD = (vectors_DD * (values_D.clamp(min=0) + _ZCA_EPSILON).sqrt()) @ vectors_DD.T
    unwhitened_ND: Tensor = images_NCHW.flatten(1).double() @ inverse_DD + mean_D
    return unwhitened_ND.float().view(images_NCHW.shape)


def remarks(images_NCHW: Tensor, space: str, dataset: Dataset) -> list[str]:
    """Return remarks on statistics that are not the dataset's own; none if all look right.

    Args:
        images_NCHW: in normalised space.
        space: the space they were taken to be in.
        dataset: of which only training images are looked at.
    """
    found = []
    sample = _sample(images_NCHW)
    mean, spread = sample.mean().item(), _spread(sample)
    if abs(mean) > 0.5 or not 0.4 <= spread <= 2.5:
        found.append(
            f"Taken as {space}, the images have, after normalisation, mean {mean:.2f} and standard deviation "
            f"{spread:.2f}; those of the dataset have 0 and 1. "
            + (_RESCALE if space == PIXELS and _is_symmetric(images_NCHW, dataset) else _SPACE)
        )
    own = _correlation(dataset.normalise(_sample(dataset.train.images_NCHW)))
    likeness = _correlation(sample)
    if space != ZCA and own > 0.3 and likeness < own / 2:
        found.append(
            f"Neighbouring pixels are correlated {likeness:.2f}, and {own:.2f} in the dataset: as in images that began "
            'as noise, or were whitened. If they were, as by MTT\'s option zca, use `space="zca"`.'
        )
    return found


def _is_symmetric(images_NCHW: Tensor, dataset: Dataset) -> bool:
    """Return whether normalised images that were taken as pixels were scaled to -1 … 1: their values go down to -1."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    pixels_NCHW = _sample(images_NCHW) * std + mean
    return -1.01 <= pixels_NCHW.min().item() < -0.5 and pixels_NCHW.max().item() <= 1.01


def _sample(images_NCHW: Tensor) -> Tensor:
    """Return evenly spaced images of few enough numbers."""
    return images_NCHW[:: max(1, images_NCHW.numel() // _SAMPLE)]


def _spread(images_NCHW: Tensor) -> float:
    """Return the standard deviation around the channels' means."""
    return (images_NCHW - images_NCHW.mean((0, 2, 3), keepdim=True)).square().mean().sqrt().item()


def _correlation(images_NCHW: Tensor) -> float:
    """Return the correlation of neighbouring pixels, over both directions; 1 for images of one value."""
    centred = images_NCHW - images_NCHW.mean((0, 2, 3), keepdim=True)
    found = []
    for dim in (2, 3):
        length = centred.shape[dim] - 1
        one, other = centred.narrow(dim, 0, length), centred.narrow(dim, 1, length)
        scale = (one.square().mean() * other.square().mean()).sqrt()
        found.append(((one * other).mean() / scale).item() if length and scale > 0 else 1.0)
    return sum(found) / 2
