"""Inner steps and network epochs of an outer iteration (Section 4.1, T and ς_θ). Importing this loads no torch."""

from dsactl.paper import SCHEDULE


def loops(ipc: int, steps: int | None = None) -> tuple[int, int]:
    """Return the inner steps and network epochs for a number of images per class.

    Args:
        ipc: images per class, at least 1.
        steps: the requested inner steps; None for the default of `ipc`.

    Returns:
        The published pair where there is one. Otherwise ours: T = min(ipc, 50), epochs = max(1, round(500 / T)).
    """
    if ipc in SCHEDULE and steps in (None, SCHEDULE[ipc][0]):
        return SCHEDULE[ipc]
    steps = steps or min(ipc, 50)
    return steps, max(1, round(500 / steps))
