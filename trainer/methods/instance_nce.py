"""Instance discrimination by noise-contrastive estimation (Wu, Xiong, Yu, Lin, CVPR 2018), as published for large collections."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.backbones.encoder import Encoder
from trainer.config import TrainConfig
from trainer.methods.method import Batch, Method
from trainer.neighbourhoods import MemoryBank

_DENSE = 16  # rows of the bank for each sample, up to which all products cost less than fetching the samples' rows


class InstanceNCE(Method):
    """Each image is told from ``noise_samples`` others, drawn from the memory bank anew in every step, and its embedding is
    held to its last one (sections 3.2 and 3.3)."""

    fills_bank = True
    works_on_ranks = False  # the samples lie anywhere in the bank, of which each rank has a part

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        self.register_buffer("normaliser", torch.zeros(()))  # Z, from the first step on

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of unit vectors (B, d)."""
        count, samples = self.bank.count, self.config.noise_samples
        rng = self.rng("noise", batch.round, batch.epoch, batch.step)
        noise = torch.randint(count, (len(outputs), samples), generator=rng).to(outputs.device)
        old = self.bank.rows[batch.rows]  # (B, d)
        normaliser = self.get_buffer("normaliser")
        own = (outputs * old).sum(dim=1) / self.config.temperature
        other = products(outputs, self.bank.rows, noise) / self.config.temperature
        if not normaliser:  # equation 8: Z is estimated once, from the first batch, and then a constant
            normaliser.copy_(count * torch.cat([own[:, None], other], dim=1).detach().exp().mean())
        near = (outputs - old).square().sum(dim=1).mean()
        return nce(own, other, count, normaliser) + self.config.proximal_weight * near  # equation 10

    def after_step(self, outputs: Tensor, batch: Batch) -> None:
        self.bank.update(batch.rows, outputs)


def products(z: Tensor, bank: Tensor, noise: Tensor) -> Tensor:
    """z_i . V_j (B, m) of unit vectors (B, d) with the rows ``noise`` (B, m) of the bank (N, d)."""
    if len(bank) <= _DENSE * noise.shape[1]:
        return (z @ bank.T).gather(1, noise)
    return torch.einsum("bd,bmd->bm", z, bank[noise])


def nce(own: Tensor, other: Tensor, count: int, normaliser: Tensor) -> Tensor:
    """Equation 7, the mean over the batch of - log h(i, v) - sum over the noise of log(1 - h(j, v)), where h(i, v) = P / (P + m
    / N) and P = exp(v . v_i / tau) / Z.

    Args:
        own: (B,), each image's logit v . v_i / tau with its own last embedding.
        other: (B, m), with those of the noise.
        count: N.
        normaliser: Z, a scalar.
    """
    # P / (P + m / N) is the logistic function of log P - log(m / N)
    offset = normaliser.log() + torch.log(own.new_tensor(other.shape[1] / count))
    data = F.softplus(offset - own)
    noise = F.softplus(other - offset).sum(dim=1)
    return (data + noise).mean()


METHOD = InstanceNCE
