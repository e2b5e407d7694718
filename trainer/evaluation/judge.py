"""Labelled images that judge one embedding after another: those that vote, and those that are asked."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.ground.methods import METHODS
from core.ground.reports import Figures, Votes, VotesAndRetrieval
from trainer.backbones.encoder import Encoder, encode, encode_blocks, encode_features
from trainer.backbones.resnet import build_encoder, load_initial_weights
from trainer.config import ConfigError, InputError, TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.data.pixels import MEMORY_BUDGET
from trainer.evaluation.metrics import few_label_accuracy, knn_accuracy, linear_accuracy, retrieval
from trainer.machine.ranks import Ranks
from trainer.resolve import resolve
from trainer.start import set_principal_head

log = logging.getLogger("trainer")

PIXEL_SIDE = 32  # largest side at which raw pixels are compared
FEW_VOTERS = 5000  # below this many labelled images 200 voters would be most of a class
_FITTED = 1000  # images that principal components are fitted on, at least, where there are so many
_AFFORDABLE = 1_000_000_000  # pixels that a CPU encodes for a baseline: ten minutes of one core; a GPU 20 times as many


@dataclass(frozen=True)
class Labelled:
    """Images and their classes, one label for each or ``None`` where unknown."""

    images: ImageList
    labels: Sequence[str | None]


@dataclass(frozen=True)
class Judge:
    """Labelled voters and queries. Without held-out images, and where these are of classes that no image trained on is labelled
    with, the voters are the queries, each left out of its own vote.

    All figures are what ``trainer.evaluation.evaluate.evaluate`` describes.
    """

    everything: ImageList  # that was trained on
    rows: Tensor  # of the voters in it; none where the held-out images vote
    voters: ImageList
    labels: Tensor
    queries: ImageList
    targets: Tensor
    held_out: bool  # whether the queries are others than the voters
    k: int
    classes: int
    overlap: int
    device: torch.device
    decoded: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict)

    @property
    def unseen(self) -> bool:
        """Whether the held-out images vote, since no image trained on has a class of theirs."""
        return not len(self.rows)

    @classmethod
    def of(cls, train: Labelled, held_out: Labelled | None, k: int | None, device: torch.device) -> "Judge | None":
        """``None`` where there are no labels to judge by.

        Raises:
            InputError: every held-out image was trained on.
        """
        rows, names = _labelled_rows(train.labels)
        voters = _at(train.images, rows)
        queries, query_names, overlap, apart = voters, names, 0, held_out is not None
        if held_out:
            known = {image.sha256 for image in train.images.images}
            seen = [image.sha256 in known for image in held_out.images.images]
            overlap = sum(seen)
            if overlap == len(seen):
                raise InputError("every held-out image is one that the run was trained on")
            new, query_names = _labelled_rows([None if old else name for old, name in zip(seen, held_out.labels, strict=True)])
            queries = _at(held_out.images, new)
            if not set(names) & set(query_names):
                rows, voters, names, apart = [], queries, query_names, False
        if len(names) < 2 or not query_names:
            return None
        index = {name: number for number, name in enumerate(sorted({*names, *query_names}))}
        labels = torch.tensor([index[name] for name in names])
        targets = torch.tensor([index[name] for name in query_names])
        k = min(k or (20 if len(names) < FEW_VOTERS else 200), len(names) - (not apart))
        judged = (voters, labels, queries, targets, apart, k, len(set(names)), overlap, device)
        return cls(train.images, torch.tensor(rows, dtype=torch.int64), *judged)

    def encoder(self, encoder: Encoder) -> tuple[Figures, Tensor]:
        """All figures of an encoder that encodes voters and queries, and the voters' embeddings (V, d)."""
        bank, blocks, queries, query_blocks = self._encoded(encoder)
        return self._figures(bank, queries, self._linear(blocks, query_blocks)), bank

    def briefly(self, encoder: Encoder) -> Votes:
        """As ``encoder``, but only the figures that take no time beside encoding."""
        bank, _, queries, _ = self._encoded(encoder)
        return self._votes(bank, queries)

    def left_out(self, bank: Tensor) -> VotesAndRetrieval:
        """Figures by which is chosen: of the voters' embeddings (V, d), each left out of its own vote, so that held-out images
        have no part in the choice that they judge."""
        alone = replace(self, queries=self.voters, targets=self.labels, held_out=False, k=min(self.k, len(bank) - 1))
        return {**alone._votes(bank, bank), **retrieval(bank, self.labels, bank, self.labels, leave_one_out=True)}

    def as_loaded(self, encoder: Encoder, bank: Tensor) -> Figures:
        """All figures of a round that trained nothing, so that its memory bank (N, d) is what the encoder gives; what would take
        encoding the voters anew, the linear classifier on the last block, is ``None``."""
        voters = queries = bank[self.rows]
        if self.held_out or self.unseen:
            self._move(encoder)
            queries = encode(encoder, self._batches(self.queries, int(encoder.image_size)), self.device)
        return self._figures(queries if self.unseen else voters, queries, None)

    def pretrained(self, median_side: int) -> Figures | None:
        """All figures of the installed ImageNet weights as they are, with the head that a job with ``method: frozen`` gives them,
        fitted on the voters that were trained on and, where these are few, on others that were. ``None``, and a line in the log,
        where the weights cannot be had or there are too many images for a baseline."""
        params = {"preset": "quick", "method": "frozen", "init": "imagenet", "device": str(self.device)}
        config = resolve(TrainConfig.make(params), len(self.everything.images), median_side)
        assert config.image_size is not None
        images = len(self.voters.images) + (len(self.queries.images) if self.held_out else 0)
        if images * config.image_size**2 > _AFFORDABLE * (1 if self.device.type == "cpu" else 20):
            log.info("no figures of the pretrained encoder as it is: %s images would take too long here", f"{images:,}")
            return None
        encoder = build_encoder(config)
        try:
            load_initial_weights(encoder, config.init, config.backbone)
        except ConfigError as error:
            log.info("no figures of the pretrained encoder as it is: %s", str(error).removeprefix("init: "))
            return None
        self._move(encoder)
        blocks = self._features(encoder, self.voters)
        parts = [] if self.unseen else [blocks]
        if (more := self._unlabelled()).images:
            parts.append(self._features(encoder, more))
        with torch.no_grad():
            set_principal_head(encoder, torch.cat(parts), Ranks())
            bank = encoder.project(blocks.to(self.device)).cpu()
            query_blocks = self._features(encoder, self.queries) if self.held_out else blocks
            queries = encoder.project(query_blocks.to(self.device)).cpu() if self.held_out else bank
        return self._figures(bank, queries, self._linear(blocks, query_blocks))

    def untrained(self, config: TrainConfig, trained: Encoder, median_side: int) -> Figures:
        """All figures of the encoder before any training. EfficientNet gives nearly one vector for all images then, so that
        what stands for it is the network that training from nothing takes, that of ``quick``."""
        if config.backbone != "efficientnet_lite0":
            encoder = build_encoder(config)
            encoder.set_moments(trained.get_buffer("pixel_mean"), trained.get_buffer("pixel_std"))
            if not METHODS[config.method].trains_head:  # then its head is made, too
                self._move(encoder)
                with torch.no_grad():
                    set_principal_head(encoder, self._features(encoder, self.voters), Ranks())
            return self.encoder(encoder)[0]
        params = {"preset": "quick", "seed": config.seed, "device": str(self.device)}
        config = resolve(TrainConfig.make(params), len(self.everything.images), median_side)
        encoder = build_encoder(config)
        encoder.set_moments(*self._moments(int(encoder.image_size)))
        return self.encoder(encoder)[0]

    def raw_pixels(self, config: TrainConfig) -> Figures:
        """Cosine of the evaluation images' pixels, the mean image of the voters subtracted; at a side of at most
        ``PIXEL_SIDE``, where raw pixels do best and fit in memory."""
        assert config.image_size is not None
        side = min(config.image_size, PIXEL_SIDE)
        bank = self._pixels(self.voters, side)
        mean = bank.mean(dim=0)
        bank = F.normalize(bank.sub_(mean), dim=1)
        queries = F.normalize(self._pixels(self.queries, side).sub_(mean), dim=1) if self.held_out else bank
        return self._figures(bank, queries, None)

    def _unlabelled(self) -> ImageList:
        """Images beside the voters, evenly spaced, as many as let ``_FITTED`` be fitted on."""
        missing = _FITTED - len(self.rows)
        voting = set(self.rows.tolist())
        others = [row for row in range(len(self.everything.images)) if row not in voting] if missing > 0 else []
        return _at(self.everything, others[:: max(1, -(-len(others) // max(1, missing)))])

    def _move(self, encoder: Encoder) -> None:
        encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _encoded(self, encoder: Encoder) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self._move(encoder)
        side = int(encoder.image_size)
        bank, blocks = encode_blocks(encoder, self._batches(self.voters, side), self.device)
        if not self.held_out:
            return bank, blocks, bank, blocks
        return bank, blocks, *encode_blocks(encoder, self._batches(self.queries, side), self.device)

    def _features(self, encoder: Encoder, images: ImageList) -> Tensor:
        side = int(encoder.image_size)
        batches = self.decoded.get((id(images), side)) or evaluation_batches(images, side)  # needed once: they are not kept
        return encode_features(encoder, batches, self.device)

    def _moments(self, side: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of the voters in 0..1, (3,) each."""
        total, squares, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
        for batch in self._batches(self.voters, side):
            colours = batch.flatten(0, 2).double() / 255
            total, squares, count = total + colours.sum(dim=0), squares + colours.square().sum(dim=0), count + len(colours)
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp(min=1e-4).sqrt().float()

    def _pixels(self, images: ImageList, side: int) -> Tensor:
        return torch.cat([batch.flatten(1).float() for batch in self._batches(images, side)])

    def _batches(self, images: ImageList, side: int) -> Iterable[Tensor]:
        """Decoded once and kept where memory allows, since one encoder after another sees the same images."""
        if len(images.images) * side * side * 3 > MEMORY_BUDGET:
            return evaluation_batches(images, side)
        key = (id(images), side)
        if key not in self.decoded:
            self.decoded[key] = list(evaluation_batches(images, side))
        return self.decoded[key]

    def _votes(self, bank: Tensor, queries: Tensor) -> Votes:
        alone = not self.held_out
        return {
            "few_label": few_label_accuracy(bank, self.labels, queries, self.targets, leave_one_out=alone),
            "knn_accuracy": knn_accuracy(bank, self.labels, queries, self.targets, self.k, leave_one_out=alone),
        }

    def _figures(self, bank: Tensor, queries: Tensor, last_block: float | None) -> Figures:
        found = retrieval(bank, self.labels, queries, self.targets, leave_one_out=not self.held_out)
        linear = self._linear(bank, queries)
        return {**self._votes(bank, queries), **found, "linear_embedding": linear, "linear_last_block": last_block}

    def _linear(self, features: Tensor, queries: Tensor) -> float | None:
        if self.classes < 2:
            return None
        if self.held_out:
            return linear_accuracy(features, self.labels, queries, self.targets)
        fifth = torch.arange(len(features)) % 5 == 0
        if len(set(self.labels[~fifth].tolist())) < 2:
            return None
        return linear_accuracy(features[~fifth], self.labels[~fifth], features[fifth], self.labels[fifth])


def _labelled_rows(labels: Sequence[str | None]) -> tuple[list[int], list[str]]:
    known = [(row, name) for row, name in enumerate(labels) if name is not None]
    return [row for row, _ in known], [name for _, name in known]


def _at(images: ImageList, rows: Sequence[int]) -> ImageList:
    return ImageList([images.images[row] for row in rows])
