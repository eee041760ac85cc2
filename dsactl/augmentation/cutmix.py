"""CutMix: a box of each image is replaced by that of another one, and the labels are mixed by the shares of pixels.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019
(arXiv 1905.04899). The share that an image keeps is drawn from Beta(1, 1), which is uniform.

Shapes: B images of a batch, C, H, W, K classes.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class CutMix:
    """What is mixed in one batch.

    Attributes:
        partners_B: the image that is pasted into each image, as an index of the batch.
        rows, columns: start and end of the box, which is the same for all images; the end is not included.
        ratio: share of the pixels outside of the box.
    """

    partners_B: Tensor
    rows: tuple[int, int]
    columns: tuple[int, int]
    ratio: float

    @classmethod
    def draw(cls, probability: float, count: int, size: tuple[int, int], generator: Generator) -> Self:
        """Draw the partners and the box: with a share λ to keep, √(1 − λ) of H and W around a pixel, cut at the border.

        Args:
            probability: of mixing the batch at all; otherwise the box is empty.
            count: B.
            size: H and W.
            generator: a CPU generator.
        """
        if torch.rand(1, generator=generator).item() >= probability:
            return cls(torch.arange(count), (0, 0), (0, 0), 1.0)
        part = math.sqrt(1 - torch.rand(1, generator=generator).item())
        partners_B = torch.randperm(count, generator=generator)
        rows, columns = (_interval(side, int(side * part) // 2, generator) for side in size)
        pasted = (rows[1] - rows[0]) * (columns[1] - columns[0])
        return cls(partners_B, rows, columns, 1 - pasted / (size[0] * size[1]))

    def images(self, images_BCHW: Tensor) -> Tensor:
        """Return the mixed images."""
        rows, columns = slice(*self.rows), slice(*self.columns)
        mixed_BCHW = images_BCHW.clone()
        mixed_BCHW[:, :, rows, columns] = images_BCHW[self._partners(images_BCHW), :, rows, columns]
        return mixed_BCHW

    def targets(self, targets_BK: Tensor) -> Tensor:
        """Return the mixed soft labels, B×K. Cross-entropy is linear in them, so it is mixed alike."""
        return self.ratio * targets_BK + (1 - self.ratio) * targets_BK[self._partners(targets_BK)]

    def _partners(self, like: Tensor) -> Tensor:
        return self.partners_B.to(like.device)


def _interval(side: int, half: int, generator: Generator) -> tuple[int, int]:
    """Draw a centre out of `side` pixels; return start and end of 2·half pixels around it, cut at the border."""
    centre = int(torch.randint(side, (1,), generator=generator))
    return max(centre - half, 0), min(centre + half, side)
