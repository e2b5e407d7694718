"""What the service answers with, of many images at once or of one image in many places."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` float32 (N, d) unit rows, with ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) of text ("": none)."""

    vectors: NDArray[np.float32]
    ids: NDArray[np.int64]
    paths: NDArray[np.str_]
    labels: NDArray[np.str_]


@dataclass(frozen=True)
class AttentionRound:
    """``similarity``: the cosine similarity of image and neighbour at the end of the round."""

    round: int
    similarity: float


@dataclass(frozen=True)
class Attention:
    """The rounds of which a model has maps of an image, and the neighbour whose similarity they are about."""

    model_id: str
    image_id: int
    neighbour_id: int
    rounds: list[AttentionRound]


@dataclass(frozen=True)
class Map:
    """A model's images in two dimensions: ``ids`` int64 (N,), ``places`` float32 (N, 2), ``labels`` (N,) of text ("": none),
    ``entropy`` float32 (rounds, N) in nats (NaN: added since), ``anchor_round`` int64 (N,) (0: never an anchor)."""

    ids: NDArray[np.int64]
    places: NDArray[np.float32]
    labels: NDArray[np.str_]
    entropy: NDArray[np.float32]
    anchor_round: NDArray[np.int64]
