"""The plot of ``bench-accuracy`` that answers how many images, and how many labels, suffice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter


def draw(results: Mapping[str, Sequence[tuple[int, Sequence[Mapping[str, float]]]]], path: Path) -> None:
    """Accuracy by labels a class: a panel for each way to an embedding, a line for each number of images, bars of 95 % of draws.

    Args:
        results: by the panel's title, the number of images and its ``few_label_accuracy`` for each line.
        path: of the PNG, whose folder exists.
    """
    figure, panels = plt.subplots(1, len(results), figsize=(5.2 * len(results), 4.2), sharey=True, layout="constrained")
    colours = ("#9ecae1", "#4292c6", "#2171b5", "#08306b")
    shown = sorted({int(entry["labels"]) for lines in results.values() for _, few in lines for entry in few})
    for panel, (title, lines) in zip(panels, results.items(), strict=True):
        for number, (count, few) in enumerate(lines):
            labels = [entry["labels"] * 1.03 ** (number - 1.5) for entry in few]  # beside each other
            means = [entry["mean"] for entry in few]
            below = [entry["mean"] - entry["low"] for entry in few]
            above = [entry["high"] - entry["mean"] for entry in few]
            colour = colours[number % len(colours)]
            panel.errorbar(labels, means, [below, above], color=colour, label=f"{count:,} images", capsize=2, marker="o")
        panel.set(title=title, xlabel="labels a class", xscale="log")
        panel.xaxis.set_major_locator(FixedLocator(shown))
        panel.xaxis.set_major_formatter(FixedFormatter([str(each) for each in shown]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("right answers on the test images")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[-1].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def as_text(results: Mapping[str, Sequence[tuple[int, Sequence[Mapping[str, Any]]]]]) -> str:
    """The same figures as a Markdown table."""
    shown = sorted({int(entry["labels"]) for lines in results.values() for _, few in lines for entry in few})
    rows = ["| | images | " + " | ".join(f"{number} a class" for number in shown) + " |", "|---|---|" + "---|" * len(shown)]
    for title, lines in results.items():
        for count, few in lines:
            by_labels = {
                entry["labels"]: f"{100 * entry['mean']:.1f} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"
                for entry in few
            }
            rows.append(f"| {title} | {count:,} | " + " | ".join(by_labels.get(number, "-") for number in shown) + " |")
    return "\n".join(rows)
