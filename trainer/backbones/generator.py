"""The networks that BiGAN has beside the encoder: DCGAN's (Radford, Metz, Chintala, ICLR 2016) with z at every layer, as in
BiGAN's released code (net.py of github.com/jeffdonahue/bigan)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH, _WIDEST = 32, 512  # channels next to the picture, twice as many at each half of its side, and the most
_HIDDEN = 512  # of the discriminator's last layer
_LEAK = 0.2  # of the discriminator's rectifiers


class _Layer(nn.Module):
    """Batch normalisation and leaky rectification of ``module(x) + W z``, with the same W z everywhere in the picture."""

    def __init__(self, module: nn.Module, channels: int, dim: int, leak: float) -> None:
        super().__init__()
        self.module, self.of_z, self.norm, self.leak = (
            module,
            nn.Linear(dim, channels, bias=False),
            nn.BatchNorm2d(channels),
            leak,
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.module(x) + self.of_z(z)[:, :, None, None]), self.leak)


class Generator(nn.Module):
    """G: z (B, d) to pictures (B, 3, S, S) of colours in 0..1; from 4 to 8 pixels a side doubled until they reach S."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        widths = _widths(side)[::-1]
        start, self.side = -(-side // 2 ** len(widths)), side
        self.first = nn.Sequential(
            nn.Linear(dim, widths[0] * start**2, bias=False),
            nn.Unflatten(1, (widths[0], start, start)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.layers = nn.ModuleList(
            _Layer(nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), narrow, dim, 0.0) for wide, narrow in pairwise(widths)
        )
        self.last = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z)
        for layer in self.layers:
            x = layer(x, z)
        return torch.sigmoid(self.last(x).float())[:, :, : self.side, : self.side]


class Discriminator(nn.Module):
    """D: pairs of pictures (B, 3, S, S) in 0..1 and codes (B, d) to logits (B,), float32 under autocast, too: high for (x, E(x)),
    low for (G(z), z)."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        widths = _widths(side)
        self.first = nn.Conv2d(3, widths[0], 4, 2, 1)  # not normalised, as in DCGAN
        self.layers = nn.ModuleList(
            _Layer(nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), wide, dim, _LEAK) for narrow, wide in pairwise(widths)
        )
        # Not normalised either: in batches of nothing but images, or but pictures of G, that would take away what they differ in.
        self.joint = nn.Linear(widths[-1] * (side >> len(widths)) ** 2 + dim, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1)

    def forward(self, pictures: Tensor, z: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(2 * pictures - 1), _LEAK)
        for layer in self.layers:
            x = layer(x, z)
        x = F.leaky_relu(self.joint(torch.cat([x.flatten(1), z], dim=1)), _LEAK)
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.last(x.float())
        return logits[:, 0]


def _widths(side: int) -> list[int]:
    """Channels after each halving of a side of 8 pixels or more to one of 4 to 7."""
    return [min(_WIDTH << number, _WIDEST) for number in range(side.bit_length() - 3)]
