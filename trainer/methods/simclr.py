"""SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020): each view of an image is to be nearer to the image's other view than to
all other views of the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.backbones.encoder import Encoder
from trainer.config import TrainConfig
from trainer.methods.method import Batch, Method
from trainer.methods.views import log_shares
from trainer.neighbourhoods import MemoryBank

_HIDDEN, _DIM = 512, 128  # of the projection head; the paper's has the width of the features, and 128


class SimCLR(Method):
    """Section 2.1. The encoder f is published, with the principal components of its features h; the projection head g is left."""

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        width = encoder.head.in_features
        self.projection = nn.Sequential(
            nn.Linear(width, _HIDDEN, bias=False),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(_HIDDEN, _DIM, bias=False),
            nn.BatchNorm1d(_DIM),
        )

    def forward(self, images: Tensor) -> Tensor:
        """z = g(h) of h = f(x), (2 b, 128), the first views before the second."""
        projected: Tensor = self.projection(self.encoder.pooled(images))
        return projected

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        ranks, count = self.bank.ranks, len(batch.rows)
        first, second = (ranks.attached(view, count) for view in F.normalize(outputs, dim=1).chunk(2))  # (B, 128) each
        return nt_xent(first, second, self.config.temperature)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Equation 1, averaged over both views of all images: -log of the share of exp(sim(z_i, z_j) / tau) among exp(sim(z_i, z_k) /
    tau) of all k but i, where j is the other view of i.

    Args:
        first: unit vectors (B, d), of the images' first views.
        second: those of their second views.
        temperature: tau.
    """
    z = torch.cat([first, second])
    logs, other = log_shares(z, z, temperature)
    return -logs[other].mean()


METHOD = SimCLR
