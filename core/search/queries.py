"""What can be asked of a model."""

from dataclasses import dataclass

from core.search.ranking import Vector


@dataclass(frozen=True)
class Filter:
    """Which images may be found; what is not set does not restrict."""

    labels: tuple[str, ...] | None = None  # any of these
    unlabelled: bool = False  # those without a label, beside ``labels``
    anchor_round: int | None = None  # the round in which the image became an anchor; 0 for those that never did
    min_entropy: float | None = None  # at the end of a round
    max_entropy: float | None = None
    entropy_round: int | None = None  # the round; by default the last
    trained_towards: int | None = None  # an image that was among the neighbours of those wanted
    path_prefix: str | None = None


@dataclass(frozen=True)
class Query:
    """What to look for: a vector, or stored images as good and bad examples.

    ``average`` searches by the mean of the good minus the mean of the bad vectors. ``best_score`` ranks an image by its
    similarity to the nearest good example. Where the nearest bad example is nearer, it comes after all others, ranked by minus
    its similarity to that one.
    """

    positive: tuple[int, ...] = ()
    negative: tuple[int, ...] = ()
    vector: Vector | None = None
    strategy: str = "average"
    k: int = 10
    offset: int = 0
    min_score: float = -2.0
    only: Filter = Filter()
