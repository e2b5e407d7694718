"""AND, and what it is compared with in the same loss: instance discrimination, anchors at random, every image an anchor."""

import torch
from torch import Tensor

from trainer.loss import neighbourhood_loss
from trainer.methods.method import Batch, Method

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Neighbourhoods(Method):
    """Anchor Neighbourhood Discovery (Huang, Dong, Gong, Zhu, ICML 2019). Which images are anchors is chosen in
    ``trainer/anchors.py``; without any it is instance discrimination by the full softmax (Wu, Xiong, Yu, Lin, CVPR 2018)."""

    fills_bank = True

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Equations 2 and 6, of unit vectors (b, d)."""
        mean, dtype = self.config.neighbour_loss == "mean", _DTYPES[self.config.precision]
        tau = self.temperature(batch)
        return neighbourhood_loss(outputs, batch.rows, self.bank, batch.neighbours, tau, mean=mean, backward=dtype)

    def temperature(self, batch: Batch) -> float:
        """tau of the batch's round."""
        return self.config.temperature if batch.round == 0 else self.config.temperature_next or self.config.temperature

    def after_step(self, outputs: Tensor, batch: Batch) -> None:
        self.bank.update(batch.rows, outputs)


METHOD = Neighbourhoods
