"""Super-AND (Han, Park, Park, Kim, Cha 2020, arXiv 2002.12158): AND of two views of every image, with a unification entropy and
an augmentation loss beside it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.loss import BLOCKS
from trainer.methods.method import Batch
from trainer.methods.neighbourhoods import Neighbourhoods
from trainer.methods.views import log_shares
from trainer.neighbourhoods import MemoryBank


class SuperAND(Neighbourhoods):
    """L = L_AND + w L_UE + L_aug, each a mean over both views; ``unification_loss`` and ``augmentation_loss`` switch two of
    them off, so that what each gives can be measured. The memory bank takes the mean of the two views."""

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of unit vectors (2 b, d), the first views before the second."""
        views, tau = outputs.chunk(2), self.temperature(batch)
        loss = 0.5 * (super().loss(views[0], batch) + super().loss(views[1], batch))
        weight = unification_weight(batch.part)
        if self.config.unification_loss and weight:
            entropies = [unification_entropy(view, batch.rows, self.bank, tau) for view in views]
            loss = loss + weight * 0.5 * (entropies[0] + entropies[1])
        if self.config.augmentation_loss:
            first, second = (self.bank.ranks.attached(view, len(batch.rows)) for view in views)
            loss = loss + augmentation_loss(first, second, tau)
        return loss

    def after_step(self, outputs: Tensor, batch: Batch) -> None:
        first, second = outputs.detach().chunk(2)
        self.bank.update(batch.rows, F.normalize(first + second, dim=1))


def unification_weight(part: float) -> float:
    """w(t): 0 at first, and 0.2 more after every 80 of a round's 200 epochs; ``part`` of the round is over."""
    return 0.2 * int(part * 2.5)


def augmentation_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """That of Ye et al. (CVPR 2019): - mean over all views of log P(i | x_i) + sum_j log(1 - P(i | x_j)), where P is the
    softmax of the inner products with all other views of the batch; as in the published code, the other views are constants.

    Args:
        first: unit vectors (B, d), of the images' first views.
        second: those of their second views.
        temperature: tau.
    """
    z = torch.cat([first, second])
    logs, other = log_shares(z, z.detach(), temperature)
    apart = torch.log1p(-logs.exp().clamp(max=1 - 1e-6)).masked_fill(other, 0.0)
    return -(logs[other].sum() + apart.sum()) / len(z)


def unification_entropy(z: Tensor, rows: Tensor, bank: MemoryBank, temperature: float, block: int | None = None) -> Tensor:
    """Mean over the batch of H_i = - sum_{j != i} p_ij log p_ij, p_ij = softmax_{j != i}(z_i . V_j / tau): the less, the nearer
    an image is to few others. Streamed over blocks of the bank, in memory O(B block).

    Args:
        z: unit vectors; this rank's part (b, d) of the batch.
        rows: int64 (B,), the row in the bank of every image of the batch, of all ranks.
        bank: V, unit rows (N, d) or this rank's part of them; receives no gradient.
        temperature: tau.
        block: columns at a time; by default what suits the device.
    """
    entropy: Tensor = _UnificationEntropy.apply(z, rows, bank, temperature, block or BLOCKS[z.device.type])
    return entropy


class _UnificationEntropy(torch.autograd.Function):
    """With s_ij = z_i . V_j / tau: H_i = log sum_j exp(s_ij) - E_i, E_i = sum_j p_ij s_ij, and
    dH_i/dz_i = (E_i sum_j p_ij V_j - sum_j p_ij s_ij V_j) / tau."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, rows: Tensor, bank: MemoryBank, temperature: float, block: int) -> Tensor:
        ranks, count = bank.ranks, len(rows)
        query = ranks.gather(z, count) / temperature  # (B, d)
        shift = query.new_full((count,), float("-inf"))
        sums = query.new_zeros(count, 2 + 2 * query.shape[1])  # of exp(s), exp(s) s, exp(s) V and exp(s) s V
        for start in range(0, len(bank.rows), block):
            columns = bank.rows[start : start + block]
            s = query @ columns.T  # (B, block)
            own = rows - bank.start - start
            here = ((own >= 0) & (own < len(columns))).nonzero()[:, 0]
            s[here, own[here]] = float("-inf")
            larger = torch.maximum(shift, s.amax(dim=1))
            weights = torch.exp(s - larger[:, None])
            s[here, own[here]] = 0.0  # where the weight is 0
            times = weights * s
            new = torch.cat([weights.sum(1)[:, None], times.sum(1)[:, None], weights @ columns, times @ columns], dim=1)
            sums = sums * torch.exp(shift - larger)[:, None] + new
            shift = larger
        largest = ranks.max(shift.clone())
        sums, width = ranks.sum(sums * torch.exp(shift - largest)[:, None]), query.shape[1]
        total, expected = sums[:, :1], sums[:, 1:2] / sums[:, :1]
        mean, product = sums[:, 2 : 2 + width], sums[:, 2 + width :]
        gradient = (expected * mean - product) / total / (temperature * count)
        ctx.save_for_backward(ranks.part(gradient))
        entropy: Tensor = (largest[:, None] + total.log() - expected).mean()
        return entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None, None, None, None


METHOD = SuperAND
