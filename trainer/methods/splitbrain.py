"""Split-Brain Autoencoder (Zhang, Isola, Efros, CVPR 2017): one half of the network predicts an image's colours from its
lightness, the other its lightness from its colours. Grey images teach it nothing."""

from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ground.methods import too_grey
from core.ground.pictures import imaging
from trainer.backbones.encoder import Encoder
from trainer.backbones.halves import lab, normalised
from trainer.backbones.resnet import Halves
from trainer.config import ConfigError, TrainConfig
from trainer.data.images import ImageList
from trainer.machine.threads import cpus
from trainer.methods.method import Batch, Method
from trainer.neighbourhoods import MemoryBank

_GRID = 10  # of a and b, the side of a class
_LIGHTNESSES = 100  # classes of L, each one unit of it
_SAMPLE = 512  # about how many images are looked at


class SplitBrain(Method):
    """Section 3.2, with the losses of equations 1 (``regression``) and 2 (``classes``). Each half predicts by one 1x1 convolution
    of its last feature map, at the resolution of that: what it predicts is averaged over each position's part of the image. The
    true class is the nearest one, and all count alike.

    Random changes of colours would be what it learns to predict: ``trainer/presets.py`` has none of them for it.
    """

    encoder: Halves
    colours: Tensor  # float32 (Q, 2), a and b of each class

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        half, classes = encoder.head.in_features // 2, config.split_loss == "classes"
        self.register_buffer("colours", colour_classes().float())
        self.colour_head = nn.Conv2d(half, len(self.colours) if classes else 2, 1)
        self.lightness_head = nn.Conv2d(half, _LIGHTNESSES if classes else 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Each image's loss, the sum of both halves', (b,)."""
        of_lightness, of_colours = self.encoder.maps(images).chunk(2, dim=1)
        colours, lightness = self.colour_head(of_lightness).float(), self.lightness_head(of_colours).float()
        truth = F.adaptive_avg_pool2d(lab(images), colours.shape[2:])  # (b, 3, h, w)
        if self.config.split_loss == "classes":
            of_half = [
                F.cross_entropy(colours, nearest(truth[:, 1:], self.colours), reduction="none"),
                F.cross_entropy(lightness, truth[:, 0].long().clamp(0, _LIGHTNESSES - 1), reduction="none"),
            ]
        else:
            truth = normalised(truth)
            of_half = [(colours - truth[:, 1:]).square().sum(dim=1) / 2, (lightness - truth[:, :1]).square().sum(dim=1) / 2]
        return torch.stack(of_half).sum(dim=0).mean(dim=(1, 2))

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self.bank.ranks.attached(outputs, len(batch.rows)).mean()


def colour_classes() -> Tensor:
    """The classes of a and b: of a grid of side 10, the corners of every cell that a colour of sRGB falls into, float64 (309, 2).

    Zhang, Isola, Efros (ECCV 2016) count 313: these and (40, 90), (100, -90), (100, -10), (100, 0), which are further from every
    colour than a cell.
    """
    levels = torch.linspace(0, 1, 256, dtype=torch.float64)
    across, down = torch.meshgrid(levels, levels, indexing="ij")
    sides = [torch.stack([torch.full_like(across, end), across, down]) for end in (0, 1)]
    cube = torch.stack([side.roll(turn, dims=0) for side in sides for turn in range(3)])  # its surface, (6, 3, 256, 256)
    cells = torch.unique((lab(cube)[:, 1:] / _GRID).floor().permute(0, 2, 3, 1).reshape(-1, 2), dim=0)
    corners = cells[:, None] + torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])  # (cells, 4, 2)
    classes: Tensor = torch.unique(corners.reshape(-1, 2), dim=0)
    return _GRID * classes


def nearest(colours: Tensor, classes: Tensor) -> Tensor:
    """The class nearest to each a and b, (b, 2, h, w) and (Q, 2) to int64 (b, h, w)."""
    distances = torch.cdist(colours.movedim(1, -1), classes, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.argmin(dim=-1)


def require_colour(images: ImageList) -> None:
    """Refuse images of which nearly all are grey, judged by evenly spaced ones.

    Raises:
        ConfigError: they are.
    """
    sample = images.images[:: max(1, len(images.images) // _SAMPLE)]
    with ThreadPoolExecutor(min(8, cpus())) as pool:
        grey = sum(pool.map(lambda image: imaging.is_grey(image.decode()), sample))
    if reason := too_grey("splitbrain", grey, len(sample)):
        raise ConfigError(reason)


METHOD = SplitBrain
