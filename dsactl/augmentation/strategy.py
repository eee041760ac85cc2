"""Augmentation strategies and schemes. Importing this does not import torch."""

from dataclasses import dataclass
from typing import Literal

from dsactl.errors import UnknownNameError, UsageError

Combination = Literal["one", "composed"]
"""How kinds of augmentation are combined: one is drawn at a time, or they are composed (`augmentation.composed`)."""

KINDS = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""The six kinds of Section 4.4, in the order of Table 5."""


class Strategy(tuple[str, ...]):
    """Kinds of augmentation, of which one is drawn at a time; empty for no augmentation. `str` gives "color_crop".

    Args:
        kinds: of `KINDS`; recipes and files have them in this order.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return what `parse_strategy` reads: kinds joined by underscores, or "none"."""
        return "_".join(self) or "none"


@dataclass(frozen=True)
class Scheme:
    """An augmentation scheme: which batches are augmented while condensing (Section 4.4, Table 4).

    Attributes:
        real, synthetic: whether this batch is augmented.
        shared: whether one transformation is drawn for both batches; otherwise one for each image.
    """

    real: bool
    synthetic: bool
    shared: bool = False


SIAMESE: Literal["siamese"] = "siamese"
SCHEMES: dict[str, Scheme] = {
    SIAMESE: Scheme(real=True, synthetic=True, shared=True),
    "none": Scheme(real=False, synthetic=False),
    "real": Scheme(real=True, synthetic=False),
    "synthetic": Scheme(real=False, synthetic=True),
    "both": Scheme(real=True, synthetic=True),
}
"""The schemes of Table 4: the paper's own, and those that it is compared with."""


def parse_strategy(text: str) -> Strategy:
    """Parse a strategy: kinds joined by commas, spaces or underscores ("color_crop_cutout"), or "none".

    Returns:
        The kinds in the order of `KINDS`, without duplicates; empty for "none".

    Raises:
        UnknownNameError: an unknown kind.
        UsageError: an empty text, or none.
    """
    if not isinstance(text, str):
        raise UsageError(f"`strategy` must be a text, not {text!r}.", 'For example: "color_crop"')
    words = text.lower().replace("colour", "color").replace("_", " ").replace(",", " ").split()
    if words == ["none"]:
        return Strategy()
    if not words:
        raise UsageError("The augmentation strategy is empty.", f"Use none, or some of {', '.join(KINDS)}.")
    for word in words:
        if word not in KINDS:
            raise UnknownNameError("kind of augmentation", word, KINDS)
    return Strategy(kind for kind in KINDS if kind in words)


def default_strategy(*, mirrored: bool) -> Strategy:
    """Return all six kinds; without "flip" if a mirrored image changes its class (digits, Section 4.4)."""
    return Strategy(kind for kind in KINDS if mirrored or kind != "flip")
