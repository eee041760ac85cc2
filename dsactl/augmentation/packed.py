"""Transformations packed as rows of numbers, applied without branching on their kind.

A replayed step (see `engine.graphs`) cannot branch on what was drawn. Here every kind of the strategy is applied and
the drawn one is selected, which costs little compared with a network and gives the same numbers.

Shapes: N images, C, H, W; P is 1 (shared) or N; S transformations of a composition; a row of W_ numbers is the kind,
then every kind's parameters.
"""

from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from dsactl.augmentation.composed import stages
from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import TRANSFORMATIONS, Composition, Omega, Transformation, augment, draw

_NONE = -1.0
_FIELDS = [(kind, field.name) for kind, made in TRANSFORMATIONS.items() for field in fields(made)]
WIDTH = 1 + len(_FIELDS)
_KINDS = tuple(TRANSFORMATIONS)


def pack(transformation: Omega | None) -> Tensor:
    """Pack a transformation as P×WIDTH float32 on the CPU, a composition as S×P×WIDTH; one row for None."""
    if isinstance(transformation, Composition):
        return torch.stack([pack(part) for part in transformation.parts])
    if transformation is None:
        return torch.tensor([[_NONE] + [0.0] * len(_FIELDS)])
    kind = next(name for name, made in TRANSFORMATIONS.items() if isinstance(transformation, made))
    values = [vars(transformation)[field.name].flatten() for field in fields(transformation)]
    packed = torch.zeros(len(values[0]), WIDTH)
    packed[:, 0] = _KINDS.index(kind)
    for value, field in zip(values, fields(transformation), strict=True):
        packed[:, 1 + _FIELDS.index((kind, field.name))] = value
    return packed


def apply(images_NCHW: Tensor, packed_PW: Tensor, strategy: Strategy) -> Tensor:
    """Apply packed transformations: A_ω(x).

    Args:
        images_NCHW: the batch.
        packed_PW: rows on the batch's device, of kinds in the strategy.
        strategy: the possible kinds.
    """
    result = images_NCHW
    kind_P111 = packed_PW[:, 0].view(-1, 1, 1, 1)
    for kind in strategy:
        transformation = _unpack(kind, packed_PW)
        result = torch.where(kind_P111 == _KINDS.index(kind), transformation(images_NCHW), result)
    return result


def apply_composed(images_NCHW: Tensor, packed_SPW: Tensor, strategy: Strategy) -> Tensor:
    """Apply a packed composition of `draw_composed`, or the row for None; for the arguments see `apply`."""
    kinds = stages(strategy)
    for packed_PW, stage in zip(packed_SPW.expand(len(kinds), -1, -1), kinds, strict=True):
        images_NCHW = apply(images_NCHW, packed_PW, stage)
    return images_NCHW


def _unpack(kind: str, packed_PW: Tensor) -> Transformation:
    """Unpack rows as a transformation of this kind, whatever kind they are."""
    made = TRANSFORMATIONS[kind]
    columns = {field.name: packed_PW[:, 1 + _FIELDS.index((kind, field.name))] for field in fields(made)}
    return made(**{name: column.to(made.parameter_type) for name, column in columns.items()})


@dataclass(frozen=True)
class Augmenter:
    """An augmentation of training batches (Algorithm 1, line 9, and evaluation).

    Each batch has one freshly drawn kind, with parameters drawn for every image.

    Attributes:
        strategy: the kinds to choose from.
        size: H and W of the images.
    """

    strategy: Strategy
    size: tuple[int, int]

    def __call__(self, images_NCHW: Tensor, generator: Generator) -> Tensor:
        """Draw with a CPU generator and apply."""
        return augment(images_NCHW, draw(self.strategy, len(images_NCHW), self.size, generator))

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Make the same draw for later use, count×WIDTH on the CPU."""
        return pack(draw(self.strategy, count, self.size, generator)).expand(count, WIDTH)

    def apply(self, images_NCHW: Tensor, packed_NW: Tensor) -> Tensor:
        """Apply packed draws, on the images' device; batches of several draws may be concatenated."""
        return apply(images_NCHW, packed_NW, self.strategy)
