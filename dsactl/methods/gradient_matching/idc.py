"""Settings of IDC: Algorithm 1 with matched convolutions and networks that are trained on real images.

Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization", ICML 2022 (arXiv 2205.14959).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from dsactl.augmentation.strategy import Combination, parse_strategy
from dsactl.data.views import base_name
from dsactl.errors import UsageError
from dsactl.methods.gradient_matching.settings import DSA, GradientMatching
from dsactl.methods.gradient_matching.variant import Match, NetworkData, Variant
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Asked, Checked, Count, Kinds, Rate, Value

_IMAGE_LRS = {"mnist": 2e-5, "fashionmnist": 2e-5 * (28 / 32) ** 2}
"""Learning rates of the images per image and class, where the distance is l1."""


@dataclass(frozen=True, kw_only=True)
class IdcMatching(GradientMatching):
    """Settings of IDC. Defaults are those of the authors' program for images of up to 32×32 pixels."""

    left_out: ClassVar[Mapping[str, Value]] = {}

    iterations: Count = 2000
    """Number of outer iterations, K.

    Default: 2000, as in the authors' program.
    """
    inner_steps: Count = 100
    """Number of inner steps per outer iteration, T.

    Default: 100, as in the authors' program.
    """
    network_epochs: Count = 1
    """Epochs of network training after each inner step, ς_θ.

    Default: 1, as in the authors' program.
    """
    image_lr: Rate = field()
    """Learning rate of the synthetic images, for pixels in 0 … 1.

    Default: 0.001·ipc; for mnist 0.00002·ipc, for fashionmnist 0.0000153·ipc; twice the authors', whose momentum
    doubles a step.
    """
    image_momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Momentum of the synthetic images.

    Default: 0.0, ours; the authors' is 0.5, in steps class by class.
    """
    batch_real: Count = 64
    """Number of real images per class and inner step.

    Default: 64, as in the authors' program.
    """
    batch_synthetic: Count = 128
    """Largest number of synthetic images per class and inner step.

    Default: 128, as in the authors' program.
    """
    batch_train: Count = 64
    """Batch size of network training.

    Default: 64, as in the authors' program.
    """
    init: Literal["real", "noise"] = "real"
    """Initial images: real or noise.

    Default: real, as in the authors' program.
    """
    distance: Literal["ours", "mse", "cos", "l1"] = field()
    """Distance between gradients: ours (the DSA paper's), mse, cos or l1.

    Default: mse, and l1 for mnist and fashionmnist, as in the authors' program.
    """
    match: Match = field()
    """Gradients that are matched: conv (of the weights of convolutions) or all.

    Default: conv, as in the authors' program, and all for mlp, ours.
    """
    matching_strategy: Kinds = field()
    """Kinds of augmentation while condensing, e.g. color_crop, or none.

    Default: color_crop_cutout, and color_crop for mnist with formation, as in the authors' program.
    """
    combination: Combination = "composed"
    """Combination of the kinds of augmentation while condensing: composed (flip, color, one of crop, scale and rotate,
    then cutout) or one at a time.

    Default: composed, as in the authors' program.
    """
    network_data: NetworkData = "real"
    """Images that the networks are trained on: real (with momentum and weight decay) or set (the synthetic ones).

    Default: real, as in the authors' program.
    """
    network_images: Count = field()
    """Number of real images per epoch of network training, rounded up to whole batches; all if there are fewer.

    Default: 2000 for cifar10 and cifar100, otherwise 500, as in the authors' program.
    """
    cutmix: Annotated[float, pydantic.Field(ge=0, le=1)] = field()
    """Probability of CutMix for a batch of network training, which then has no cutout.

    Default: 0.5, and 0.0 for mnist with formation, as in the authors' program.
    """
    clamp: Literal["on", "off"] = "on"
    """Clamping of the synthetic pixels to the range of real ones after each outer iteration: on or off.

    Default: on, as in the authors' program.
    """

    @property
    def variant(self) -> Variant:
        return Variant(
            self.match,
            parse_strategy(self.matching_strategy),
            self.combination,
            self.network_data,
            self.network_images,
            self.cutmix,
            clamps=self.clamp == "on",
            unit_pixels=True,
        )

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        tiled_mnist = asked.dataset == "mnist" and asked.formation > 1
        return {
            "image_lr": _IMAGE_LRS.get(asked.dataset, 1e-3) * asked.ipc,
            "distance": "l1" if asked.dataset in _IMAGE_LRS else "mse",
            "match": "all" if asked.arch == "mlp" else "conv",
            "matching_strategy": "color_crop" if tiled_mnist else "color_crop_cutout",
            "network_images": _usual_network_images(asked.dataset),
            "cutmix": 0.0 if tiled_mnist else 0.5,
        }

    def check(self, recipe: Checked) -> None:
        """Refuse convolutions to match where there are none, and a number of real images that would not be used."""
        if self.match == "conv" and recipe.network is not None and recipe.network.arch == "mlp":
            raise UsageError('`match="conv"` needs convolutions, which `arch="mlp"` has not.', 'Use `match="all"`.')
        if self.network_data == "set" and self.network_images != _usual_network_images(base_name(recipe.dataset)):
            raise UsageError(
                '`network_images` has no use with `network_data="set"`: the networks see no real images.',
                "Leave `network_images` out.",
            )


def _usual_network_images(dataset: str) -> int:
    """Return the default of `IdcMatching.network_images` for a dataset, by its name without views."""
    return 2000 if dataset in ("cifar10", "cifar100") else 500


IDC = Method(
    "IDC: gradients of convolutions, matched on networks that are trained on real images",
    home=DSA.home,
    settings=IdcMatching,
    network=True,
    formation=True,
    shares_classes=True,
    cost=DSA.cost,
    paper="2205.14959",
    protocol="idc",
    steps_setting="iterations",
)
