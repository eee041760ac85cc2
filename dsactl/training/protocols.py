"""The published evaluation protocols, by name. Importing this imports no torch."""

from dataclasses import dataclass

from dsactl.errors import UnknownNameError
from dsactl.paper import MOMENTUM, WEIGHT_DECAY
from dsactl.training.schedule import Schedule


@dataclass(frozen=True)
class NamedProtocol:
    """How networks are trained by SGD on a set, as published.

    Attributes:
        name: of the protocol.
        epochs: of training; None for 1000 with augmentation and 300 without.
        lr: None for the learning rate that was learned with the set.
        momentum, weight_decay, batch: of SGD.
        strategy: augmentations of the training batches, as in `Protocol`; None for those that the set was made for.
        without: kinds that are left out of the set's augmentations.
        composed: whether flip and color are applied to every batch (`dsactl.augmentation.composed`), instead of being
            two of the kinds of which one is drawn.
        cutmix: probability of CutMix, for each batch.
        decay_at: parts of the epochs after which lr is divided, as numerators and denominators.
        decay_by: what lr is divided by.
        resets_momentum: whether the momentum is set to zero then.
    """

    name: str
    epochs: int | None = None
    lr: float | None = 0.01
    momentum: float = MOMENTUM
    weight_decay: float = WEIGHT_DECAY
    batch: int = 256
    strategy: str | None = None
    without: tuple[str, ...] = ()
    composed: bool = False
    cutmix: float = 0.0
    decay_at: tuple[tuple[int, int], ...] = ((1, 2),)
    decay_by: float = 10
    resets_momentum: bool = True

    def schedule(self, epochs: int) -> Schedule:
        """Return the schedule of the learning rate for a number of epochs; never does it change before the first."""
        at = (epochs * part // whole for part, whole in self.decay_at)
        return Schedule(tuple(each for each in at if each), self.decay_by, self.resets_momentum)


DSA = NamedProtocol("dsa")
"""Zhao and Bilen, ICML 2021: Section 4.1, and the authors' program."""
DC = NamedProtocol("dc", strategy="dc")
"""Zhao et al., ICLR 2021: the same program, which augments MNIST only, in a way of its own."""
IDC = NamedProtocol(
    "idc",
    epochs=1000,
    batch=64,
    without=("cutout",),
    composed=True,
    cutmix=0.5,
    decay_at=((2, 3), (5, 6)),
    decay_by=5,
    resets_momentum=False,
)
"""Kim et al., ICML 2022: the authors' program, for images of up to 32×32 pixels, most of whose sets have it so."""
MTT = NamedProtocol("mtt", lr=None)
"""Cazenavette et al., CVPR 2022: the authors' program, which extends DSA's."""

NAMED = {protocol.name: protocol for protocol in (DSA, DC, IDC, MTT)}
"""The protocols, by name."""


def find_protocol(name: str) -> NamedProtocol:
    """Return the protocol with a name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in NAMED:
        raise UnknownNameError("protocol", name, NAMED)
    return NAMED[name]
