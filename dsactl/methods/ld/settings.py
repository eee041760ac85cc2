"""Settings of Label Distillation."""

from dataclasses import dataclass

from dsactl.errors import UsageError
from dsactl.methods.batch_norm import refuse_batch_norm
from dsactl.recipes.methods import Method
from dsactl.recipes.settings import Checked, Count, Number, Rate, Settings


@dataclass(frozen=True, kw_only=True)
class LabelDistillation(Settings):
    """Settings of Label Distillation. Most defaults are ours; docs/methods.md lists the authors'."""

    iterations: Count = 500
    """Number of updates of the labels.

    Default: 500, ours.
    """
    inner_steps: Count = 1
    """Number of steps that a network is trained for.

    Default: 1, the authors'.
    """
    network_lr: Rate = 0.1
    """Learning rate of the networks.

    Default: 0.1, ours.
    """
    batch_real: Count = 256
    """Number of real images per update.

    Default: 256, ours.
    """
    batch_train: Count = 50
    """Batch size of network training.

    Default: 50, the authors'.
    """
    label_lr: Number = 0.1
    """Learning rate of the labels.

    Default: 0.1, ours.
    """
    smoothing: Number = 0.1
    """Share of each initial label that is spread over all classes.

    Default: 0.1, ours.
    """
    patience: int = 20
    """Number of updates without a lower loss after which a network is replaced.

    Default: 20, ours.
    """

    def check(self, recipe: Checked) -> None:
        """Refuse settings out of range, and networks with batch norm.

        Raises:
            UsageError: one of these.
        """
        refuse_batch_norm(recipe)
        if not 0 < self.smoothing < 1:
            raise UsageError(f"`smoothing` must be between 0 and 1, not {self.smoothing}.")
        for name in ("label_lr", "patience"):
            if getattr(self, name) <= 0:
                raise UsageError(f"`{name}` must be above 0, not {getattr(self, name)}.")


LD = Method(
    "Label Distillation: soft labels of real images, learned through training",
    home="dsactl.methods.ld.method:ld",
    settings=LabelDistillation,
    network=True,
    takes_fewer=True,
    paper="2006.08572",
    steps_setting="iterations",
)
