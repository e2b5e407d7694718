"""The neighbourhood loss of AND: exact softmax over all N images, streamed over blocks of a memory bank that may be
spread over several ranks."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.neighbourhoods import MemoryBank

# Columns of the (B, N) logits that exist at one time: what a CPU's cache holds, and what keeps a GPU busy.
BLOCKS = {"cpu": 4096, "cuda": 65_536}


def neighbourhood_loss(
    z: Tensor,
    rows: Tensor,
    bank: MemoryBank,
    neighbours: Tensor | None,
    temperature: float,
    *,
    mean: bool = False,
    block: int | None = None,
    backward: torch.dtype | None = None,
) -> Tensor:
    """Mean over the batch of L_i = -log sum_{j in S_i} p_ij, with p_ij = softmax_j(z_i . V_j / tau) over all N; with ``mean``
    of L_i = - 1/|S_i| sum_{j in S_i} log p_ij.

    S_i is {i} for an instance and {i} with its k nearest neighbours for an anchor (AND, Huang et al. 2019, equations 2
    and 6; with the mean outside the logarithm, L_out of Khosla et al. 2020, equation 2, every neighbour pulls alike, however
    far it is). Both the loss and dL/dz are found in one pass over the bank, in memory O(B block): with the largest logit so
    far as the shift, the sums of exp(s_ij) and of exp(s_ij) V_j are all that either needs.

    Args:
        z: unit vectors; this rank's part (b, d) of the batch.
        rows: int64 (B,), the row in the bank of every sample of the batch, of all ranks.
        bank: V, unit rows (N, d) or this rank's part of them; receives no gradient.
        neighbours: int64 (B, k) rows of each anchor's neighbours, -1 throughout for a sample that is no anchor;
            ``None`` in round 0.
        temperature: tau.
        mean: average -log p_ij over S_i, rather than add the p_ij up.
        block: columns at a time; by default what suits the device.
        backward: precision of the products whose sum is the gradient, by default that of ``z``; the loss is always in that.

    Returns:
        Scalar loss, the same on every rank. Its gradient by ``z`` is that of the whole batch's mean.
    """
    members = rows[:, None] if neighbours is None else torch.cat([rows[:, None], neighbours], dim=1)  # (B, 1 + k)
    block, backward = block or BLOCKS[z.device.type], backward or z.dtype
    loss: Tensor = _NeighbourhoodLoss.apply(z, members, bank, temperature, mean, block, backward)
    return loss


class _NeighbourhoodLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, members: Tensor, bank: MemoryBank, temperature: float, mean: bool, block: int, backward: torch.dtype
    ) -> Tensor:
        ranks, count = bank.ranks, len(members)
        every = ranks.gather(z, count)  # (B, d)
        shift, total, pushed = _partition(every, bank.rows, temperature, block, backward)
        largest = ranks.max(shift.clone())
        rescale = torch.exp(shift - largest)
        total, pushed = ranks.sum(total * rescale), ranks.sum(pushed * rescale[:, None])
        shares, logits, vectors = _near(every, members, bank, temperature, largest)
        if mean:
            shares = (members >= 0).to(shares) / (members >= 0).sum(dim=1, keepdim=True)
            near = ranks.sum((shares * logits).sum(dim=1))
            pulled = ranks.sum(torch.einsum("bk,bkd->bd", shares, vectors))
        else:
            kept = ranks.sum(shares.sum(dim=1))
            near = kept.log()
            pulled = ranks.sum(torch.einsum("bk,bkd->bd", shares, vectors)) / kept[:, None]
        gradient = (pushed / total[:, None] - pulled.to(z.dtype)) / (temperature * count)
        ctx.save_for_backward(ranks.part(gradient))
        return (total.log() - near).mean().to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None, None, None, None, None


def _partition(z: Tensor, bank: Tensor, temperature: float, block: int, backward: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Largest logit m (B,), sum_j exp(s_ij - m_i) (B,), and sum_j exp(s_ij - m_i) V_j (B, d), over the rows of ``bank``."""
    query = z / temperature
    shift = torch.full((len(z),), float("-inf"), dtype=z.dtype, device=z.device)
    total, pushed = torch.zeros_like(shift), torch.zeros_like(z)
    buffer = z.new_empty(len(z) * min(block, len(bank)))
    for columns in torch.split(bank, block):
        s = torch.mm(query, columns.T, out=buffer[: len(z) * len(columns)].view(len(z), -1))  # (B, block)
        larger = torch.maximum(shift, s.amax(dim=1))
        rescale = torch.exp(shift - larger)
        s.sub_(larger[:, None]).exp_()
        total.mul_(rescale).add_(s.sum(dim=1))
        pushed.mul_(rescale[:, None])
        if backward == z.dtype:
            pushed.addmm_(s, columns)
        else:
            pushed.add_(s.to(backward) @ columns.to(backward))
        shift = larger
    return shift, total, pushed


def _near(z: Tensor, members: Tensor, bank: MemoryBank, temperature: float, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(s_ij - shift_i) (B, 1 + k), s_ij - shift_i (B, 1 + k) and V_j (B, 1 + k, d) of the members j in this rank's rows, zeros
    for the others; in double precision, since at a low temperature a sample may be far from all of its members."""
    local = members - bank.start
    here = (members >= 0) & (local >= 0) & (local < len(bank.rows))
    vectors = bank.rows[local.masked_fill(~here, 0)].double().masked_fill(~here[:, :, None], 0.0)  # (B, 1 + k, d)
    logits = torch.einsum("bd,bkd->bk", z.double(), vectors) / temperature - shift[:, None].double()
    return torch.exp(logits).masked_fill(~here, 0.0), logits.masked_fill(~here, 0.0), vectors
