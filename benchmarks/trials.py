"""What ``bench-method`` runs: the search over configurations, and the one that won it."""

from typing import Any

COUNT = 10_000  # images to train on
K = 200  # voters, fixed beforehand
ARMS = ("and", "instance", "random_anchors", "all_anchors")
# Parameters of the first round; what else a trial sets concerns later rounds only, so that trials share it.
FIRST = (
    "preset",
    "backbone",
    "batch_size",
    "epochs_first",
    "learning_rate",
    "temperature",
    "colour_jitter",
    "memory_momentum",
    "crop_scale",
)
SEEDS: tuple[int, ...] = (0, 1, 2)
BASE: dict[str, Any] = {"preset": "quick", "epochs_first": 40, "epochs": 10}

SEARCH: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("k 1, bank", {**BASE}, ("instance", "and")),
    ("k 1, re-encoded", {**BASE, "discovery_features": "encoder"}, ("and",)),
    ("k 10, re-encoded", {**BASE, "discovery_features": "encoder", "neighbours": 10}, ("and",)),
    ("k 50, re-encoded", {**BASE, "discovery_features": "encoder", "neighbours": 50}, ("and",)),
]
FINAL: dict[str, Any] | None = None
