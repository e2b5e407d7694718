"""The memory bank, and the discovery of anchor neighbourhoods in it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.randomness import generator

BLOCK = 1024  # rows of the (N, N) similarities that exist at one time, fewer where N is large
_CELLS = 2**27


class MemoryBank:
    """V, one unit vector for each image: ``rows`` is float32 (N, d)."""

    def __init__(self, rows: Tensor, momentum: float) -> None:
        self.rows = rows
        self.momentum = momentum

    @classmethod
    def random(cls, count: int, dim: int, momentum: float, seed: int, device: torch.device) -> "MemoryBank":
        """Unit vectors in random directions."""
        rows = F.normalize(torch.randn(count, dim, generator=generator(seed, "bank")), dim=1)
        return cls(rows.to(device), momentum)

    @torch.no_grad()
    def update(self, rows: Tensor, z: Tensor) -> None:
        """V_i <- normalise(m V_i + (1 - m) z_i) for int64 rows (B,) and unit vectors z (B, d); rows are distinct."""
        mixed = self.momentum * self.rows[rows] + (1 - self.momentum) * z.detach().float()
        self.rows.index_copy_(0, rows, F.normalize(mixed, dim=1))


@dataclass(frozen=True)
class Discovery:
    """What one pass over the bank finds: entropy H float32 (N,) and the k nearest others, int64 (N, k), best first."""

    entropy: Tensor
    nearest: Tensor


@torch.no_grad()
def discover(features: Tensor, bank: Tensor, k: int, temperature: float, block: int = BLOCK) -> Discovery:
    """Entropy and nearest neighbours of every image in one blocked pass, memory O(N d + block N).

    H_i = - sum_j p_ij log p_ij = logsumexp(s_i) - sum_j p_ij s_ij over all N, s_ij = z_i . V_j / tau.

    Args:
        features: z, unit rows (N, d): the bank itself, or re-encoded images.
        bank: V, unit rows (N, d).
        k: number of neighbours, the image itself left out.
        temperature: tau.
        block: rows at a time.
    """
    count = len(bank)
    block = max(16, min(block, _CELLS // count))
    entropy = torch.empty(count, device=bank.device)
    nearest = torch.empty(count, k, dtype=torch.int64, device=bank.device)
    for start in range(0, count, block):
        s = features[start : start + block] @ bank.T / temperature  # (block, N)
        log_z = torch.logsumexp(s, dim=1)
        p = torch.exp(s - log_z[:, None])
        entropy[start : start + block] = log_z - (p * s).sum(dim=1)
        own = torch.arange(start, start + len(s), device=bank.device)
        s.scatter_(1, own[:, None], float("-inf"))
        nearest[start : start + block] = s.topk(k, dim=1).indices
    return Discovery(entropy, nearest)


def select_anchors(entropy: Tensor, select_rate: float, round_: int) -> Tensor:
    """Rows of the int(N * select_rate * round) samples of lowest entropy, ties by row.

    Args:
        entropy: (N,).
        select_rate: fraction of the images that each round adds.
        round_: number of the coming round; 0 selects none.

    Returns:
        int64 (A,), ascending.
    """
    count = min(len(entropy), int(len(entropy) * select_rate * round_))
    return torch.sort(torch.argsort(entropy, stable=True)[:count]).values


def neighbourhoods(discovery: Discovery, anchors: Tensor) -> Tensor:
    """Omega: int64 (N, k) with the nearest rows of every anchor and -1 for every other sample."""
    result = torch.full_like(discovery.nearest, -1)
    result[anchors] = discovery.nearest[anchors]
    return result
