"""Settings of coresets: random, herding, k-center and forgetting."""

from dataclasses import dataclass, replace

from dsactl.errors import UsageError
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Checked, Count, Rate, Settings


@dataclass(frozen=True, kw_only=True)
class Coreset(Settings):
    """Settings of a method that chooses real images with a network trained on the whole training split."""

    network_lr: Rate = 0.01
    """Learning rate of the networks.

    Default: 0.01, as in evaluation.
    """
    batch_train: Count = 256
    """Batch size of network training.

    Default: 256, as in evaluation.
    """
    epochs: int = 10
    """Epochs of training on the whole training split.

    Default: 10, ours.
    """

    def check(self, recipe: Checked) -> None:  # noqa: ARG002
        """Refuse fewer than one epoch.

        Raises:
            UsageError: `epochs` is below 1.
        """
        if self.epochs < 1:
            raise UsageError(f"`epochs` must be at least 1, not {self.epochs}.")


_PACKAGE = "dsactl.methods.coresets"


RANDOM = Method(
    "real images, drawn at random",
    home=f"{_PACKAGE}.random:random",
    takes_fewer=True,
    formation=True,
    in_paper=True,
)
HERDING = Method(
    "real images whose mean is near the class mean",
    home=f"{_PACKAGE}.herding:herding",
    settings=Coreset,
    network=True,
    passes=True,
    takes_fewer=True,
    formation=True,
    paper="1611.07725",
    in_paper=True,
)
KCENTER = replace(
    HERDING,
    description="real images that are far from each other",
    home=f"{_PACKAGE}.kcenter:kcenter",
    paper="1708.00489",
    in_paper=False,
)
FORGETTING = replace(
    HERDING,
    description="real images that training forgets most often",
    home=f"{_PACKAGE}.forgetting:forgetting",
    formation=False,
    paper="1812.05159",
)
