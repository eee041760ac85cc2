"""Variants of Algorithm 1. Importing this loads no torch."""

from dataclasses import dataclass
from typing import Literal

from dsactl.augmentation.strategy import Combination, Strategy

Match = Literal["all", "conv"]
NetworkData = Literal["set", "real"]


@dataclass(frozen=True)
class Variant:
    """What a method does in another way than DSA within Algorithm 1; the defaults are DSA's.

    Attributes:
        match: gradients that are matched: "all", or "conv" for those of the weights of convolutions.
        strategy: kinds of augmentation while condensing; None for those of the recipe.
        combination: of these kinds.
        network_data: what the network is trained on: the synthetic "set", or "real" images.
        network_images: number of real images per epoch of that training, rounded up to whole batches.
        cutmix: probability of CutMix, for each batch of the network's training.
        clamps: whether the synthetic pixels are kept within the range of real ones.
        unit_pixels: whether the learning rate of the images is for pixels in 0 … 1, not for normalised ones.
    """

    match: Match = "all"
    strategy: Strategy | None = None
    combination: Combination = "one"
    network_data: NetworkData = "set"
    network_images: int = 0
    cutmix: float = 0.0
    clamps: bool = False
    unit_pixels: bool = False

    def kinds(self, strategy: Strategy) -> Strategy:
        """Return the kinds of augmentation while condensing, given those of the recipe."""
        return strategy if self.strategy is None else self.strategy
