"""Whether torchrun started this process. No torch here."""

import os


def is_of_several() -> bool:
    """Whether torchrun started this process with others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
