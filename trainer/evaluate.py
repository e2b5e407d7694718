"""Evaluation, apart from training: it reads checkpoints, takes labels, and changes nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import checkpoints
from trainer.backbones import Encoder, build_encoder
from trainer.config import InputError, TrainConfig, resolve_device
from trainer.encode import encode_blocks
from trainer.metrics import consistency, consistency_by_decile, knn_accuracy, linear_accuracy, retrieval
from trainer.pixels import MEMORY_BUDGET, evaluation_batches
from trainer.sources import ImageList

PIXEL_SIDE = 32  # largest side at which raw pixels are compared
LABEL_FREE = ("mean_entropy", "neighbour_agreement", "effective_rank", "alignment", "uniformity")
FEW_VOTERS = 5000  # below this many labelled images 200 voters would be most of a class


@dataclass(frozen=True)
class Labelled:
    """Images and their classes, one label for each or ``None`` where unknown."""

    images: ImageList
    labels: Sequence[str | None]


def evaluate(
    run_dir: Path,
    train: Labelled,
    held_out: Labelled | None,
    k: int | None = None,
    device: str = "auto",
    on_progress: Callable[[str, str, float], None] = lambda text, step, done: None,
) -> dict[str, Any]:
    """Judge a finished run with labels that it never saw: kNN for every round, linear classifiers and retrieval for the last.

    Every encoder, of the end of each round and untrained, encodes anew both the training images and the queries. Without
    held-out images the queries are the labelled training images, each left out of its own vote.

    Args:
        run_dir: the run's folder.
        train: the run's images and labels; only the labelled vote.
        held_out: queries with labels.
        k: number of voters, lowered to what there is; by default 200 as in the paper, 20 where fewer than
            ``FEW_VOTERS`` images are labelled.
        device: where to encode, as in the configuration; the run may have used another.
        on_progress: told what is being evaluated, and which share is done of which step: ``rounds`` before the last one,
            ``last``, ``untrained``, ``pixels``.

    Returns:
        ``k, held_out, queries, overlap, classes``; ``knn_accuracy, untrained_accuracy, raw_pixel_accuracy``; ``trained``,
        ``untrained`` and ``raw_pixels``, each with ``knn_accuracy, linear_embedding, linear_last_block`` and what
        ``metrics.retrieval`` gives; ``anchors, consistency``; ``rounds``, a list of ``{round, knn_accuracy, anchors, consistency,
        consistency_by_decile}`` and ``LABEL_FREE``; ``warnings``. Fractions; ``None`` where there are no labels to judge by.
        ``overlap`` counts held-out images left out because the run was trained on them. Without held-out images the linear
        classifiers are trained on four fifths of the images and judged on the rest.

    Raises:
        InputError: not a finished run, or one of other images; held-out images that were all trained on; a bad ``k``.
    """
    if k is not None and k < 1:
        raise InputError(f"k: {k} is not a number of voters, 1 or more")
    ends = checkpoints.round_ends(run_dir / "checkpoints")
    if not ends:
        raise InputError(f"{run_dir}: no checkpoint of a finished round in it")
    judge = _Judge.of(train, held_out, k, resolve_device(device))
    rounds: list[dict[str, Any]] = []
    figures, config = None, None
    for number, path in ends:
        before_last = len(rounds) < len(ends) - 1
        on_progress(f"round {number}", *(("rounds", len(rounds) / (len(ends) - 1)) if before_last else ("last", 0.0)))
        state = checkpoints.load(path)
        config = TrainConfig.make(state["config"])
        if state["images"] != train.images.fingerprint:
            raise InputError(f"{run_dir} was trained on other images than the ones given")
        encoder = build_encoder(config)
        encoder.load_state_dict(state["encoder"])
        omega = state["neighbours"]  # what this round was trained towards
        final = number == config.rounds - 1
        figures = judge.encoder(encoder, everything=final) if judge else None
        label_free = next(event for event in state["history"] if event["type"] == "round" and event["round"] == number)
        rounds.append(
            {
                "round": number,
                "knn_accuracy": figures["knn_accuracy"] if figures else None,
                "anchors": 0.0 if omega is None else float((omega[:, 0] >= 0).float().mean()),
                "consistency": None if omega is None else consistency(omega, train.labels),
                "consistency_by_decile": consistency_by_decile(state["entropy"][number], state["nearest"], train.labels),
                **{name: label_free[name] for name in LABEL_FREE},
            }
        )
    assert config is not None
    if len(rounds) < config.rounds:
        raise InputError(f"{run_dir}: only {len(rounds)} of {config.rounds} rounds are finished; run it to its end first")
    untrained = build_encoder(config)
    untrained.set_moments(encoder.get_buffer("pixel_mean"), encoder.get_buffer("pixel_std"))
    on_progress("untrained encoder", "untrained", 0.0)
    before = judge.encoder(untrained, everything=True) if judge else None
    on_progress("raw pixels", "pixels", 0.0)
    pixels = judge.raw_pixels(config) if judge else None
    last = rounds[-1]
    return {
        "k": judge.k if judge else None,
        "held_out": held_out is not None,
        "queries": len(judge.targets) if judge else 0,
        "overlap": judge.overlap if judge else 0,
        "classes": judge.classes if judge else 0,
        "knn_accuracy": last["knn_accuracy"],
        "untrained_accuracy": before["knn_accuracy"] if before else None,
        "raw_pixel_accuracy": pixels["knn_accuracy"] if pixels else None,
        "trained": figures,
        "untrained": before,
        "raw_pixels": pixels,
        "anchors": last["anchors"],
        "consistency": last["consistency"],
        "rounds": rounds,
        "warnings": [event["message"] for event in state["history"] if event["type"] == "warning"],
    }


@dataclass(frozen=True)
class _Judge:
    """Labelled voters and queries, ready to be encoded by one encoder after another."""

    voters: ImageList
    labels: Tensor
    queries: ImageList
    targets: Tensor
    held_out: bool
    k: int
    classes: int
    overlap: int
    device: torch.device
    decoded: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, train: Labelled, held_out: Labelled | None, k: int | None, device: torch.device) -> "_Judge | None":
        voters, names = _only_labelled(train)
        queries, query_names, overlap = voters, names, 0
        if held_out:
            known = {image.sha256 for image in train.images.images}
            seen = [image.sha256 in known for image in held_out.images.images]
            overlap = sum(seen)
            if overlap == len(seen):
                raise InputError("every held-out image is one that the run was trained on")
            labels_of_new = [None if old else label for old, label in zip(seen, held_out.labels, strict=True)]
            queries, query_names = _only_labelled(Labelled(held_out.images, labels_of_new))
        if len(voters.images) < 2 or not queries.images:
            return None
        index = {name: number for number, name in enumerate(sorted({*names, *query_names}))}
        labels = torch.tensor([index[name] for name in names])
        targets = torch.tensor([index[name] for name in query_names])
        k = min(k or (20 if len(names) < FEW_VOTERS else 200), len(names) - (held_out is None))
        return cls(voters, labels, queries, targets, held_out is not None, k, len(set(names)), overlap, device)

    def encoder(self, encoder: Encoder, everything: bool) -> dict[str, Any]:
        """kNN accuracy; with ``everything`` the linear classifiers and retrieval, too."""
        encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        side = int(encoder.image_size)
        bank, blocks = encode_blocks(encoder, self._batches(self.voters, side), self.device)
        queries, query_blocks = bank, blocks
        if self.held_out:
            queries, query_blocks = encode_blocks(encoder, self._batches(self.queries, side), self.device)
        figures = self._figures(bank, queries, everything)
        return {**figures, "linear_last_block": self._linear(blocks, query_blocks)} if everything else figures

    def raw_pixels(self, config: TrainConfig) -> dict[str, Any]:
        """Cosine of the evaluation images' pixels, the mean image of the voters subtracted; at a side of at most
        ``PIXEL_SIDE``, where raw pixels do best and fit in memory."""
        assert config.image_size is not None
        side = min(config.image_size, PIXEL_SIDE)
        bank = self._pixels(self.voters, side)
        mean = bank.mean(dim=0)
        bank = F.normalize(bank.sub_(mean), dim=1)
        queries = F.normalize(self._pixels(self.queries, side).sub_(mean), dim=1) if self.held_out else bank
        return {**self._figures(bank, queries, everything=True), "linear_last_block": None}

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

    def _figures(self, bank: Tensor, queries: Tensor, everything: bool) -> dict[str, Any]:
        alone = not self.held_out
        accuracy = knn_accuracy(bank, self.labels, queries, self.targets, self.k, leave_one_out=alone)
        if not everything:
            return {"knn_accuracy": accuracy}
        found = retrieval(bank, self.labels, queries, self.targets, leave_one_out=alone)
        return {"knn_accuracy": accuracy, "linear_embedding": self._linear(bank, queries), **found}

    def _linear(self, features: Tensor, queries: Tensor) -> float | None:
        if self.classes < 2:
            return None
        if self.held_out:
            return linear_accuracy(features, self.labels, queries, self.targets)
        fifth = torch.arange(len(features)) % 5 == 0
        if len(set(self.labels[~fifth].tolist())) < 2:
            return None
        return linear_accuracy(features[~fifth], self.labels[~fifth], features[fifth], self.labels[fifth])


def _only_labelled(labelled: Labelled) -> tuple[ImageList, list[str]]:
    known = [(image, name) for image, name in zip(labelled.images.images, labelled.labels, strict=True) if name is not None]
    return ImageList([image for image, _ in known]), [name for _, name in known]
