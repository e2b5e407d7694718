"""What the commands print of an evaluation, of those of earlier versions, too."""

from typing import Any

from anchorhood.commands import evaluation
from core.ground.reports import evaluation_of
from core.ground.verdict import BASELINES, verdict

OLD: dict[str, Any] = {
    **{"k": 20, "held_out": True, "queries": 341, "classes": 10, "warnings": ["it collapsed"], "rounds": []},
    **{"knn_accuracy": 0.587, "untrained_accuracy": 0.413, "raw_pixel_accuracy": 0.528},
}


def evaluation_lines(judged: dict[str, Any]) -> list[str]:
    """With the verdict that the service gives of it."""
    found = verdict(evaluation_of(judged))
    return evaluation.evaluation_lines(judged, vars(found) if found else None)


def test_the_rows_are_called_as_in_the_verdict() -> None:
    rows = {key: (name, accuracy) for name, key, accuracy in evaluation.ROWS}
    assert {key: rows[key] for key in BASELINES} == BASELINES


def figures(few: float, precision: float, knn: float) -> dict[str, Any]:
    drawn = [{"labels": labels, "mean": few, "low": few - 0.1, "high": few + 0.1} for labels in (1, 5)]
    return {"few_label": drawn, "mean_average_precision": precision, "knn_accuracy": knn, "linear_embedding": None}


def cells(lines: list[str], name: str) -> list[str]:
    return next(line for line in lines if line.strip().startswith(name)).strip().removeprefix(name).split()


def test_few_labels_and_retrieval_come_first() -> None:
    named = {"trained": figures(0.6, 0.5, 0.86), "frozen": figures(0.6, 0.5, 0.86), "adapted": figures(0.55, 0.4, 0.88)}
    chosen = {"as_it_was": True, "chosen_by": "labels", "published_round": 0, "init": "imagenet"}
    lines = evaluation_lines(
        {**OLD, **named, **chosen, "untrained": figures(0.3, 0.2, 0.41), "raw_pixels": figures(0.35, 0.2, 0.5)}
    )
    assert lines[1].split() == ["1", "label", "5", "labels", "mAP", "kNN", "linear"]
    assert cells(lines, "this embedding") == ["60.0%", "60.0%", "50.0%", "86.0%", "-"]
    assert cells(lines, "after adapting (not published)") == ["55.0%", "55.0%", "40.0%", "88.0%", "-"]
    assert cells(lines, "the pretrained encoder as it is")[0] == "60.0%"
    assert cells(lines, "raw pixels")[-2] == "50.0%"
    assert any(line.endswith("what is published is the pretrained encoder as it was") for line in lines)
    assert lines[-1] == "warning: it collapsed"


def test_an_earlier_versions_evaluation_shows_what_it_has() -> None:
    lines = evaluation_lines(OLD)
    assert lines[1].split() == ["kNN"]
    assert [cells(lines, name) for name in ("this embedding", "an untrained encoder", "raw pixels")] == [
        ["58.7%"],
        ["41.3%"],
        ["52.8%"],
    ]
    assert not any("pretrained encoder" in line for line in lines)
    assert "few labels" not in lines[0]
