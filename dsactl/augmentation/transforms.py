"""Differentiable Siamese augmentation (Section 3.2).

A transformation ω is an object: drawn once from a generator, then applied to any batch. Applying one ω to the real and
to the synthetic batch is what makes the augmentation Siamese:

    ω ~ Ω;   A_ω(x) for x in the real batch,   A_ω(s) for s in the synthetic batch

Parameters are tensors of one entry, shared by every image, or of N entries, one per image. Everything acts on
normalised pixels and is differentiable in the images.

Shapes: N images, C channels, H, W. P is 1 (shared) or N.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dsactl.augmentation.strategy import Scheme, Strategy

BRIGHTNESS = 0.5  # b ~ U(-0.5, 0.5)
SATURATION = (0.0, 2.0)
CONTRAST = (0.5, 1.5)
CROP = 0.125  # of the side
CUTOUT = 0.5  # of the side
FLIP = 0.5  # probability
SCALE = 1.2
ROTATE = 15.0  # degrees


def _uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _integers(low: int, high: int, count: int, generator: Generator) -> Tensor:
    """`count` integers in low … high, both included."""
    return torch.randint(low, high + 1, (count,), generator=generator)


def _side(size: int, ratio: float) -> int:
    return int(size * ratio + 0.5)


def _broadcast(values_P: Tensor, images_NCHW: Tensor) -> Tensor:
    """Parameters as P×1×1×1 on the images' device."""
    return values_P.to(images_NCHW.device).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Transformation(ABC):
    """One ω: a kind and its parameters, for one batch (P = N) or for any batch (P = 1)."""

    parameter_type: ClassVar[torch.dtype] = torch.float32

    @classmethod
    @abstractmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        """Draw the parameters of `count` images (1: shared) of `size` (H, W)."""

    @abstractmethod
    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Apply to a batch; returns N×C×H×W."""

    def __post_init__(self) -> None:
        counts = {values.numel() for values in vars(self).values()}
        if len(counts) > 1:
            raise ValueError(f"{type(self).__name__} needs parameters of one length, not {sorted(counts)}")


@dataclass(frozen=True)
class Color(Transformation):
    """Brightness, then saturation, then contrast:

    x + b;   (x − m_c)·s + m_c with m_c the mean over channels;   (x − m)·k + m with m the mean over the image.
    """

    brightness_P: Tensor
    saturation_P: Tensor
    contrast_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        return cls(
            _uniform(-BRIGHTNESS, BRIGHTNESS, count, generator),
            _uniform(*SATURATION, count, generator),
            _uniform(*CONTRAST, count, generator),
        )

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        x = images_NCHW + _broadcast(self.brightness_P, images_NCHW)
        mean = x.mean(dim=1, keepdim=True)
        x = (x - mean) * _broadcast(self.saturation_P, images_NCHW) + mean
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return (x - mean) * _broadcast(self.contrast_P, images_NCHW) + mean


@dataclass(frozen=True)
class Crop(Transformation):
    """Translate by whole pixels, zeros come in: y[i, j] = x[i + rows, j + columns]."""

    parameter_type = torch.int64

    rows_P: Tensor
    columns_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        shifts = [_side(side, CROP) for side in size]
        return cls(*(_integers(-shift, shift, count, generator) for shift in shifts))

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        moved = _shift(images_NCHW, self.rows_P, dim=2)
        return _shift(moved, self.columns_P, dim=3)


def _shift(images_NCHW: Tensor, shifts_P: Tensor, dim: int) -> Tensor:
    """y[…, i, …] = x[…, i + shift, …] along `dim`, zero outside."""
    side = images_NCHW.shape[dim]
    shape = [-1, 1, 1, 1]
    shape[dim] = side
    source = (torch.arange(side, device=shifts_P.device) + shifts_P.view(-1, 1)).to(images_NCHW.device)
    inside = ((source >= 0) & (source < side)).view(shape)
    index = source.clamp(0, side - 1).view(shape).expand_as(images_NCHW)
    return images_NCHW.gather(dim, index) * inside


@dataclass(frozen=True)
class Cutout(Transformation):
    """Set a rectangle of half the sides to 0, cut at the border.

    It covers rows centre − h//2 … centre − h//2 + h − 1 with h the rectangle's height; columns alike.
    """

    parameter_type = torch.int64

    centre_row_P: Tensor
    centre_column_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        # 0 … side where the rectangle's side is even, 0 … side - 1 where it is odd.
        highest = [side - _side(side, CUTOUT) % 2 for side in size]
        return cls(*(_integers(0, high, count, generator) for high in highest))

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        height, width = images_NCHW.shape[2:]
        rows = _covered(height, self.centre_row_P).view(-1, 1, height, 1)
        columns = _covered(width, self.centre_column_P).view(-1, 1, 1, width)
        return images_NCHW * ~(rows & columns).to(images_NCHW.device)


def _covered(side: int, centre_P: Tensor) -> Tensor:
    """Which of `side` positions the cutout covers, P×side."""
    length = _side(side, CUTOUT)
    offset = torch.arange(side, device=centre_P.device) - centre_P.view(-1, 1) + length // 2
    return (offset >= 0) & (offset < length)


@dataclass(frozen=True)
class Flip(Transformation):
    """Mirror left-right where `mirror_P` is true."""

    parameter_type = torch.bool

    mirror_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        return cls(torch.rand(count, generator=generator) < FLIP)

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        return torch.where(_broadcast(self.mirror_P, images_NCHW), images_NCHW.flip(3), images_NCHW)


class _Affine(Transformation):
    """Bilinear sampling, zeros outside, on an affine grid.

    `align_corners` is true: it was the behaviour of the framework that the paper's figures were made with.
    """

    @abstractmethod
    def matrices(self) -> Tensor:
        """Return the grid's matrices: output coordinates (x, y, 1) to input coordinates (x, y), in −1 … 1."""

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        theta_P23 = self.matrices().to(images_NCHW)
        if images_NCHW.is_cuda and images_NCHW.requires_grad and len(theta_P23) == 1:
            return _sample_by_matrix(images_NCHW, theta_P23)
        return _sample_by_grid(images_NCHW, theta_P23)


def _rows(*rows: tuple[Tensor, Tensor]) -> Tensor:
    """Stack two rows of two P-vectors into P×2×3, without translation."""
    return torch.stack([torch.stack([*row, torch.zeros_like(row[0])], dim=1) for row in rows], dim=1)


@dataclass(frozen=True)
class Scale(_Affine):
    """Sampling on the grid diag(sx, sy): above 1 shrinks the image, below 1 enlarges it."""

    x_P: Tensor
    y_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        return cls(*(_uniform(1 / SCALE, SCALE, count, generator) for _ in "xy"))

    def matrices(self) -> Tensor:
        zero = torch.zeros_like(self.x_P)
        return _rows((self.x_P, zero), (zero, self.y_P))


@dataclass(frozen=True)
class Rotate(_Affine):
    """Sampling on the grid [[cos, −sin], [sin, cos]] of an angle in degrees."""

    degrees_P: Tensor

    @classmethod
    def draw(cls, count: int, size: tuple[int, int], generator: Generator) -> Self:
        return cls(_uniform(-ROTATE, ROTATE, count, generator))

    def matrices(self) -> Tensor:
        angle = torch.deg2rad(self.degrees_P)
        return _rows((angle.cos(), -angle.sin()), (angle.sin(), angle.cos()))


def _sample_by_grid(images_NCHW: Tensor, theta_P23: Tensor) -> Tensor:
    theta_N23 = theta_P23.expand(images_NCHW.shape[0], 2, 3)
    grid = F.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=True)
    return F.grid_sample(images_NCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _sample_by_matrix(images_NCHW: Tensor, theta_123: Tensor) -> Tensor:
    """Sample by a matrix of (H·W)², whose backward pass is a product.

    On CUDA the backward pass of grid sampling adds in no fixed order, so its bits differ from run to run.
    """
    height, width = images_NCHW.shape[2:]
    pixels = torch.eye(height * width, device=images_NCHW.device, dtype=images_NCHW.dtype)
    sampled = _sample_by_grid(pixels.view(-1, 1, height, width), theta_123)
    return (images_NCHW.flatten(2) @ sampled.flatten(1)).view_as(images_NCHW)


TRANSFORMATIONS: dict[str, type[Transformation]] = {
    "color": Color,
    "crop": Crop,
    "cutout": Cutout,
    "flip": Flip,
    "scale": Scale,
    "rotate": Rotate,
}


@dataclass(frozen=True)
class Composition:
    """Transformations that are applied one after another."""

    parts: tuple[Transformation, ...]

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """Apply to a batch; returns N×C×H×W."""
        for part in self.parts:
            images_NCHW = part(images_NCHW)
        return images_NCHW


Omega = Transformation | Composition
Pair = tuple[Omega | None, Omega | None]
"""Transformations of the real and of the synthetic images."""
Draw = Callable[[Strategy, int, tuple[int, int], Generator], Omega | None]
"""A function that draws ω, as `draw` does."""


def draw(strategy: Strategy, count: int, size: tuple[int, int], generator: Generator) -> Transformation | None:
    """Draw ω ~ Ω: one kind, uniformly from the strategy, and its parameters (Section 4.4, "Combination").

    Args:
        strategy: the kinds to choose from; empty for no augmentation.
        count: 1 for parameters that every image shares (Siamese), N for parameters per image.
        size: H and W of the images.
        generator: a CPU generator.

    Returns:
        The transformation, or None for the empty strategy.
    """
    if not strategy:
        return None
    kind = strategy[int(torch.randint(len(strategy), (1,), generator=generator))]
    return TRANSFORMATIONS[kind].draw(count, size, generator)


def draw_pair(
    scheme: Scheme,
    strategy: Strategy,
    counts: tuple[int, int],
    size: tuple[int, int],
    generator: Generator,
    how: Draw = draw,
) -> Pair:
    """Draw the transformations for the real and the synthetic images of one class in one inner step (Table 4).

    scheme: which batches are augmented; "siamese" draws one ω for both, the others parameters for each image.
    strategy: the kinds to choose from.
    counts: numbers of real and synthetic images.
    size: H and W of the images.
    generator: a CPU generator.
    how: draws each ω.
    """
    if scheme.shared:
        omega = how(strategy, 1, size, generator)
        return omega, omega
    real = how(strategy, counts[0], size, generator) if scheme.real else None
    synthetic = how(strategy, counts[1], size, generator) if scheme.synthetic else None
    return real, synthetic


def augment(images_NCHW: Tensor, transformation: Omega | None) -> Tensor:
    """Apply a transformation: A_ω(x); for None, return the images unchanged."""
    return images_NCHW if transformation is None else transformation(images_NCHW)
