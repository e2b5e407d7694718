"""A whole run judged: by held-out images, beside its baselines, and never by what would mislead."""

import shutil
from pathlib import Path

import pytest

from core.ground.folders import checkpoints_in
from core.ground.parameters import weights_file
from tests.conftest import picture_zip
from tests.trainer.runs import Whole
from trainer.config import InputError
from trainer.data.sources import open_source
from trainer.evaluation.evaluate import Labelled, evaluate


def test_evaluation_compares_with_untrained_and_pixels(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    out, _, _ = whole
    listed = open_source(pictures)
    labels = [image.path.split("/")[0] for image in listed.images]
    other = open_source(picture_zip(tmp_path / "other.zip", 10, first=1000))
    held_out = Labelled(other, [image.path.split("/")[0] for image in other.images])
    judged = evaluate(out, Labelled(listed, labels), held_out, k=5)
    assert (judged["k"], judged["queries"], judged["classes"], judged["held_out"]) == (5, 10, 2, True)
    for name in ("knn_accuracy", "untrained_accuracy", "raw_pixel_accuracy", "consistency"):
        assert 0 <= judged[name] <= 1
    assert [entry["anchors"] for entry in judged["rounds"]] == [0.0, 0.25, 0.5]
    assert judged["rounds"][0]["consistency"] is None
    installed = weights_file() is not None
    assert (judged["frozen"] is not None) == (judged["frozen_accuracy"] is not None) == installed
    for name in ("trained", "untrained", "raw_pixels", *(["frozen"] if installed else [])):
        figures = judged[name]
        assert [one["labels"] for one in figures["few_label"]] == [1, 5, 10]
        assert {"knn_accuracy", "linear_embedding", "linear_last_block", "mean_average_precision", "recall_at_1"} <= set(figures)
        assert 0 <= figures["mean_average_precision"] <= figures["recall_at_10"] <= 1
    assert all(len(entry["consistency_by_decile"]) == 10 for entry in judged["rounds"])
    none = evaluate(out, Labelled(listed, [None] * 40), None)
    assert none["knn_accuracy"] is None
    assert none["anchors"] == 0.5


def test_evaluation_refuses_what_would_mislead(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    out, _, _ = whole
    listed = open_source(pictures)
    train_set = Labelled(listed, [image.path.split("/")[0] for image in listed.images])
    with pytest.raises(InputError, match="every held-out image is one that the run was trained on"):
        evaluate(out, train_set, train_set)
    partly = picture_zip(tmp_path / "partly.zip", 10, first=35)  # 5 of them were trained on
    mixed = open_source(partly)
    judged = evaluate(out, train_set, Labelled(mixed, ["class-0"] * 10))
    assert (judged["overlap"], judged["queries"]) == (5, 5)
    with pytest.raises(InputError, match="trained on other images"):
        evaluate(out, Labelled(mixed, ["a"] * 10), None)
    with pytest.raises(InputError, match="1 or more"):
        evaluate(out, train_set, None, k=0)
    with pytest.raises(InputError, match="no checkpoint"):
        evaluate(tmp_path, train_set, None)
    unfinished = tmp_path / "unfinished" / "checkpoints"
    shutil.copytree(out / "checkpoints", unfinished)
    checkpoints_in(unfinished)[-1][1].unlink()
    with pytest.raises(InputError, match="only 2 of 3 rounds"):
        evaluate(unfinished.parent, train_set, None)
