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
from trainer.encode import encode
from trainer.sources import MEMORY_BUDGET, ImageList, evaluation_batches

BLOCK = 1024  # queries at a time
PIXEL_SIDE = 32  # largest side at which raw pixels are compared
FEW_VOTERS = 5000  # below this many labelled images 200 voters would be most of a class


@dataclass(frozen=True)
class Labelled:
    """Images and their classes, one label for each or ``None`` where unknown."""

    images: ImageList
    labels: Sequence[str | None]


def knn_accuracy(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    targets: Tensor,
    k: int,
    temperature: float = 0.1,
    *,
    leave_one_out: bool = False,
) -> float:
    """Fraction of queries whose weighted kNN vote is right (Wu et al. 2018, section 3.4: weights exp(sim / T)).

    Args:
        bank: unit rows (N, d).
        labels: int64 (N,), classes of the rows.
        queries: unit rows (Q, d).
        targets: int64 (Q,).
        k: number of voters, at most as many as there are.
        temperature: T.
        leave_one_out: the queries are the bank's own rows, in order; each is left out of its own vote.
    """
    k = min(k, len(bank) - leave_one_out)
    classes = int(max(labels.max(), targets.max())) + 1
    right = 0
    for start in range(0, len(queries), BLOCK):
        sims = queries[start : start + BLOCK] @ bank.T  # (B, N)
        if leave_one_out:
            own = torch.arange(start, start + len(sims))
            sims.scatter_(1, own[:, None], float("-inf"))
        best, rows = sims.topk(k, dim=1)
        # Shifted by the best similarity: the vote is unchanged and cannot overflow.
        weights = torch.exp((best - best[:, :1]) / temperature)
        votes = torch.zeros(len(sims), classes).scatter_add_(1, labels[rows], weights)
        right += int((votes.argmax(dim=1) == targets[start : start + BLOCK]).sum())
    return right / len(queries)


def consistency(neighbours: Tensor, labels: Sequence[str | None]) -> float | None:
    """Fraction of the anchors' neighbours that share the anchor's class, over pairs in which both are labelled.

    Args:
        neighbours: int64 (N, k) rows, -1 throughout for what is no anchor.
        labels: N classes.
    """
    pairs = [(labels[i], labels[j]) for i, row in enumerate(neighbours.tolist()) for j in row if j >= 0]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return sum(a == b for a, b in known) / len(known) if known else None


def evaluate(
    run_dir: Path,
    train: Labelled,
    held_out: Labelled | None,
    k: int | None = None,
    device: str = "auto",
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Judge a finished run by kNN with labels that it never saw.

    Every encoder, of the end of each round and untrained, encodes anew both the training images and the queries. Without
    held-out images the queries are the labelled training images, each left out of its own vote.

    Args:
        run_dir: the run's folder.
        train: the run's images and labels; only the labelled vote.
        held_out: queries with labels.
        k: number of voters, lowered to what there is; by default 200 as in the paper, 20 where fewer than
            ``FEW_VOTERS`` images are labelled.
        device: where to encode, as in the configuration; the run may have used another.
        on_progress: told what is being evaluated.

    Returns:
        ``k, held_out, queries, overlap, classes, knn_accuracy, untrained_accuracy, raw_pixel_accuracy, anchors, consistency`` and
        ``rounds``, a list of ``{round, knn_accuracy, anchors, consistency, mean_entropy}``. Fractions; ``None`` where
        there are no labels to judge by. ``overlap`` counts held-out images left out because the run was trained on them.

    Raises:
        InputError: not a finished run, or one of other images; held-out images that were all trained on; a bad ``k``.
    """
    if k is not None and k < 1:
        raise InputError(f"k: {k} is not a number of voters, 1 or more")
    ends = checkpoints.round_ends(run_dir / "checkpoints")
    if not ends:
        raise InputError(f"{run_dir}: no checkpoint of a finished round in it")
    judge = _Judge.of(train, held_out, k, resolve_device(device))
    rounds, omega, config = [], None, None
    for number, path in ends:
        on_progress(f"round {number}")
        state = checkpoints.load(path)
        config = TrainConfig.make(state["config"])
        if state["images"] != train.images.fingerprint:
            raise InputError(f"{run_dir} was trained on other images than the ones given")
        encoder = build_encoder(config)
        encoder.load_state_dict(state["encoder"])
        anchors = 0.0 if omega is None else float((omega[:, 0] >= 0).float().mean())
        rounds.append(
            {
                "round": number,
                "knn_accuracy": judge.encoder(encoder) if judge else None,
                "anchors": anchors,
                "consistency": None if omega is None else consistency(omega, train.labels),
                "mean_entropy": float(state["entropy"][number].mean()),
            }
        )
        omega = state["neighbours"]  # what the next round is trained towards
    assert config is not None
    if len(rounds) < config.rounds:
        raise InputError(f"{run_dir}: only {len(rounds)} of {config.rounds} rounds are finished; run it to its end first")
    untrained = build_encoder(config)
    for name in ("pixel_mean", "pixel_std"):
        untrained.get_buffer(name).copy_(encoder.get_buffer(name))
    on_progress("untrained encoder and raw pixels")
    last = rounds[-1]
    return {
        "k": judge.k if judge else None,
        "held_out": held_out is not None,
        "queries": len(judge.targets) if judge else 0,
        "overlap": judge.overlap if judge else 0,
        "classes": judge.classes if judge else 0,
        "knn_accuracy": last["knn_accuracy"],
        "untrained_accuracy": judge.encoder(untrained) if judge else None,
        "raw_pixel_accuracy": judge.raw_pixels(config) if judge else None,
        "anchors": last["anchors"],
        "consistency": last["consistency"],
        "rounds": rounds,
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

    def encoder(self, encoder: Encoder) -> float:
        encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._accuracy(lambda images: encode(encoder, self._batches(images, int(encoder.image_size)), self.device))

    def raw_pixels(self, config: TrainConfig) -> float:
        """Cosine of the evaluation images' pixels, the mean image of the voters subtracted; at a side of at most
        ``PIXEL_SIDE``, where raw pixels do best and fit in memory."""
        assert config.image_size is not None
        side = min(config.image_size, PIXEL_SIDE)
        mean = self._pixels(self.voters, side).mean(dim=0)
        return self._accuracy(lambda images: F.normalize(self._pixels(images, side).sub_(mean), dim=1))

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

    def _accuracy(self, embed: Callable[[ImageList], Tensor]) -> float:
        bank = embed(self.voters)
        queries = embed(self.queries) if self.held_out else bank
        return knn_accuracy(bank, self.labels, queries, self.targets, self.k, leave_one_out=not self.held_out)


def _only_labelled(labelled: Labelled) -> tuple[ImageList, list[str]]:
    known = [(image, name) for image, name in zip(labelled.images.images, labelled.labels, strict=True) if name is not None]
    return ImageList([image for image, _ in known]), [name for _, name in known]
