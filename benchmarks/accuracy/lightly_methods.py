"""Methods of ``lightly`` (heads, losses and banks are its own) on our backbone, with our batched augmentation, for a given time.

Our augmentation is as strong as in our runs and faster than lightly's image by image, so that the time goes into its training.
"""

import copy
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules import NNMemoryBankModule, heads
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from benchmarks.judging import figures
from benchmarks.sets import classes
from trainer.backbones.encoder import Encoder, encode_blocks
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.data.augment import Augmentation
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.data.pixels import PixelStore, open_store
from trainer.machine.ranks import Ranks
from trainer.methods.method import precision
from trainer.randomness import generator
from trainer.resolve import resolve

_CPU = torch.device("cpu")
_HIDDEN, _DIM = 512, 128  # of the heads; lightly's examples take as many for ResNet-18, whose 512 features they follow
_WARM_UP = 0.02  # of the time, in which the learning rate rises


class _SimCLR(nn.Module):
    """Chen et al. 2020, as in lightly's example."""

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.head = heads.SimCLRProjectionHead(width, _HIDDEN, _DIM)
        self.criterion = NTXentLoss(temperature)

    def forward(self, h: Tensor, views: Tensor) -> Tensor:
        loss: Tensor = self.criterion(*self.head(h).chunk(2))
        return loss


class _NNCLR(nn.Module):
    """Dwibedi et al. 2021, as in lightly's example."""

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.head = heads.NNCLRProjectionHead(width, _HIDDEN, _DIM)
        self.predictor = heads.NNCLRPredictionHead(_DIM, _HIDDEN, _DIM)
        self.bank = NNMemoryBankModule(size=(4096, _DIM))
        self.criterion = NTXentLoss(temperature)

    def forward(self, h: Tensor, views: Tensor) -> Tensor:
        z = self.head(h)
        predicted = self.predictor(z).chunk(2)
        nearest = [self.bank(part.detach(), update=number == 1) for number, part in enumerate(z.chunk(2))]
        loss: Tensor = 0.5 * (self.criterion(nearest[0], predicted[1]) + self.criterion(nearest[1], predicted[0]))
        return loss


class _BYOL(nn.Module):
    """Grill et al. 2020, as in lightly's example; ``momentum`` for runs of minutes."""

    def __init__(self, width: int, backbone: Encoder, momentum: float) -> None:
        super().__init__()
        self.head = heads.BYOLProjectionHead(width, _HIDDEN, _DIM)
        self.predictor = heads.BYOLPredictionHead(_DIM, _HIDDEN, _DIM)
        self.teacher = nn.ModuleList([copy.deepcopy(backbone), copy.deepcopy(self.head)])
        self.student = [backbone, self.head]
        self.momentum = momentum
        deactivate_requires_grad(self.teacher)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, h: Tensor, views: Tensor) -> Tensor:
        for ours, theirs in zip(self.student, self.teacher, strict=True):
            update_momentum(ours, theirs, self.momentum)
        predicted = self.predictor(self.head(h)).chunk(2)
        backbone, head = self.teacher
        assert isinstance(backbone, Encoder)
        with torch.no_grad():
            target = head(backbone.pooled(views)).chunk(2)
        loss: Tensor = 0.5 * (self.criterion(predicted[0], target[1]) + self.criterion(predicted[1], target[0]))
        return loss


class _BarlowTwins(nn.Module):
    """Zbontar et al. 2021, as in lightly's example, with a head for a small backbone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = heads.BarlowTwinsProjectionHead(width, _HIDDEN, _HIDDEN)
        self.criterion = BarlowTwinsLoss()

    def forward(self, h: Tensor, views: Tensor) -> Tensor:
        loss: Tensor = self.criterion(*self.head(h).chunk(2))
        return loss


def _method(name: str, setting: dict[str, Any], backbone: Encoder) -> nn.Module:
    width = backbone.head.in_features
    makers: dict[str, Callable[[], nn.Module]] = {
        "simclr": lambda: _SimCLR(width, setting["temperature"]),
        "nnclr": lambda: _NNCLR(width, setting["temperature"]),
        "byol": lambda: _BYOL(width, backbone, setting["momentum"]),
        "barlow_twins": lambda: _BarlowTwins(width),
    }
    return makers[name]()


def learned(
    name: str, setting: dict[str, Any], params: dict[str, Any], images: ImageList, seconds: float
) -> tuple[Encoder, float, int]:
    """Train our backbone by one of lightly's methods until the time is over, decoding included.

    Args:
        name: ``simclr``, ``nnclr``, ``byol`` or ``barlow_twins``.
        setting: ``batch_size`` and ``learning_rate`` (SGD with momentum, cosine over the time) and the method's own.
        params: our parameters: backbone, side, augmentation and seed.
        images: what to learn from.
        seconds: of wall time.

    Returns:
        The encoder, whose last block's features count, not its head; seconds it took; and how many images it has seen.
    """
    started = time.monotonic()
    config = resolve(
        TrainConfig.make({**params, "batch_size": setting["batch_size"], "device": "cpu"}), len(images.images), images.median_side
    )
    assert config.crop_size is not None
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(images, config.crop_size, Path(scratch), Ranks(), _CPU)
    encoder = build_encoder(config)
    encoder.set_moments(*store.moments())
    torch.manual_seed(config.seed)
    method = _method(name, setting, encoder)
    both = nn.ModuleList([encoder, method]).to(memory_format=torch.channels_last)
    both.train()
    trained = [value for value in both.parameters() if value.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.0, momentum=0.9, nesterov=True, weight_decay=config.weight_decay, fused=True)
    seen = 0
    for views in store.augmented(_plan(config, store), config.crop_size, _CPU):
        part = (time.monotonic() - started) / seconds
        if part >= 1:
            break
        rate = setting["learning_rate"] * min(1.0, part / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * part))
        optimiser.param_groups[0]["lr"] = rate
        views = views.contiguous(memory_format=torch.channels_last)
        with precision(config, _CPU):
            h = encoder.pooled(views)
        loss = method(h.float(), views)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"the loss became {float(loss)}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seen += len(views) // 2
    return encoder, time.monotonic() - started, seen


def _plan(config: TrainConfig, store: PixelStore) -> Iterator[tuple[Tensor, Augmentation]]:
    """Two views of every image of a batch, one epoch after another."""
    count = len(store.sizes)
    for epoch in itertools.count():
        order = torch.randperm(count, generator=generator(config.seed, "order", 0, epoch))
        for step, rows in enumerate(order.tensor_split(math.ceil(count / config.batch_size))):
            both = torch.cat([rows, rows])
            yield both, Augmentation.draw(store.sizes[both], config, generator(config.seed, "augment", 0, epoch, step))


def run(
    name: str, setting: dict[str, Any], params: dict[str, Any], images: ImageList, queries: ImageList, seconds: float
) -> dict[str, Any]:
    """Train as ``learned`` does, and judge the features of the last block, as lightly does, by the same measures as ours."""
    encoder, spent, seen = learned(name, setting, params, images, seconds)
    blocks = [encode_blocks(encoder, evaluation_batches(one, encoder.image_size), _CPU)[1] for one in (images, queries)]
    vectors = [F.normalize(block, dim=1) for block in blocks]
    return {**figures(vectors[0], vectors[1], *classes(images, queries)), "images_seen": seen, "seconds": round(spent, 1)}
