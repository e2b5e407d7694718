"""kNN votes of labelled images, weighted by exp(similarity / temperature) (Wu et al. 2018, section 3.4)."""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from core.open_models import Vector

_JUDGED = 10_000  # images whose classes are voted on by the others: some seconds at 50,000 labelled ones


@dataclass(frozen=True)
class LeaveOneOut:
    """How well the labels given so far predict each other.

    ``confusion[i][j]`` counts images of class ``classes[i]`` that were voted to be of class ``classes[j]``.
    """

    k: int
    judged: int
    accuracy: float
    classes: list[str]
    confusion: NDArray[np.int64]


def vote(sims: Vector, classes: NDArray[np.int64], count: int, temperature: float) -> NDArray[np.float64]:
    """Probability of each of ``count`` classes from the voters' similarities and classes, (K,) each, the best first."""
    weights = np.exp((sims - sims[0]).astype(np.float64) / temperature)
    votes = np.bincount(classes, weights, minlength=count)
    return np.asarray(votes / votes.sum())


def leave_one_out(embeddings: Vector, classes: NDArray[np.int64], names: list[str], k: int, temperature: float) -> LeaveOneOut:
    """Let the labelled images vote on each other, none on itself; of many an evenly spaced part is judged.

    Args:
        embeddings: unit rows (M, d) of the labelled images, at least two.
        classes: int64 (M,).
        names: of the classes.
        k: number of voters, lowered to M - 1.
        temperature: T.
    """
    k = min(k, len(classes) - 1)
    judged = np.arange(0, len(classes), -(-len(classes) // _JUDGED))
    scores, rows = faiss.knn(embeddings[judged], embeddings, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    confusion = np.zeros((len(names), len(names)), np.int64)
    for own, sims, voters in zip(judged, scores, rows, strict=True):
        others = voters != own
        sims, voters = sims[others][:k], voters[others][:k]
        guess = int(np.argmax(vote(sims, classes[voters], len(names), temperature)))
        confusion[classes[own], guess] += 1
    return LeaveOneOut(k, len(judged), float(np.trace(confusion) / len(judged)), names, confusion)
