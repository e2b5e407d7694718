"""All randomness as a function of (seed, purpose, position), so that a resumed run repeats nothing and misses nothing."""

import hashlib

import torch


def generator(seed: int, purpose: str, *position: int) -> torch.Generator:
    """A CPU generator for one use, for example ``generator(seed, "augment", round, epoch, step)``."""
    text = f"{seed}/{purpose}/{'/'.join(map(str, position))}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
