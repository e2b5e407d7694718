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
SEEDS: tuple[int, ...] = (0, 2)
BASE: Params = {"preset": "quick", "epochs_first": 40, "epochs": 10}
ENCODED: Params = {**BASE, "discovery_features": "encoder"}

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
# Batches of 64: what the speed of a CPU with bfloat16 and the accuracy at equal images seen agree on.
STEPS: Params = {
    "preset": "quick",
    "batch_size": 64,
    "learning_rate": 0.04,
    "learning_rate_next": 0.025,
    "epochs_first": 40,
    "epochs": 10,
    "discovery_features": "encoder",
}
SEARCH: list[tuple[str, Params, tuple[str, ...]]] = [
    ("A k 1", {**BASE}, ("instance", "and")),
    ("A k 1, re-encoded", {**ENCODED}, ("and",)),
    ("A k 20, re-encoded", {**ENCODED, "neighbours": 20}, ("and",)),
    ("B tau 0.2", {**BASE, "temperature": 0.2}, ("instance",)),
    ("S 16 px, 200 epochs, then 4 x 50", {**SMALL}, ("instance", "and")),
    ("D batch 64, k 1", {**STEPS}, ("instance", "and")),
    ("D batch 64, k 5, 5 % more anchors a round", {**STEPS, "neighbours": 5, "select_rate": 0.05}, ("and",)),
]
FINAL: Params | None = {**STEPS}
