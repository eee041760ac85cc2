"""Settings of distribution matching (DM)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from dsactl.methods.batch_norm import refuse_batch_norm
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Asked, Checked, Count, Rate, Settings, Value


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(Settings):
    """Settings of distribution matching.

    Defaults are those of the authors' program (Zhao and Bilen, WACV 2023).
    """

    states_precision: ClassVar[bool] = True

    iterations: Count = 20000
    """Number of iterations, each with a new network.

    Default: 20000, as in the authors' program.
    """
    image_lr: Rate
    """Learning rate of the synthetic images.

    Default: 1.0, and 10.0 from ipc 100 on, as in the authors' program.
    """
    image_momentum: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    """Momentum of the synthetic images.

    Default: 0.5, as in the authors' program.
    """
    batch_real: Count = 256
    """Number of real images per class and iteration.

    Default: 256, as in the authors' program.
    """
    init: Literal["real", "noise"] = "real"
    """Initial images: real or noise.

    Default: real, as in the authors' program.
    """

    @classmethod
    def dependent_defaults(cls, asked: Asked, given: Mapping[str, Any]) -> dict[str, Value]:
        return {"image_lr": 1.0 if asked.ipc < 100 else 10.0}

    def check(self, recipe: Checked) -> None:
        """Refuse networks with batch norm."""
        refuse_batch_norm(recipe)


DM = Method(
    "Distribution Matching: images whose mean features on untrained networks are those of real images",
    home="dsactl.methods.distribution_matching.method:distribution_matching",
    settings=DistributionMatching,
    network=True,
    formation=True,
    shares_classes=True,
    cost="dsactl.methods.distribution_matching.cost",
    paper="2110.04181",
    steps_setting="iterations",
)
