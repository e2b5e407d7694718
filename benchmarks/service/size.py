"""How much ``benchmarks.service`` does: what the README quotes, or only enough to see that it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Result
from benchmarks.service.synthetic import clustered
from benchmarks.sets import fashion_pixels
from benchmarks.shared_data import shared, some_digits


@dataclass(frozen=True)
class Size:
    """``images`` gives the archive that is uploaded; ``params`` are those of the brief training whose vectors are searched."""

    images: Callable[[Path], Path]
    params: Result
    archives: tuple[int, int]  # bytes of the small and the large upload whose memory is compared
    turns: int
    seconds: float  # of load in a turn
    recall_queries: int
    growth: tuple[int, ...]  # vectors
    pixels: Callable[[Path], NDArray[np.float32]]  # unit vectors of 784 numbers
    photographs: Callable[[Path], Path]  # of which as many as ``uploaded`` are uploaded, and trained on with ``first_params``
    uploaded: int
    first_params: Result


FULL = Size(
    images=lambda work: shared("cifar10-train.zip"),
    params={"preset": "quick", "rounds": 1, "epochs_first": 2, "epochs": 1},
    archives=(64 << 20, 2 << 30),
    turns=5,
    seconds=8,
    recall_queries=300,
    growth=(10_000, 100_000, 1_000_000),
    pixels=lambda work: fashion_pixels(work)[:60_000],
    photographs=lambda work: shared("clothing-small-train.zip"),
    uploaded=1000,
    first_params={"preset": "quick"},
)
TINY = Size(
    images=some_digits,
    params={"preset": "quick", "rounds": 1, "epochs_first": 1, "dim": 8, "image_size": 8},
    archives=(4 << 20, 8 << 20),
    turns=1,
    seconds=1,
    recall_queries=20,
    growth=(500, 1_000),
    pixels=lambda work: clustered(1_000, 784),
    photographs=some_digits,
    uploaded=60,
    first_params={"preset": "quick", "rounds": 1, "epochs_first": 1, "dim": 8, "image_size": 8},
)
