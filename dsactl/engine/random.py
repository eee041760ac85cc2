"""One root seed, and a generator for every draw, derived from it by purpose and position.

Nothing draws from a global generator and no generator lives longer than the draw it was made for. A draw is therefore
a function of (seed, purpose, position) alone: a run that was interrupted needs no generator states to go on, a class
draws the same images whichever process holds it, and adding a draw somewhere changes no other.
"""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position.

    Args:
        seed: the root seed.
        purpose: what is drawn, e.g. "real-batch".
        position: where, e.g. outer iteration, inner step, class.

    Returns:
        The first 63 bits of SHA-256 over the arguments: equal arguments, equal seed, on every machine.
    """
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """A fresh CPU generator for one purpose at one position (see `derive_seed`).

    The draws are small (indices, a few parameters, a network's weights), so they are made on the CPU and are the same
    for every device.
    """
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *position))
