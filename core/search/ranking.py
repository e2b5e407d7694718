"""The order of answers: by similarity, equal ones by row, the same whatever else is asked for.

How a matrix product rounds a similarity depends on where its row lies among the others, and faiss returns any of those that
are equal to the last one. So both only propose rows: those that rounding may have misordered are compared again one by one.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]
NONE: Rows = np.zeros(0, np.int64)
_BLOCK = 4096  # rows that are compared in float64 at one time


def rounding_error(dim: int) -> float:
    """The difference of two float32 similarities of unit vectors (d,) up to which rounding may have swapped their order:
    twice the bound on the error of d products and sums (Higham 2002, section 3.1)."""
    return (dim + 16) * 2.0**-23


def compare(vectors: Vector, query: Vector) -> Vector:
    """Similarities (n,) of vectors (n, d) with one (d,): summed in float64 row by row, so that equal vectors get equal
    similarities, whatever the other rows are."""
    wide = query.astype(np.float64)
    if len(vectors) <= _BLOCK:
        return (vectors * wide).sum(axis=1).astype(np.float32)  # type: ignore[no-any-return]
    result = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        result[start : start + _BLOCK] = (vectors[start : start + _BLOCK] * wide).sum(axis=1)
    return result


def best(rows: Rows, proposed: Vector, count: int, tolerance: float, exactly: Callable[[Rows], Vector]) -> tuple[Rows, Vector]:
    """The ``count`` best of some rows, in order.

    Args:
        rows: (n,).
        proposed: their similarities (n,), each wrong by less than half of ``tolerance``.
        count: results wanted, at most n.
        tolerance: what ``rounding_error`` gives.
        exactly: the similarities (m,) of rows (m,).
    """
    if count < len(rows):
        least = np.partition(proposed, len(rows) - count)[len(rows) - count] if count else np.inf
        rows = rows[proposed >= least - tolerance]
    ordered, scores = in_order(rows, exactly(rows))
    return ordered[:count], scores[:count]


def in_order(rows: Rows, scores: Vector) -> tuple[Rows, Vector]:
    """Rows with their scores, the best first and equal ones by row."""
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]


def holds(ascending: Rows, values: Rows) -> NDArray[np.bool_]:
    """Which of the values are among ascending ones, (len(values),)."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    matches: NDArray[np.bool_] = ascending[places] == values
    return matches
