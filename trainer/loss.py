"""The neighbourhood loss of AND: exact softmax over all N images, streamed in blocks where N is large."""

from typing import Any

import torch
from torch import Tensor

BLOCK = 16_384  # columns of the (B, N) logits that exist at one time


def neighbourhood_loss(z: Tensor, rows: Tensor, bank: Tensor, neighbours: Tensor | None, temperature: float) -> Tensor:
    """Mean over the batch of L_i = -log sum_{j in S_i} p_ij, with p_ij = softmax_j(z_i . V_j / tau).

    S_i is {i} for an instance and {i} with its k nearest neighbours for an anchor.

    Args:
        z: unit vectors (B, d).
        rows: int64 (B,), each sample's row in the bank.
        bank: V, unit rows (N, d); receives no gradient.
        neighbours: int64 (B, k) rows of each anchor's neighbours, -1 throughout for a sample that is no anchor;
            ``None`` in round 0.
        temperature: tau.

    Returns:
        Scalar loss.
    """
    members = rows[:, None] if neighbours is None else torch.cat([rows[:, None], neighbours], dim=1)  # (B, 1 + k)
    near = torch.einsum("bd,bkd->bk", z, bank[members.clamp(min=0)]) / temperature
    near = near.masked_fill(members < 0, float("-inf"))
    return (log_partition(z, bank, temperature) - torch.logsumexp(near, dim=1)).mean()


def log_partition(z: Tensor, bank: Tensor, temperature: float, block: int = BLOCK) -> Tensor:
    """log sum_j exp(z_i . V_j / tau) over all N, (B, d) and (N, d) to (B,)."""
    if len(bank) <= block:
        return torch.logsumexp(z @ bank.T / temperature, dim=1)
    result: Tensor = _StreamedLogPartition.apply(z, bank, temperature, block)
    return result


class _StreamedLogPartition(torch.autograd.Function):
    """The same, block by block, with the logits computed again in backward: memory O(B block) instead of O(B N)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, bank: Tensor, temperature: float, block: int) -> Tensor:
        total = torch.full((len(z),), float("-inf"), dtype=z.dtype, device=z.device)
        for columns in torch.split(bank, block):
            total = torch.logaddexp(total, torch.logsumexp(z @ columns.T / temperature, dim=1))
        ctx.save_for_backward(z, bank, total)
        ctx.temperature, ctx.block = temperature, block
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        z, bank, total = ctx.saved_tensors
        expected = torch.zeros_like(z)  # sum_j p_ij V_j
        for columns in torch.split(bank, ctx.block):
            p = torch.exp(z @ columns.T / ctx.temperature - total[:, None])
            expected.addmm_(p, columns)
        return gradients[0][:, None] * expected / ctx.temperature, None, None, None
