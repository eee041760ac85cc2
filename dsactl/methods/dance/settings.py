"""Settings of DANCE."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import pydantic

from dsactl.augmentation.strategy import Combination
from dsactl.errors import UsageError
from dsactl.expert_pools.settings import ExpertSettings
from dsactl.methods.batch_norm import refuse_batch_norm
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Asked, Checked, Count, Kinds, Rate, Value

Share = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Dance(ExpertSettings):
    """Settings of DANCE.

    Defaults are those of the authors' program (Zhang et al., IJCAI 2024), which steps after each class: with momentum
    0.5 an image moves lr · g · (1 + ½ + ¼ + …) until its class comes again. One step for all classes with twice the
    learning rate and without momentum moves it as far.
    """

    iterations: Count = 10000
    """Number of iterations.

    Default: 10000, as in the authors' program.
    """
    image_lr: Rate
    """Learning rate of the synthetic images, for pixels between 0 and 1.

    Default: 0.02 · ipc, twice that of the authors' program, which has momentum.
    """
    image_momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0
    """Momentum of the synthetic images.

    Default: 0.0, ours; see docs/methods.md.
    """
    batch_real: Count = 128
    """Number of real images per class and iteration.

    Default: 128, as in the authors' program.
    """
    batch_synthetic: Count = 200
    """Largest number of synthetic images per class and iteration, after decoding.

    Default: 200, as in the authors' program.
    """
    init: Literal["real", "noise"] = "real"
    """Initial images: real or noise.

    Default: real, as in the authors' program.
    """
    blend: Literal["random", "initial", "trained", "fresh"] = "random"
    """Networks whose features are matched: random (between an expert's initial and trained weights), initial, trained,
    or fresh (new untrained networks).

    Default: random, as in the authors' program.
    """
    calibration: Share = 1.0
    """Weight of the cross-entropy of the trained experts on the synthetic images; 0 for none.

    Default: 1.0, as in the authors' program.
    """
    matching_strategy: Kinds = "color_crop_cutout"
    """Kinds of augmentation while condensing, e.g. color_crop, or none.

    Default: color_crop_cutout, as in the authors' program.
    """
    combination: Combination = "composed"
    """Combination of the kinds of augmentation while condensing: composed (flip, color, one of crop, scale and rotate,
    then cutout) or one at a time.

    Default: composed, as in the authors' program.
    """
    clamp: Literal["on", "off"] = "on"
    """Clamping of the synthetic pixels to the range of real ones after each iteration: on or off.

    Default: on, as in the authors' program.
    """

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        return {"image_lr": 0.02 * asked.ipc}

    def check(self, recipe: Checked) -> None:
        """Refuse networks with batch norm, and experts that would not be used."""
        refuse_batch_norm(recipe)
        unused = [each.name for each in fields(ExpertSettings) if getattr(self, each.name) != each.default]
        if unused and not self.needs_experts:
            raise UsageError(
                f'`{unused[0]}` has no use with `blend="fresh"` and `calibration=0`: no experts are used.',
                f"Leave `{unused[0]}` out.",
            )

    @property
    def needs_experts(self) -> bool:
        return self.blend != "fresh" or self.calibration > 0


DANCE = Method(
    "DANCE: distribution matching on a pool of experts, with calibration by the trained ones",
    home="dsactl.methods.dance.method:dance",
    settings=Dance,
    network=True,
    formation=True,
    shares_classes=True,
    cost="dsactl.methods.dance.cost",
    steps_setting="iterations",
    paper="2406.01063",
    protocol="idc",
)
