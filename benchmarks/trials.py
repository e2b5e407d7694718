"""What ``bench-method`` runs: the search over configurations, and the one that won it."""

from typing import Any

Params = dict[str, Any]
COUNT = 10_000  # images to train on, unless a trial says otherwise
K = 200  # voters, fixed beforehand
ARMS = ("and", "instance", "random_anchors", "all_anchors")
# Parameters of the first round; what else a trial sets concerns later rounds only, so that trials share the first.
FIRST = (
    "preset",
    "backbone",
    "image_size",
    "batch_size",
    "epochs_first",
    "learning_rate",
    "temperature",
    "memory_momentum",
    "crop_scale",
)
SEEDS: tuple[int, ...] = (0, 1, 2)
BASE: Params = {"preset": "quick", "epochs_first": 40, "epochs": 10}
ENCODED: Params = {**BASE, "discovery_features": "encoder"}
WARM: Params = {**BASE, "temperature": 0.2}

# Images of 16 x 16 train about three times as fast, which is what shows long runs.
SMALL: Params = {
    "preset": "quick",
    "image_size": 16,
    "batch_size": 64,
    "learning_rate": 0.03,
    "learning_rate_next": 0.02,
    "epochs_first": 200,
    "epochs": 50,
}
LONG: Params = {"preset": "quick", "epochs_first": 100, "epochs": 15}
SEARCH: list[tuple[str, Params, tuple[str, ...]]] = [
    ("A k 1", {**BASE}, ("instance", "and")),
    ("A k 1, re-encoded", {**ENCODED}, ("and",)),
    ("A k 20, re-encoded", {**ENCODED, "neighbours": 20}, ("and",)),
    ("S 16 px, 200 epochs, then 4 x 50", {**SMALL}, ("instance", "and")),
    ("S 16 px, 200 epochs, then 4 x 50, re-encoded", {**SMALL, "discovery_features": "encoder"}, ("and",)),
    ("S 16 px, 200 epochs, then 4 x 50, k 5, re-encoded", {**SMALL, "discovery_features": "encoder", "neighbours": 5}, ("and",)),
    ("C 100 epochs, then 4 x 15", {**LONG}, ("instance",)),
    ("C 100 epochs, then 4 x 15, re-encoded", {**LONG, "discovery_features": "encoder"}, ("and",)),
    ("B tau 0.2", {**WARM}, ("instance",)),
    ("B tau 0.07", {**BASE, "temperature": 0.07}, ("instance",)),
    ("B tau 0.07, re-encoded", {**ENCODED, "temperature": 0.07}, ("and",)),
    ("B rate 0.02 later", {**BASE, "learning_rate_next": 0.02}, ("instance",)),
    ("B rate 0.02 later, re-encoded", {**ENCODED, "learning_rate_next": 0.02}, ("and",)),
    ("B rate 0.005 later", {**BASE, "learning_rate_next": 0.005}, ("instance",)),
    ("B rate 0.005 later, re-encoded", {**ENCODED, "learning_rate_next": 0.005}, ("and",)),
]
FINAL: Params | None = None
