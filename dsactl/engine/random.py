"""Random streams: one root seed, and a generator for every draw, derived from it by purpose and position.

No draw uses a global generator, and no generator is used for more than one draw. A draw is therefore a function of
(seed, purpose, position) alone: resuming an interrupted run needs no generator states, a class draws the same images
in whichever process, and a new draw somewhere changes no other.
"""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """Derive a 63-bit seed for one purpose at one position.

    Args:
        seed: the root seed.
        purpose: what is drawn, e.g. "real-batch".
        position: e.g. outer iteration, inner step, class.

    Returns:
        The first 63 bits of SHA-256 over the arguments: the same on every machine.
    """
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """Return a new CPU generator for one purpose at one position (see `derive_seed`).

    The draws are small (indices, a few parameters, a network's weights), so they are made on the CPU and are the same
    for every device.
    """
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *position))
