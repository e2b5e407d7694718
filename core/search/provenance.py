"""How a model learned its images, as ``neighbourhoods.npz`` holds it and as answers show it."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Neighbourhoods(TypedDict):
    """What ``neighbourhoods.npz`` holds of N images after R rounds: how each was learned."""

    entropy: NDArray[np.float32]  # (R, N), at the end of each round; NaN for one that was not trained on
    anchor_round: NDArray[np.int64]  # (N,); -1 for never
    neighbours: NDArray[np.int64]  # (N, k) image ids; -1 where there are fewer


class Provenance(TypedDict):
    """How one image was learned."""

    entropy: list[float]  # at the end of each round
    anchor_round: int | None
    neighbours: list[int]  # image ids
