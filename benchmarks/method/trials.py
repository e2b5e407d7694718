"""What ``bench-method`` runs: the product's AND on each set, and temperatures to seek instance discrimination's best among."""

from dataclasses import dataclass
from typing import Any

from service.operations.demo import DIGITS_FROM_NOTHING

Params = dict[str, Any]
# In this order; "oracle" is AND whose neighbours are of the same class: what it could gain at most.
ARMS = ("and", "instance", "random_anchors", "oracle")
# Instance discrimination has no anchors.
OF_ANCHORS = ("select_rate", "neighbours", "neighbour_loss", "discovery_features")
# What concerns later rounds alone, so that arms which differ in nothing else share the first.
LATER = ("method", "rounds", "epochs", "learning_rate_next", "temperature_next", *OF_ANCHORS)


@dataclass(frozen=True)
class Trials:
    """``params`` are those of all arms but for the temperatures, of which instance discrimination has its best; ``set`` is one of
    ``sets.SETS``."""

    set: str
    params: Params
    temperatures: tuple[tuple[float, float], ...]  # of the first round and of the later ones, for instance discrimination


# The preset, spelt out, so that a result belongs to what it was run with.
_SCRATCH: Params = {
    "preset": "quick",
    "image_size": 16,
    "rounds": 3,
    "temperature": 0.2,
    "temperature_next": 0.5,
    "neighbour_loss": "mean",
    "neighbours": 50,
    "select_rate": 0.5,
    "batch_size": 64,
    "learning_rate": 0.03,
    "learning_rate_next": 0.03,
}
_TEMPERATURES = ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.5, 0.5), (0.8, 0.8), (0.2, 0.5))
_SHORT: Params = {**_SCRATCH, "epochs_first": 24, "epochs": 4}  # a seventh of the preset's length
_CLOTHING: Params = {"preset": "quick", "init": "imagenet", "image_size": 128}
_CLOTHING_TEMPERATURES = ((0.05, 0.05), (0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0.8, 0.8), (1.2, 1.2))
TRIALS: dict[str, Trials] = {
    "digits": Trials("digits", {**_SCRATCH, **DIGITS_FROM_NOTHING, "epochs": 15, "neighbours": 47}, (*_TEMPERATURES, (1.2, 1.2))),
    "fashion": Trials("fashion", _SHORT, _TEMPERATURES),
    "clothing": Trials("clothing", _CLOTHING, _CLOTHING_TEMPERATURES),
    "cifar10_10k": Trials("cifar10_10k", _SHORT, _TEMPERATURES),
}
# Only whether it runs.
TINY = {
    "digits": Trials(
        "digits",
        {**_SCRATCH, "image_size": 8, "dim": 8, "neighbours": 3, "epochs_first": 1, "epochs": 1},
        ((0.2, 0.2), (0.2, 0.5)),
    )
}
TINY_COUNT = 300
