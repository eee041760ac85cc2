"""How much the Hub's client says on its own."""

import os
import sys


def calm_client(*, quiet: bool) -> None:
    """No bars where standard error is no terminal, or nothing is to be said; what the user has set comes first.

    The client reads its environment once, when it is imported; so this is for a program to call before.

    Args:
        quiet: whether its warnings are left out too, as those of a request that it repeats.
    """
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if quiet:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
