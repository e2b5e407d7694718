"""Evaluation, apart from training: it reads checkpoints, takes labels, and changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core.ground.folders import RunFolder
from core.ground.methods import METHODS
from core.ground.reports import Change, Evaluation, EvaluationStep, Figures, Round, RoundJudged, Votes
from core.ground.verdict import LEAST_JUDGED
from trainer import checkpoints
from trainer.backbones.encoder import Encoder, encode
from trainer.backbones.resnet import build_encoder
from trainer.config import InputError, TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.evaluation.choice import SAMPLE, change, gains, is_sound
from trainer.evaluation.judge import Judge, Labelled
from trainer.evaluation.metrics import consistency, consistency_by_decile
from trainer.resolve import resolve_device

__all__ = ["Labelled", "evaluate"]


def evaluate(
    run_dir: Path,
    train: Labelled,
    held_out: Labelled | None,
    k: int | None = None,
    device: str = "auto",
    on_progress: Callable[[str, EvaluationStep, float], None] = lambda text, step, done: None,
) -> Evaluation:
    """Judge a finished run with labels that it never saw: votes for every round; retrieval and linear classifiers, too, for what
    is to be published and for what it is compared with.

    Every encoder, of the end of each round and untrained, encodes anew both the training images and the queries; of a round that
    trained nothing the memory bank is that. Without held-out images the queries are the labelled training images, each left out
    of its own vote. Held-out images whose classes no training image is labelled with vote on one another in the same way: how
    alike images of unseen classes are found to be, the protocol of fine-grained retrieval (Song et al., CVPR 2016).

    Args:
        run_dir: the run's folder.
        train: the run's images and labels; only the labelled vote.
        held_out: queries with labels.
        k: number of voters, lowered to what there is; by default 200 as in the paper, 20 where fewer than
            ``judge.FEW_VOTERS`` images are labelled.
        device: where to encode, as in the configuration; the run may have used another.
        on_progress: told what is being evaluated, and which share is done of which step: ``rounds`` before the last one,
            ``last``, ``untrained``, ``frozen``, ``pixels``.

    Returns:
        A dictionary of fractions and counts, ``None`` where there are no labels to judge by:

        ``k, held_out, queries, classes``; ``unseen_classes``, whether the held-out images vote on one another; ``overlap``, the
        held-out images left out because the run was trained on them;
        ``trained`` (what is to be published), ``adapted`` (the last round, where that is not it), ``frozen`` (round 0 of a run
        that started from weights as they are, else the installed ImageNet weights), ``untrained`` and ``raw_pixels``: each
        ``few_label`` (``metrics.few_label_accuracy``), ``knn_accuracy``, what ``metrics.retrieval`` gives, ``linear_embedding``
        and ``linear_last_block``. Without held-out images the linear classifiers are trained on four fifths of the images and
        judged on the rest;
        ``knn_accuracy, frozen_accuracy, untrained_accuracy, raw_pixel_accuracy``, those of kNN again;
        ``published_round``, the last one, or 0 where a run started from weights and did not gain (``trainer.evaluation.choice``);
        ``chosen_by``, ``labels`` or ``neighbours``, ``None`` where there was no choice; ``change``, what ``choice.change`` gives,
        where neighbours chose; ``as_it_was``, whether what is published is what the run started from; ``init``, which is
        ``random``, ``imagenet`` or ``weights``; ``method``;
        ``rounds``, a list of ``{round, few_label, knn_accuracy, anchors, consistency, consistency_by_decile}`` and the
        figures without labels; ``anchors, consistency`` of the last one; ``warnings``.

    Raises:
        InputError: not a finished run, or one of other images; held-out images that were all trained on; a bad ``k``.
    """
    if k is not None and k < 1:
        raise InputError(f"k: {k} is not a number of voters, 1 or more")
    ends = checkpoints.round_ends(RunFolder(run_dir).checkpoints)
    if not ends:
        raise InputError(f"{run_dir}: no checkpoint of a finished round in it")
    judge = Judge.of(train, held_out, k, resolve_device(device))
    rounds: list[RoundJudged] = []
    votes: Votes | None = None  # of the round
    figures: Figures | None = None  # of the last one
    frozen: Figures | None = None
    config: TrainConfig | None = None
    start: Tensor | None = None  # memory bank of a round 0 that trained nothing
    end: Tensor | None = None  # the labelled images' embeddings after the last round
    for number, path in ends:
        before_last = len(rounds) < len(ends) - 1
        if before_last:
            on_progress(f"round {number}", "rounds", len(rounds) / (len(ends) - 1))
        else:
            on_progress(f"round {number}", "last", 0.0)
        state = checkpoints.load(path)
        config = TrainConfig.make(run=state["config"])
        if state["images"] != train.images.fingerprint:
            raise InputError(f"{run_dir} was trained on other images than the ones given")
        encoder = build_encoder(config)
        encoder.load_state_dict(state["encoder"])
        omega = state["neighbours"]  # what this round was trained towards
        if number == 0 and config.epochs_first == 0 and config.init != "random":
            start = state["bank"]
            votes = figures = frozen = judge.as_loaded(encoder, start) if judge else None
        elif judge and number == config.rounds - 1:
            figures, end = judge.encoder(encoder)
            votes = figures
        elif judge:
            votes = judge.briefly(encoder)
        told: Round = next(event for event in state["history"] if event["type"] == "round" and event["round"] == number)
        rounds.append(
            {
                "round": number,
                "few_label": votes["few_label"] if votes else [],
                "knn_accuracy": _accuracy(votes),
                "anchors": 0.0 if omega is None else float((omega[:, 0] >= 0).float().mean()),
                "consistency": None if omega is None else consistency(omega, train.labels),
                "consistency_by_decile": consistency_by_decile(state["entropy"][number], state["nearest"], train.labels),
                "mean_entropy": told["mean_entropy"],
                "neighbour_agreement": told["neighbour_agreement"],
                "effective_rank": told["effective_rank"],
                "alignment": told["alignment"],
                "uniformity": told["uniformity"],
            }
        )
    assert config is not None
    if len(rounds) < config.rounds:
        raise InputError(f"{run_dir}: only {len(rounds)} of {config.rounds} rounds are finished; run it to its end first")
    last = rounds[-1]
    published = last["round"]
    chosen_by: Literal["labels", "neighbours"] | None = None
    changed: Change | None = None
    adapted: Figures | None = None
    if start is not None and len(rounds) > 1:
        blind = not METHODS[config.method].reads_labels  # what has learned from the labels cannot be chosen by them
        if blind and judge and not judge.unseen and end is not None and judge.classes > 1 and len(judge.labels) >= LEAST_JUDGED:
            before, after = [judge.left_out(bank) for bank in (start[judge.rows], end)] if held_out else (frozen, figures)
            assert before and after
            chosen_by, better = "labels", gains(before, after, len(judge.labels))
        else:
            changed = _changed(start, encoder, train.images, resolve_device(device))
            chosen_by, better = "neighbours", is_sound(changed)
        if not better:
            published, figures, adapted = 0, frozen, figures
    on_progress("untrained encoder", "untrained", 0.0)
    untrained = judge.untrained(config, encoder, train.images.median_side) if judge else None
    if judge and start is None:
        on_progress("pretrained encoder as it is", "frozen", 0.0)
        frozen = judge.pretrained(train.images.median_side)
    on_progress("raw pixels", "pixels", 0.0)
    pixels = judge.raw_pixels(config) if judge else None
    return {
        "k": judge.k if judge else None,
        "held_out": held_out is not None,
        "unseen_classes": judge is not None and judge.unseen,
        "queries": len(judge.targets) if judge else 0,
        "overlap": judge.overlap if judge else 0,
        "classes": judge.classes if judge else 0,
        "init": "random" if config.init == "random" else "imagenet" if config.init == "imagenet" else "weights",
        "published_round": published,
        "chosen_by": chosen_by,
        "change": changed,
        "as_it_was": start is not None and published == 0,
        "method": config.method,
        "trained": figures,
        "adapted": adapted,
        "frozen": frozen,
        "untrained": untrained,
        "raw_pixels": pixels,
        "knn_accuracy": _accuracy(figures),
        "frozen_accuracy": _accuracy(frozen),
        "untrained_accuracy": _accuracy(untrained),
        "raw_pixel_accuracy": _accuracy(pixels),
        "anchors": last["anchors"],
        "consistency": last["consistency"],
        "rounds": rounds,
        "warnings": [event["message"] for event in state["history"] if event["type"] == "warning"],
    }


def _changed(start: Tensor, encoder: Encoder, images: ImageList, device: torch.device) -> Change:
    """What became of the start's memory bank (N, d): of a part of the images, evenly spaced."""
    rows = torch.arange(0, len(start), -(-len(start) // SAMPLE))
    some = ImageList([images.images[row] for row in rows.tolist()])
    encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return change(start[rows], encode(encoder, evaluation_batches(some, int(encoder.image_size)), device))


def _accuracy(votes: Votes | None) -> float | None:
    return votes["knn_accuracy"] if votes else None
