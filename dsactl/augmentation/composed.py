"""The augmentation of IDC's program: several kinds of transformation, one after another.

In the program of IDC (Kim et al., ICML 2022, arXiv 2205.14959), flip and color are not among the kinds of which one is
drawn: every batch is flipped and coloured, transformed by one of the other kinds, and cut out.
"""

from dataclasses import dataclass

from torch import Generator, Tensor

from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import Transformation, augment, draw

_FIRST, _LAST = ("flip", "color"), ("cutout",)


@dataclass(frozen=True)
class Composed:
    """Transformations that are applied one after another.

    Attributes:
        parts: in their order; None changes nothing.
    """

    parts: tuple[Transformation | None, ...]

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Apply all of them."""
        for part in self.parts:
            images_NCHW = augment(images_NCHW, part)
        return images_NCHW


def draw_composed(strategy: Strategy, count: int, size: tuple[int, int], generator: Generator) -> Composed:
    """Draw flip, color, one of crop, scale and rotate, and cutout, in this order.

    Args:
        strategy: the kinds; those that are not among them are left out.
        count: 1 for parameters that every image shares, N for parameters per image.
        size: H and W of the images.
        generator: a CPU generator.
    """
    drawn = Strategy(kind for kind in strategy if kind not in (*_FIRST, *_LAST))
    first, last = ([Strategy([kind]) for kind in kinds if kind in strategy] for kinds in (_FIRST, _LAST))
    return Composed(tuple(draw(kinds, count, size, generator) for kinds in (*first, drawn, *last)))


@dataclass(frozen=True)
class ComposedAugmenter:
    """An augmentation of training batches by `draw_composed`, with parameters drawn for every image.

    Attributes:
        strategy: the kinds.
        size: H and W of the images.
    """

    strategy: Strategy
    size: tuple[int, int]

    def __call__(self, images_NCHW: Tensor, generator: Generator) -> Tensor:
        """Draw with a CPU generator and apply."""
        return draw_composed(self.strategy, len(images_NCHW), self.size, generator)(images_NCHW)
