"""Settings of gradient matching: DSA and DC, Algorithm 1 with and without augmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from dsactl.augmentation.strategy import SIAMESE
from dsactl.methods.gradient_matching.schedule import loops
from dsactl.methods.gradient_matching.variant import Variant
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Asked, Count, Rate, Settings, Value


@dataclass(frozen=True, kw_only=True)
class GradientMatching(Settings):
    """Settings of Algorithm 1.

    Defaults "as published" are the paper's (Section 4.1), or where it is silent those of its authors' program.
    """

    left_out: ClassVar[Mapping[str, Value]] = {"scheme": SIAMESE}
    states_precision: ClassVar[bool] = True

    iterations: Count = 1000
    """Number of outer iterations, K.

    Default: 1000, as published.
    """
    inner_steps: Count
    """Number of inner steps per outer iteration, T.

    Default: by ipc, 1 → 1, 10 → 10, 50 → 50, as published; others: min(ipc, 50), ours.
    """
    network_epochs: Count
    """Epochs of network training after each inner step, ς_θ.

    Default: by ipc, 1 → 1, 10 → 50, 50 → 10, as published; others: 500 / inner steps, ours.
    """
    image_lr: Rate
    """Learning rate of the synthetic images.

    Default: 0.1, and 0.01 for mlp, as published.
    """
    image_momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    """Momentum of the synthetic images.

    Default: 0.5, as published.
    """
    network_lr: Rate = 0.01
    """Learning rate of the networks.

    Default: 0.01, as published.
    """
    batch_real: Count = 256
    """Number of real images per class and inner step.

    Default: 256, as published.
    """
    batch_synthetic: Count = 256
    """Largest number of synthetic images per class and inner step.

    Default: 256, as published.
    """
    batch_train: Count = 256
    """Batch size of network training.

    Default: 256, as published.
    """
    init: Literal["real", "noise"]
    """Initial images: real or noise.

    Default: real for dsa, noise for dc, as published.
    """
    distance: Literal["ours", "mse", "cos", "l1"] = "ours"
    """Distance between gradients: ours (the DSA paper's), mse, cos or l1.

    Default: ours.
    """
    scheme: Literal["siamese", "none", "real", "synthetic", "both"] = SIAMESE
    """Batches that are augmented while condensing (Table 4): siamese, none, real, synthetic or both.

    Default: siamese, as published.
    """

    @property
    def variant(self) -> Variant:
        """What the method does in another way than DSA."""
        return Variant()

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        steps = given.get("inner_steps")
        steps, epochs = loops(asked.ipc, steps if isinstance(steps, int) and steps > 0 else None)
        return {
            "inner_steps": steps,
            "network_epochs": epochs,
            "image_lr": 0.01 if asked.arch == "mlp" else 0.1,
            "init": "noise" if asked.method == "dc" else "real",
        }


_PACKAGE = "dsactl.methods.gradient_matching"

DSA = Method(
    "Differentiable Siamese Augmentation: Algorithm 1 of the paper",
    home=f"{_PACKAGE}.method:gradient_matching",
    settings=GradientMatching,
    network=True,
    batch_norm_twins=True,
    formation=True,
    shares_classes=True,
    cost=f"{_PACKAGE}.cost",
    paper="2102.08259",
    in_paper=True,
    steps_setting="iterations",
)
DC = Method(
    "Dataset Condensation: Algorithm 1 without augmentation",
    home=DSA.home,
    settings=GradientMatching,
    network=True,
    batch_norm_twins=True,
    augments=False,
    formation=True,
    shares_classes=True,
    cost=DSA.cost,
    paper="2006.05929",
    in_paper=True,
    protocol="dc",
    steps_setting="iterations",
)
