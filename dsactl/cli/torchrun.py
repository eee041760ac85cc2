"""Detection of torchrun. Importing this does not import torch."""

import os


def is_of_several() -> bool:
    """Return whether torchrun started this process together with others."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") not in ("", "1")
