"""Whether a run that started from weights is better at its end than these weights were as they are. Ties go to the start."""

import math

import torch
from torch import Tensor

from core.ground.reports import Change, VotesAndRetrieval
from core.ground.verdict import few_label
from trainer.evaluation.diagnostics import effective_rank, neighbour_agreement

SAMPLE = 1000  # images by which is chosen without labels
# Of 31 trials on photographs of clothing and on CIFAR-10, those that harmed few-label accuracy by more than 0.2 points made at
# least 0.058 more of the nearest others mutual, all others at most 0.038; how many are kept and the rank tell ruin only.
MOST_MUTUAL = 0.045
LEAST_KEPT = 0.25  # share of the nearest others of the start that are still among the nearest
LEAST_RANK = 0.1  # of the effective rank of the start
_NEAREST = 20  # and at most a tenth of the images


def gains(frozen: VotesAndRetrieval, adapted: VotesAndRetrieval, judged: int) -> bool:
    """By labels: whether few-label accuracy, mean average precision and kNN accuracy together rise, and neither of the first two
    falls by more than a standard error of the difference of two accuracies. kNN counts in the sum alone: it asks for hundreds
    of labels, and rises where look-alikes are pushed apart (docs/method.md).

    Args:
        frozen: the start's figures, of the labelled images each left out of its own vote (``Judge.left_out``).
        adapted: those of the end.
        judged: number of labelled images.
    """
    few = few_label(frozen), few_label(adapted)
    measures = [(frozen["mean_average_precision"], adapted["mean_average_precision"])]
    measures += [(few[0]["mean"], few[1]["mean"])] if few[0] and few[1] else []
    known = [(before, after) for before, after in measures if before is not None and after is not None]
    within = [after - before >= -math.sqrt((before * (1 - before) + after * (1 - after)) / judged) for before, after in known]
    rise = sum(after - before for before, after in known) + adapted["knn_accuracy"] - frozen["knn_accuracy"]
    return bool(rise > 0 and all(within))


def change(before: Tensor, after: Tensor) -> Change:
    """What training did to the embedding, without labels.

    Args:
        before: unit rows (N, d) of some images, at least two, at the start.
        after: those of the same images at the end.

    Returns:
        Of each image's twenty nearest others among these (or a tenth of them): ``kept_neighbours``, the share that are still
        among the nearest; ``mutual_before`` and ``mutual_after``, the share that have the image among their own nearest. And
        ``effective_rank_before`` and ``effective_rank_after``.
    """
    nearest = _nearest(before), _nearest(after)
    return {
        "kept_neighbours": neighbour_agreement(*nearest),
        "mutual_before": _mutual(nearest[0]),
        "mutual_after": _mutual(nearest[1]),
        "effective_rank_before": effective_rank(before),
        "effective_rank_after": effective_rank(after),
    }


def is_sound(changed: Change) -> bool:
    """Without labels: whether the end still knows what the start knew, has not collapsed, and has not pushed look-alikes apart,
    after which each image is alone with those few that are nearest to it."""
    least = LEAST_RANK * changed["effective_rank_before"]
    apart = changed["mutual_after"] - changed["mutual_before"] > MOST_MUTUAL
    return changed["kept_neighbours"] >= LEAST_KEPT and changed["effective_rank_after"] >= least and not apart


def _nearest(embeddings: Tensor) -> Tensor:
    sims = (embeddings @ embeddings.T).fill_diagonal_(float("-inf"))
    return torch.topk(sims, max(1, min(_NEAREST, len(sims) // 10)), dim=1).indices


def _mutual(nearest: Tensor) -> float:
    near = torch.zeros(len(nearest), len(nearest), dtype=torch.bool).scatter_(1, nearest, True)
    return float((near & near.T).sum() / near.sum())
