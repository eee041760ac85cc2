"""The augmentation of IDC's evaluation: several kinds of transformation, one after another.

In the program of IDC (Kim et al., ICML 2022, arXiv 2205.14959), flip and color are not among the kinds of which one is
drawn: every batch is flipped and coloured, transformed by one of the other kinds, and cut out.
"""

from dataclasses import dataclass

from torch import Generator, Tensor

from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import augment, draw

_FIRST, _LAST = ("flip", "color"), ("cutout",)


@dataclass(frozen=True)
class ComposedAugmenter:
    """An augmentation of training batches: flip, color, one of crop, scale and rotate, and cutout, in this order.

    Kinds that are not in the strategy are left out. Parameters are drawn for every image.

    Attributes:
        strategy: the kinds.
        size: H and W of the images.
    """

    strategy: Strategy
    size: tuple[int, int]

    def __call__(self, images_NCHW: Tensor, generator: Generator) -> Tensor:
        """Draw with a CPU generator and apply."""
        drawn = Strategy(kind for kind in self.strategy if kind not in (*_FIRST, *_LAST))
        always = [[Strategy([kind]) for kind in kinds if kind in self.strategy] for kinds in (_FIRST, _LAST)]
        for kinds in (*always[0], drawn, *always[1]):
            images_NCHW = augment(images_NCHW, draw(kinds, len(images_NCHW), self.size, generator))
        return images_NCHW
