"""The memory bank, and the discovery of anchor neighbourhoods in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.machine.ranks import Ranks
from trainer.randomness import generator

# Rows and columns of the (N, N) similarities that exist at one time: what a CPU's cache holds, and what keeps a GPU busy.
TILES = {"cpu": (384, 6144), "cuda": (4096, 65_536)}
_SAFE = 60.0  # exp of this, a million times over, is still far from overflowing
_CHUNK = 128  # columns whose largest similarity stands for them in the search for neighbours


class MemoryBank:
    """V, one unit vector for each image: ``rows`` is float32 (N, d), or this rank's contiguous part of that."""

    def __init__(self, rows: Tensor, momentum: float = 0.5, ranks: Ranks | None = None, count: int | None = None) -> None:
        self.rows = rows
        self.momentum = momentum
        self.ranks = ranks or Ranks()
        self.count = len(rows) if count is None else count
        self.start = self.ranks.bounds(self.count)[0]

    @classmethod
    def random(cls, count: int, dim: int, momentum: float, seed: int, device: torch.device, ranks: Ranks) -> "MemoryBank":
        """Unit vectors in random directions."""
        rows = F.normalize(torch.randn(count, dim, generator=generator(seed, "bank")), dim=1)
        return cls(ranks.part(rows).to(device), momentum, ranks, count)

    @torch.no_grad()
    def update(self, rows: Tensor, z: Tensor) -> None:
        """V_i <- normalise(m V_i + (1 - m) z_i), for the int64 rows (B,) of the whole batch, all distinct, and this rank's
        part (b, d) of its unit vectors."""
        z = self.ranks.gather(z, len(rows)).float()
        local = rows - self.start
        if self.ranks.size > 1:
            here = (local >= 0) & (local < len(self.rows))
            local, z = local[here], z[here]
        mixed = self.momentum * self.rows[local] + (1 - self.momentum) * z
        self.rows.index_copy_(0, local, F.normalize(mixed, dim=1))

    def whole(self) -> Tensor:
        """All N rows, gathered from every rank."""
        return self.ranks.gather(self.rows, self.count)

    def load(self, whole: Tensor) -> None:
        """Take this rank's part of (N, d) rows."""
        self.rows = self.ranks.part(whole).to(self.rows.device)


@dataclass(frozen=True)
class Discovery:
    """What one pass over the bank finds: entropy H float32 (N,) and the k nearest others, int64 (N, k), best first."""

    entropy: Tensor
    nearest: Tensor


@torch.no_grad()
def discover(bank: MemoryBank, k: int, temperature: float, tile: tuple[int, int] | None = None) -> Discovery:
    """Entropy and nearest neighbours of every image in one blocked pass, memory O(N d + tile).

    H_i = - sum_j p_ij log p_ij = logsumexp(s_i) - sum_j p_ij s_ij over all N, s_ij = V_i . V_j / tau (AND, equation 4). No
    logit is larger than s_ii = 1 / tau, so a fixed shift is safe, and at the usual tau none is needed. Each rank takes its
    own rows; the columns come from every rank in turn. A rank's own similarities are symmetric, so it computes only those
    right of the diagonal, for the image of the row and for that of the column.

    Args:
        bank: V, unit rows (N, d): the memory bank itself, or re-encoded images.
        k: number of neighbours, the image itself left out.
        temperature: tau.
        tile: rows and columns at a time; by default what suits the device.
    """
    shift = max(0.0, 1 / temperature - _SAFE)
    rows, columns = tile or TILES[bank.rows.device.type]
    mine = len(bank.rows)
    device = bank.rows.device
    total, expected = torch.zeros(mine, device=device), torch.zeros(mine, device=device)
    best = torch.full((mine, k), float("-inf"), device=device)
    nearest = torch.full((mine, k), -1, dtype=torch.int64, device=device)
    products, weights = bank.rows.new_empty(rows * columns), bank.rows.new_empty(rows * columns)  # reused: no page faults
    for source in range(bank.ranks.size):
        others = bank.ranks.part_of(bank.rows, source, bank.count)
        offset = bank.ranks.bounds(bank.count, source)[0]
        symmetric = source == bank.ranks.rank
        for start in range(0, mine, rows):
            block = slice(start, min(start + rows, mine))
            query = bank.rows[block] / temperature
            candidates = [(best[block], nearest[block])]
            for first in range(start if symmetric else 0, len(others), columns):
                key = others[first : first + columns]
                cells = len(query) * len(key)
                s = torch.mm(query, key.T, out=products[:cells].view(len(query), -1))  # (rows, columns)
                if shift:
                    s.sub_(shift)
                p = torch.exp(s, out=weights[:cells].view_as(s))
                beyond = max(block.stop, first)  # the first column whose own rows do not meet this block's images
                mirrored = slice(beyond, first + len(key)) if symmetric else slice(0, 0)
                total[block] += p.sum(dim=1)
                total[mirrored] += p[:, beyond - first :].sum(dim=0) if symmetric else 0
                p.mul_(s)
                expected[block] += p.sum(dim=1)
                expected[mirrored] += p[:, beyond - first :].sum(dim=0) if symmetric else 0
                _mask_own(s, bank.start + start, offset + first)
                values, found = _largest(s, k)
                candidates.append((values, found.add_(offset + first)))
                if symmetric:
                    _offer(best[mirrored], nearest[mirrored], s[:, beyond - first :], bank.start + start)
            _keep_best(best[block], nearest[block], candidates)
    entropy = total.log() - expected / total  # the shift cancels
    return Discovery(bank.ranks.gather(entropy, bank.count), bank.ranks.gather(nearest, bank.count))


def _offer(best: Tensor, nearest: Tensor, s: Tensor, row: int) -> None:
    """Put what is larger in the columns (rows, C) of similarities than the k best (C, k) so far among them. The further the
    pass has come, the fewer columns have anything to offer."""
    better = (s.amax(dim=0) > best[:, -1]).nonzero()[:, 0]
    values, rows = _top(s[:, better].T, min(best.shape[1], len(s)))
    kept, found = best[better], nearest[better]
    _keep_best(kept, found, [(kept, found), (values, rows + row)])
    best[better], nearest[better] = kept, found


def _mask_own(s: Tensor, row: int, column: int) -> None:
    """Leave each image out of its own neighbours, where the diagonal crosses this tile."""
    low, high = max(row, column), min(row + s.shape[0], column + s.shape[1])
    if low < high:
        own = torch.arange(low, high, device=s.device)
        s[own - row, own - column] = float("-inf")


def _largest(s: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their columns. The k chunks of columns with the largest maxima hold them all, and a
    chunk's maximum is far cheaper than a sort."""
    wide, rest = s.shape[1] // _CHUNK, s.shape[1] % _CHUNK
    if wide <= k or rest:
        return _top(s, min(k, s.shape[1]))
    chunks = s.view(len(s), wide, _CHUNK)
    _, which = _top(chunks.amax(dim=2), k)  # (rows, k)
    candidates = chunks.gather(1, which[:, :, None].expand(-1, -1, _CHUNK)).flatten(1)
    values, place = _top(candidates, k)
    return values, which.gather(1, place // _CHUNK) * _CHUNK + place % _CHUNK


def _top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``topk`` along rows; for k = 1 a plain maximum, which is several times faster."""
    largest, columns = values.max(dim=1, keepdim=True) if k == 1 else values.topk(k, dim=1)
    return largest, columns


def _keep_best(best: Tensor, nearest: Tensor, candidates: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Put the k best of all candidates, values and rows, into ``best`` and ``nearest``."""
    values, rows = (torch.cat(parts, dim=1) for parts in zip(*candidates, strict=True))
    found, order = _top(values, best.shape[1])
    best.copy_(found)
    nearest.copy_(rows.gather(1, order))


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


def neighbourhoods(nearest: Tensor, anchors: Tensor) -> Tensor:
    """Omega: int64 (N, k) with the nearest rows of every anchor and -1 for every other sample."""
    result = torch.full_like(nearest, -1)
    result[anchors] = nearest[anchors]
    return result
