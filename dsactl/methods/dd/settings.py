"""Settings of Dataset Distillation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from dsactl.errors import UsageError
from dsactl.methods.batch_norm import refuse_batch_norm
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Checked, Count, Number, Rate, Settings, Value
from dsactl.text.formatting import many

HALVINGS = 10
"""Halvings of the learning rates in a run, however long it is: after 40, 80, … of the authors' 400 epochs."""


@dataclass(frozen=True, kw_only=True)
class DatasetDistillation(Settings):
    """Settings of Dataset Distillation. Most defaults are ours; docs/methods.md lists the authors'."""

    left_out: ClassVar[Mapping[str, Value]] = {"init": "real"}

    iterations: Count = 500
    """Number of updates of the images.

    Default: 500, ours.
    """
    inner_steps: Count = 10
    """Number of steps that a network is trained for.

    Default: 10, ours.
    """
    image_lr: Rate = 0.1
    """Learning rate of the synthetic images.

    Default: 0.1, ours.
    """
    network_lr: Rate = 0.1
    """Initial value of the networks' learned learning rates.

    Default: 0.1, ours.
    """
    batch_real: Count = 256
    """Number of real images per update.

    Default: 256, ours.
    """
    batch_synthetic: Count = 10
    """Largest number of synthetic images per class and step.

    Default: 10, ours.
    """
    init: Literal["real", "noise"] = "noise"
    """Initial images: real or noise.

    Default: noise, the authors'.
    """
    step_lr: Number = 0.01
    """Learning rate of the networks' learning rates.

    Default: 0.01, the authors'.
    """
    weights: str = "random"
    """Initial weights of the networks: random (new ones in each update) or fixed.

    Default: random, one of the authors' two.
    """
    networks: int = 1
    """Number of networks per update.

    Default: 1, the authors'.
    """

    def check(self, recipe: Checked) -> None:
        """Refuse settings out of range, too few inner steps, and networks with batch norm.

        Raises:
            UsageError: one of these; the hint says what to use instead.
        """
        refuse_batch_norm(recipe)
        if self.weights not in ("random", "fixed"):
            raise UsageError(f"`weights` must be random or fixed, not {self.weights!r}.")
        if self.networks < 1:
            raise UsageError(f"`networks` must be at least 1, not {self.networks}.")
        if self.step_lr <= 0:
            raise UsageError(f"`step_lr` must be above 0, not {self.step_lr}.")
        if self.inner_steps < self.parts(recipe.ipc):
            raise UsageError(
                f"{many(self.inner_steps, 'inner step')} of {many(self.batch_synthetic, 'image')} per class "
                f"do not reach all {recipe.ipc}.",
                f"Use `inner_steps={self.parts(recipe.ipc)}` or a larger `batch_synthetic`.",
            )

    def parts(self, ipc: int) -> int:
        """Return the number of inner steps that use all synthetic images of a class once."""
        return -(-ipc // self.batch_synthetic)


DD = Method(
    "Dataset Distillation: images and step sizes, learned through a few steps of training",
    home="dsactl.methods.dd.method:dd",
    settings=DatasetDistillation,
    network=True,
    formation=True,
    paper="1811.10959",
    steps_setting="iterations",
    least_steps=HALVINGS,
)
