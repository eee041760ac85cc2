"""Stored sets in words."""

from dsactl.text.formatting import bytes_in_words, many
from registry.cost import Cost
from registry.records import StoredSet


def labels_of(stored: StoredSet) -> str:
    """Return what labels a set has: "hard", "soft", or "soft, of a teacher" for a relabelled set."""
    if not stored.manifest.has_soft_labels:
        return "hard"
    return "soft, of a teacher" if "labels" in stored.manifest.recipe else "soft"


def cost_in_words(cost: Cost, fitting: bool | None) -> str:
    """Format the cost of a set: "640 numbers, 2.6 kB as float32, 640 B as 8-bit pixels without loss".

    Args:
        cost: of the set.
        fitting: whether 8 bits lose nothing; None if it is not known.
    """
    parts = [many(cost.numbers, "number", ","), f"{bytes_in_words(cost.image_bytes)} as float32"]
    parts += [f"{bytes_in_words(cost.numbers)} as 8-bit pixels without loss"] if fitting else []
    parts += [f"soft labels {bytes_in_words(cost.soft_label_bytes)}"] if cost.soft_label_bytes else []
    return ", ".join([*parts, f"{many(cost.decoded_images, 'image', ',')} to train on"])
