"""A training's evaluation as text."""

from typing import Any

# Rows of an evaluation's table: name, figures, and where those of earlier versions have the kNN accuracy; and its columns.
ROWS = [
    ("this embedding", "trained", "knn_accuracy"),
    ("after adapting (not published)", "adapted", ""),
    ("the pretrained encoder as it is", "frozen", "frozen_accuracy"),
    ("an untrained encoder", "untrained", "untrained_accuracy"),
    ("raw pixels", "raw_pixels", "raw_pixel_accuracy"),
]
_COLUMNS = {
    **dict.fromkeys(("1 label", "5 labels", "10 labels"), ""),
    "mAP": "mean_average_precision",
    "recall@1": "recall_at_1",
    "kNN": "knn_accuracy",
    "linear": "linear_embedding",
}


def accuracy_lines(judged: dict[str, Any]) -> list[str]:
    """A table of a training's figures beside those of its baselines; what an evaluation of an earlier version lacks has no row
    or column."""
    of = "held-out images" if judged["held_out"] else "training images"
    if judged.get("unseen_classes"):
        of += " of classes that it was not trained on"
    if judged.get("unseen_classes") or not judged["held_out"]:
        of += ", each left out of its own vote"
    rows = [(name, figures) for name, key, knn in ROWS if (figures := _figures(judged, key, knn))]
    heads = [head for head in _COLUMNS if any(head in figures for _, figures in rows)]
    wide = max(len(name) for name, _ in rows)
    few = "; with few labels a class: the mean of 20 draws" if any("5 labels" in figures for _, figures in rows) else ""
    return [
        f"kNN accuracy, K {judged['k']}, and other figures, on {judged['queries']:,} {of}{few}:",
        f"  {'':<{wide}}" + "".join(f"{head:>10}" for head in heads),
        *(f"  {name:<{wide}}" + "".join(f"{_percent(figures.get(head)):>10}" for head in heads) for name, figures in rows),
    ]


def _figures(judged: dict[str, Any], key: str, knn: str) -> dict[str, float | None]:
    """The columns that one row has: none where the evaluation lacks it."""
    figures, accuracy = judged.get(key) or {}, judged.get(knn) if knn else None
    few = {f"{draw['labels']} label{'s' if draw['labels'] > 1 else ''}": draw["mean"] for draw in figures.get("few_label") or []}
    more = {head: figures[name] for head, name in _COLUMNS.items() if name in figures}
    return {**few, **({"kNN": accuracy} if accuracy is not None else {}), **more}


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def evaluation_lines(judged: dict[str, Any] | None, verdict: dict[str, Any] | None) -> list[str]:
    """What a training's evaluation found and the verdict of its job on it, or why there is none."""
    sentences = [verdict["sentence"]] if verdict else []
    if not judged:
        return ["not judged: the evaluation was cancelled or failed", *sentences]
    if judged.get("knn_accuracy") is None:
        return ["no labels, so no accuracy: upload with --labels folders, or label some images", *sentences]
    return [*accuracy_lines(judged), *sentences, *(f"warning: {warning}" for warning in judged["warnings"])]
