"""kNN votes of labelled images, weighted by exp(similarity / temperature) (Wu et al. 2018, section 3.4)."""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from core.ground.waiting import go_on
from core.search.ranking import Rows, Vector, best, compare, in_order, rounding_error
from core.search.snapshots import Neighbour, Snapshot

K, TEMPERATURE, MIN_CONFIDENCE = 200, 0.1, 0.0  # what a vote has where nothing else is asked for
MIN_LABELS = 3  # labelled images that a class has before it counts as known
KS = (1, 3, 5, 10, 20, 50, 100, 200)  # numbers of voters that are tried
_JUDGED = 10_000  # images whose classes are voted on by the others: some seconds at 50,000 labelled ones
_SPARE = 32  # voters that faiss is asked for beyond those wanted, so that it seldom cuts through equal ones
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NAMED = 3  # classes that a reason names
_MANY = 1000  # classes whose votes are counted one by one; no more voters than these are asked for


@dataclass(frozen=True)
class Classification:
    """A weighted kNN vote; ``label`` is ``None`` where its probability is below the minimum asked for, or where the vote
    abstained, for the reason in ``abstained``; then there are no voters."""

    label: str | None
    confidence: float
    classes: list[tuple[str, float]]
    voters: list[Neighbour]
    abstained: str | None = None


@dataclass(frozen=True)
class Judged:
    """What became of the labelled images of a class: ``right`` of ``judged`` were voted to be of it."""

    label: str
    judged: int
    right: int


@dataclass(frozen=True)
class Confusion:
    """How many images of a class were voted to be of another."""

    label: str
    voted: str
    count: int


@dataclass(frozen=True)
class LeaveOneOut:
    """How well the labels given so far predict each other with ``k`` voters.

    ``classes`` come with the one first of which most images were judged, ``confusions`` with the largest first, those that
    never happened left out; equal ones by their names. ``by_k`` is the accuracy for each number of voters tried. Where the votes
    abstained, ``k`` and ``accuracy`` are ``None``.
    """

    k: int | None
    judged: int
    accuracy: float | None
    classes: list[Judged]
    confusions: list[Confusion]
    by_k: dict[int, float]
    abstained: str | None = None


def abstention(classes: Rows, names: list[str], min_labels: int) -> str | None:
    """Why no vote can be held, or ``None`` where two classes have enough labelled images.

    Args:
        classes: of the labelled images, (M,), as indices of ``names``.
        min_labels: labelled images that are enough.
    """
    counts = np.bincount(classes, minlength=len(names))
    if np.count_nonzero(counts >= min_labels) >= 2:
        return None
    number = _WORDS[min_labels - 1] if min_labels <= len(_WORDS) else str(min_labels)
    counts_named = [f"{names[index]} {counts[index]:,}" for index in np.argsort(-counts, kind="stable")[:_NAMED]]
    if len(names) > _NAMED:
        counts_named.append(f"and {len(names) - _NAMED:,} more")
    has = f"so far there are: {', '.join(counts_named)}" if counts_named else "no image has a label yet"
    return f"needs at least two classes with {number} label{'' if min_labels == 1 else 's'} each; {has}"


def vote(sims: Vector, classes: NDArray[np.int64], count: int, temperature: float) -> NDArray[np.float64]:
    """Probability of each of ``count`` classes from the voters' similarities and classes, (K,) each, the best first."""
    weights = np.exp((sims - sims[0]).astype(np.float64) / temperature)
    votes = np.bincount(classes, weights, minlength=count)
    return np.asarray(votes / votes.sum())


def _winner(sims: Vector, classes: NDArray[np.int64], count: int, temperature: float) -> tuple[int, float]:
    """The class of most votes, of equal ones the first, and its probability; arguments as of ``vote``."""
    if count <= _MANY:
        probabilities = vote(sims, classes, count, temperature)
        winner = int(np.argmax(probabilities))
        return winner, float(probabilities[winner])
    kinds, places = np.unique(classes, return_inverse=True)  # those of the voters alone
    winner, probability = _winner(sims, places, min(len(kinds), _MANY), temperature)
    return int(kinds[winner]), probability


def classify(
    snapshot: Snapshot,
    vector: Vector,
    k: int,
    temperature: float,
    min_confidence: float,
    min_labels: int = MIN_LABELS,
    leave_out: int | None = None,
) -> Classification:
    """kNN vote over the labelled images, exact.

    Args:
        vector: unit vector (d,).
        k: number of voters, lowered to those there are.
        temperature: T.
        min_confidence: probability below which the class is unknown.
        min_labels: labelled images that each of two classes must have, else the vote abstains.
        leave_out: an image that may not vote, the query itself.
    """
    rows, classes = snapshot.labelled, snapshot.classes
    if reason := abstention(classes, snapshot.names, min_labels):
        return Classification(None, 0.0, [], [], reason)
    if leave_out is not None:
        others = snapshot.ids[rows] != leave_out
        rows, classes = rows[others], classes[others]
    proposed = snapshot.similarities(rows, vector[None])[:, 0]  # (labelled,)

    def exactly(voter_rows: Rows) -> Vector:
        return snapshot.compare(voter_rows, vector)

    voters, sims = best(rows, proposed, min(k, len(rows)), rounding_error(len(vector)), exactly)
    probabilities = vote(sims, classes[np.searchsorted(rows, voters)], len(snapshot.names), temperature)
    order = np.argsort(-probabilities, kind="stable")
    confidence = float(probabilities[order[0]])
    return Classification(
        snapshot.names[order[0]] if confidence >= min_confidence else None,
        confidence,
        [(snapshot.names[i], float(probabilities[i])) for i in order if probabilities[i] > 0],
        snapshot.described(voters, sims),
    )


def predict(
    queries: Vector, own_voters: Rows, voters: Vector, classes: Rows, count: int, k: int, temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes and their probabilities by the votes of the labelled images, none of which votes on itself.

    Args:
        queries: unit vectors (Q, d) to predict.
        own_voters: which of the voters each query is, (Q,); -1 for none.
        voters: unit vectors (M, d) of the labelled images, at least two.
        classes: their classes, (M,).
        count: number of classes.
        k: number of voters, lowered to those there are.
        temperature: T.
    """
    guesses, confidences = np.zeros(len(queries), np.int64), np.zeros(len(queries))
    for place, (rows, sims) in enumerate(_voters(queries, own_voters, voters, k)):
        guesses[place], confidences[place] = _winner(sims, classes[rows], count, temperature)
    return guesses, confidences


def _voters(queries: Vector, own_voters: Rows, voters: Vector, k: int) -> Iterator[tuple[Rows, Vector]]:
    """For each query the ``k`` voters nearest to it, best first, equal ones by row; arguments as of ``predict``."""
    deep, tolerance = min(k + 1 + _SPARE, len(voters)), rounding_error(voters.shape[1])
    proposals = zip(
        own_voters.tolist(), queries, *faiss.knn(queries, voters, deep, metric=faiss.METRIC_INNER_PRODUCT), strict=True
    )
    for self_, query, proposed, neighbours in proposals:
        go_on()
        rows = neighbours[neighbours != self_]
        rows, sims = in_order(rows, compare(voters[rows], query))
        if deep < len(voters) and sims[k - 1] <= proposed[-1] + tolerance:  # one beyond those that faiss returned may be as near
            rows, sims = _of_all(query, self_, voters, k)
        yield rows[:k], sims[:k]


def _of_all(query: Vector, self_: int, voters: Vector, k: int) -> tuple[Rows, Vector]:
    proposed = voters @ query
    if self_ >= 0:
        proposed[self_] = -np.inf
    return best(np.arange(len(voters)), proposed, k, rounding_error(len(query)), lambda rows: compare(voters[rows], query))


def leave_one_out(
    voters: Vector, classes: Rows, names: list[str], k: int | None, temperature: float, min_labels: int = MIN_LABELS
) -> LeaveOneOut:
    """Let the labelled images vote on each other; of many an evenly spaced part is judged. Arguments as of ``predict``.

    Args:
        k: number of voters; ``None`` for the most accurate of ``KS``, of equal ones the largest, whose shares say more.
        min_labels: labelled images that each of two classes must have, else nothing is judged.
    """
    if reason := abstention(classes, names, min_labels):
        return LeaveOneOut(None, 0, None, [], [], {}, reason)
    most = len(classes) - 1
    tried = [min(k, most)] if k else [k_tried for k_tried in KS if k_tried <= most]
    judged = np.arange(0, len(classes), -(-len(classes) // _JUDGED))
    guesses = np.zeros((len(tried), len(judged)), np.int64)
    for place, (rows, sims) in enumerate(_voters(voters[judged], judged, voters, tried[-1])):
        for number, k_tried in enumerate(tried):
            guesses[number, place], _ = _winner(sims[:k_tried], classes[rows[:k_tried]], len(names), temperature)
    right = (guesses == classes[judged]).mean(axis=1).tolist()
    by_k = dict(zip(tried, right, strict=True))
    best_k = max(by_k, key=lambda k_tried: (by_k[k_tried], k_tried))
    found = _confused(classes[judged], guesses[tried.index(best_k)], names)
    return LeaveOneOut(best_k, len(judged), by_k[best_k], *found, by_k)


def _confused(given: Rows, voted: Rows, names: list[str]) -> tuple[list[Judged], list[Confusion]]:
    """What was voted of the images of each class; arguments are the classes of each image judged."""
    judged, right = (np.bincount(rows, minlength=len(names)) for rows in (given, given[given == voted]))
    of_most = [row for row in np.argsort(-judged, kind="stable").tolist() if judged[row]]
    wrong = given != voted
    pairs, counts = np.unique(np.stack([given[wrong], voted[wrong]]), axis=1, return_counts=True)
    largest = np.argsort(-counts, kind="stable").tolist()
    return (
        [Judged(names[row], int(judged[row]), int(right[row])) for row in of_most],
        [Confusion(names[pairs[0, at]], names[pairs[1, at]], int(counts[at])) for at in largest],
    )
