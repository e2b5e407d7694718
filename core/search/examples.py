"""Searching by several examples, good and bad."""

import numpy as np

from core.errors import BadQuery
from core.ground.waiting import go_on
from core.search.ranking import Rows, Vector, best, rounding_error
from core.search.snapshots import Snapshot

_TOGETHER = 8  # examples that all rows are compared with at one time


def unit(vector: Vector, dim: int) -> Vector:
    """A direction to search in, (d,).

    Raises:
        BadQuery: it has another length than the model's embeddings, or no direction.
    """
    norm = float(np.linalg.norm(vector))
    if len(vector) != dim:
        raise BadQuery(f"vector: has {len(vector)} numbers; the model's embeddings have {dim}")
    if not np.isfinite(norm) or norm < 1e-6:
        raise BadQuery("the vector, or the examples together, have no direction to search in")
    return np.asarray(vector / norm, dtype=np.float32)


def best_score(snapshot: Snapshot, good: Vector, bad: Vector | None, count: int, rows: Rows) -> tuple[Rows, Vector]:
    """The ``count`` best of some rows, and their scores: as ``queries.Query`` says of the strategy.

    Args:
        good, bad: the examples' unit vectors (n, d).
        rows: ascending.
    """

    def score(nearest_good: Vector, nearest_bad: Vector) -> Vector:
        return np.where(nearest_good >= nearest_bad, nearest_good, -1 - nearest_bad)

    def compared(rows: Rows, examples: Vector) -> Vector:
        """The similarity (len(rows),) of each row with the nearest of the examples."""
        highest = np.full(len(rows), -np.inf, np.float32)
        for example in examples:
            go_on()
            np.maximum(highest, snapshot.compare(rows, example), out=highest)
        return highest

    def nearest(rows: Rows, examples: Vector) -> Vector:
        """The same, but for rounding, in a memory that does not grow with the examples."""
        highest = np.full(len(rows), -np.inf, np.float32)
        for start in range(0, len(examples), _TOGETHER):
            go_on()
            some = snapshot.similarities(rows, examples[start : start + _TOGETHER])
            np.maximum(highest, some.max(axis=1), out=highest)
        return highest

    def exactly(rows: Rows) -> Vector:
        nearest_good = compared(rows, good)
        if bad is None:
            return nearest_good
        return score(nearest_good, compared(rows, bad))

    tolerance = rounding_error(good.shape[1])
    scores = nearest(rows, good)
    if bad is not None:
        worst = nearest(rows, bad)
        unsure = np.abs(scores - worst) <= tolerance  # which of the two is nearer
        scores = score(scores, worst)
        scores[unsure] = exactly(rows[unsure])
    return best(rows, scores, min(count, len(rows)), tolerance, exactly)
