"""The augmentation of DC's own evaluation on MNIST (Zhao et al., "Dataset Condensation with Gradient Matching",
ICLR 2021): for every image one of crop (±4 pixels), scale (±20 %) and rotate (±45°).

It is not Siamese and not meant for differentiation; DSA's is in `augmentation.transforms`.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

CROP = 4
SCALE = 0.2
ROTATE = 45.0  # degrees


def augment_for_dc(images_NCHW: Tensor, generator: Generator) -> Tensor:
    """Augment a batch, each image independently.

    A crop is filled with the channel's mean over the batch, a rotation with the batch's mean, a scale with zeros.

    Args:
        images_NCHW: normalised.
        generator: a CPU generator.
    """
    count, _, height, width = images_NCHW.shape
    kind_N = torch.randint(3, (count,), generator=generator)
    # Parameters of all three kinds are drawn, so that the number of draws does not depend on the kinds.
    shift_2N = torch.randint(-CROP, CROP + 1, (2, count), generator=generator)
    factor_2N = 1 + SCALE * (2 * torch.rand(2, count, generator=generator) - 1)
    angle_N = torch.deg2rad(ROTATE * (2 * torch.rand(count, generator=generator) - 1))

    theta_N23 = torch.zeros(count, 2, 3)
    theta_N23[:, 0, 0] = theta_N23[:, 1, 1] = 1.0
    crop, scale, rotate = (kind_N == kind for kind in range(3))
    # With corners aligned, the grid's -1 … 1 spans side - 1 pixels.
    theta_N23[crop, 0, 2] = 2.0 * shift_2N[0, crop] / (width - 1)
    theta_N23[crop, 1, 2] = 2.0 * shift_2N[1, crop] / (height - 1)
    theta_N23[scale, 0, 0] = 1 / factor_2N[0, scale]
    theta_N23[scale, 1, 1] = 1 / factor_2N[1, scale]
    cos, sin = angle_N[rotate].cos(), angle_N[rotate].sin()
    theta_N23[rotate, 0, 0], theta_N23[rotate, 0, 1] = cos, -sin
    theta_N23[rotate, 1, 0], theta_N23[rotate, 1, 1] = sin, cos

    channel_mean = images_NCHW.mean(dim=(0, 2, 3)).view(1, -1, 1, 1)
    kinds = kind_N.to(images_NCHW.device).view(-1, 1, 1, 1)
    fill = torch.where(kinds == 0, channel_mean, torch.where(kinds == 2, images_NCHW.mean(), 0.0))
    grid = F.affine_grid(theta_N23.to(images_NCHW.device), list(images_NCHW.shape), align_corners=True)
    # Outside the image the grid samples zeros: with the fill subtracted before and added after, they become the fill.
    moved = F.grid_sample(images_NCHW - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return moved + fill
