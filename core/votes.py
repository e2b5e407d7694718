"""kNN votes of labelled images, weighted by exp(similarity / temperature) (Wu et al. 2018, section 3.4)."""

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from core.open_models import Rows, Vector
from core.settings import Settings
from core.snapshots import Neighbour, Snapshot

_JUDGED = 10_000  # images whose classes are voted on by the others: some seconds at 50,000 labelled ones


@dataclass(frozen=True)
class Classification:
    """A weighted kNN vote; ``label`` is ``None`` where its probability is below the minimum asked for."""

    label: str | None
    confidence: float
    classes: list[tuple[str, float]]
    voters: list[Neighbour]


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


def table_path(settings: Settings, job_id: str) -> Path:
    """Where a classification job leaves its table."""
    return settings.folder("runs") / job_id / "classifications.csv"


def vote(sims: Vector, classes: NDArray[np.int64], count: int, temperature: float) -> NDArray[np.float64]:
    """Probability of each of ``count`` classes from the voters' similarities and classes, (K,) each, the best first."""
    weights = np.exp((sims - sims[0]).astype(np.float64) / temperature)
    votes = np.bincount(classes, weights, minlength=count)
    return np.asarray(votes / votes.sum())


def classify(
    snapshot: Snapshot, vector: Vector, k: int, temperature: float, min_confidence: float, leave_out: int | None = None
) -> Classification | None:
    """kNN vote over the labelled images, exact; ``None`` where there is no voter.

    Args:
        vector: unit vector (d,).
        k: number of voters, lowered to those there are.
        temperature: T.
        min_confidence: probability below which the class is unknown.
        leave_out: an image that may not vote, the query itself.
    """
    rows, classes = snapshot.labelled, snapshot.classes
    if leave_out is not None:
        others = snapshot.ids[rows] != leave_out
        rows, classes = rows[others], classes[others]
    if not len(rows):
        return None
    sims = snapshot.similarities(rows, vector[None])[:, 0]  # (labelled,)
    best = np.argsort(-sims, kind="stable")[: min(k, len(sims))]
    probabilities = vote(sims[best], classes[best], len(snapshot.names), temperature)
    order = np.argsort(-probabilities, kind="stable")
    confidence = float(probabilities[order[0]])
    return Classification(
        snapshot.names[order[0]] if confidence >= min_confidence else None,
        confidence,
        [(snapshot.names[i], float(probabilities[i])) for i in order if probabilities[i] > 0],
        snapshot.described(rows[best], sims[best]),
    )


def predict(
    queries: Vector, own: Rows, voters: Vector, classes: Rows, count: int, k: int, temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes and their probabilities by the votes of the labelled images, none of which votes on itself.

    Args:
        queries: unit vectors (Q, d) to predict.
        own: which of the voters each query is, (Q,); -1 for none.
        voters: unit vectors (M, d) of the labelled images, at least two.
        classes: their classes, (M,).
        count: number of classes.
        k: number of voters, lowered to those there are.
        temperature: T.
    """
    scores, found = faiss.knn(queries, voters, min(k + 1, len(voters)), metric=faiss.METRIC_INNER_PRODUCT)
    guesses, confidences = np.zeros(len(queries), np.int64), np.zeros(len(queries))
    for at, (self_, sims, nearest) in enumerate(zip(own, scores, found, strict=True)):
        others = nearest != self_
        probabilities = vote(sims[others][:k], classes[nearest[others][:k]], count, temperature)
        guesses[at] = int(np.argmax(probabilities))
        confidences[at] = probabilities[guesses[at]]
    return guesses, confidences


def leave_one_out(voters: Vector, classes: Rows, names: list[str], k: int, temperature: float) -> LeaveOneOut:
    """Let the labelled images vote on each other; of many an evenly spaced part is judged. Arguments as of ``predict``."""
    judged = np.arange(0, len(classes), -(-len(classes) // _JUDGED))
    guesses, _ = predict(voters[judged], judged, voters, classes, len(names), k, temperature)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (classes[judged], guesses), 1)
    accuracy = float(np.trace(confusion) / len(judged))
    return LeaveOneOut(min(k, len(classes) - 1), len(judged), accuracy, names, confusion)
