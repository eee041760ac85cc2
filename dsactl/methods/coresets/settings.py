"""Settings of coresets: random, herding, k-center and forgetting."""

from dataclasses import dataclass

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


def _with_network(description: str, name: str, paper: str, *, in_paper: bool = True) -> Method:
    home = f"{_PACKAGE}.{name}:{name}"
    return Method(
        description,
        home=home,
        settings=Coreset,
        network=True,
        passes=True,
        takes_fewer=True,
        paper=paper,
        in_paper=in_paper,
    )


RANDOM = Method("real images, drawn at random", home=f"{_PACKAGE}.random:random", takes_fewer=True, in_paper=True)
HERDING = _with_network("real images whose mean is near the class mean", "herding", "1611.07725")
KCENTER = _with_network("real images that are far from each other", "kcenter", "1708.00489", in_paper=False)
FORGETTING = _with_network("real images that training forgets most often", "forgetting", "1812.05159")
