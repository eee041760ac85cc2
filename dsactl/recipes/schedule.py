"""How many inner steps and network epochs an outer iteration has (Section 4.1, T and ς_θ). No torch here."""

PAPER: dict[int, tuple[int, int]] = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""ipc → (inner steps T, network epochs per step); 1, 10 and 50 are in the paper, the others in its authors' program."""


def loops(ipc: int, steps: int | None = None) -> tuple[int, int]:
    """Inner steps and network epochs for a number of images per class.

    Args:
        ipc: images per class, at least 1.
        steps: inner steps that were asked for; None for those that belong to `ipc`.

    Returns:
        The published pair where there is one. Otherwise ours: T = min(ipc, 50), epochs = max(1, round(500 / T)).
    """
    if ipc in PAPER and steps in (None, PAPER[ipc][0]):
        return PAPER[ipc]
    steps = steps or min(ipc, 50)
    return steps, max(1, round(500 / steps))
