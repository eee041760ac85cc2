"""The augmentation of IDC: several kinds of transformation, one after another.

In the program of IDC (Kim et al., ICML 2022, arXiv 2205.14959), flip and color are not among the kinds of which one is
drawn: every batch is flipped and coloured, transformed by one of the other kinds, and cut out.
"""

from dataclasses import dataclass

from torch import Generator, Tensor

from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import Composition, augment, draw

_STAGES = (("flip",), ("color",), ("crop", "scale", "rotate"), ("cutout",))


def stages(strategy: Strategy) -> list[Strategy]:
    """Return the kinds of each stage, of which one is drawn; stages without kinds are left out."""
    found = (Strategy(kind for kind in strategy if kind in stage) for stage in _STAGES)
    return [stage for stage in found if stage]


def draw_composed(strategy: Strategy, count: int, size: tuple[int, int], generator: Generator) -> Composition | None:
    """Draw a transformation of each stage; for the arguments see `transforms.draw`."""
    drawn = (draw(stage, count, size, generator) for stage in stages(strategy))
    return Composition(tuple(each for each in drawn if each is not None)) if strategy else None


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
        return augment(images_NCHW, draw_composed(self.strategy, len(images_NCHW), self.size, generator))
