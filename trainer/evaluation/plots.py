"""Pictures of an evaluation."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from core.ground.reports import Evaluation
from core.ground.verdict import LABELS, few_label


def plot_consistency(evaluation: Evaluation, path: Path) -> None:
    """Draw how often the nearest others share a class, by decile of entropy and by round, as a PNG.

    Args:
        evaluation: what ``trainer.evaluation.evaluate.evaluate`` returned.
        path: the picture; replaced.
    """
    rounds = evaluation["rounds"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for entry in rounds:
        percent = [None if share is None else 100 * share for share in entry["consistency_by_decile"]]
        left.plot(range(1, 11), percent, marker="o", label=f"end of round {entry['round']}")
    left.set(xlabel="decile of entropy, lowest first", ylabel="neighbours of the same class, %", xticks=range(1, 11))
    left.legend()
    numbers = [entry["round"] for entry in rounds]
    few = [found["mean"] if (found := few_label(entry)) else None for entry in rounds]
    curves = {f"accuracy with {LABELS} labels a class": few, "kNN accuracy": [entry["knn_accuracy"] for entry in rounds]}
    curves["consistency of the anchors' neighbours"] = [entry["consistency"] for entry in rounds]
    for label, values in curves.items():
        known = [(number, 100 * value) for number, value in zip(numbers, values, strict=True) if value is not None]
        right.plot(*zip(*known, strict=True), marker="o", label=label) if known else None
    right.set(xlabel="round", ylabel="%", xticks=numbers)
    right.legend()
    figure.savefig(path, format="png", dpi=120)
    plt.close(figure)
