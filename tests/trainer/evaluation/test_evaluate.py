"""Evaluation of runs that start from weights: their round 0 is the frozen start, and the better of it and the end is chosen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.ground import parameters
from core.ground.verdict import verdict
from tests.conftest import picture_zip
from trainer.config import TrainConfig
from trainer.data.images import ImageList
from trainer.data.sources import open_source
from trainer.evaluation import judge
from trainer.evaluation.evaluate import Labelled, evaluate
from trainer.train import train

SHAPE = {
    "preset": "quick",
    "backbone": "resnet10",
    "dim": 8,
    "image_size": 16,
    "batch_size": 24,
    "device": "cpu",
    "neighbours": 5,
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    return open_source(picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 120))


@pytest.fixture(scope="module")
def weights(listed: ImageList, tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("weights")
    _, run = train(TrainConfig.make({**SHAPE, "rounds": 1, "epochs_first": 1}), listed, folder)
    save_file({name: value.contiguous() for name, value in run.encoder.state_dict().items()}, folder / "w.safetensors")
    return str(folder / "w.safetensors")


def labels_of(listed: ImageList) -> list[str | None]:
    return [image.path.split("/")[0] for image in listed.images]


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Figures of vectors that differ by rounding."""
    assert [few["labels"] for few in one["few_label"]] == [few["labels"] for few in other["few_label"]] == [1, 5, 10]
    for name in ("knn_accuracy", "mean_average_precision", "recall_at_1", "linear_embedding"):
        assert one[name] == pytest.approx(other[name], abs=0.02), name


def test_frozen_weights_are_judged_by_what_the_run_has_encoded(listed: ImageList, weights: str, tmp_path: Path) -> None:
    _, run = train(TrainConfig.make({**SHAPE, "method": "frozen", "init": weights}), listed, tmp_path)
    other = open_source(picture_zip(tmp_path / "other.zip", 30, first=1000))
    for held_out in (None, Labelled(other, labels_of(other))):
        judged = evaluate(tmp_path, Labelled(listed, labels_of(listed)), held_out, k=5)
        assert judged["trained"] is judged["frozen"]
        assert (judged["published_round"], judged["chosen_by"], judged["as_it_was"]) == (0, None, True)
        assert (judged["init"], judged["adapted"], judged["trained"]["linear_last_block"]) == ("weights", None, None)
        anew = judge.Judge.of(Labelled(listed, labels_of(listed)), held_out, 5, torch.device("cpu"))
        assert anew is not None
        same(judged["frozen"], anew.encoder(run.encoder)[0])
    said = verdict(judged)
    assert said is not None and said.better_than_frozen is None


def test_the_better_of_start_and_end_is_published(listed: ImageList, weights: str, tmp_path: Path) -> None:
    start = {**SHAPE, "rounds": 2, "epochs": 1, "init": weights, "epochs_first": 0}
    _, run = train(TrainConfig.make({**SHAPE, "method": "frozen", "init": weights}), listed, tmp_path / "frozen")
    halves = (run.bank.rows[:, 0] > run.bank.rows[:, 0].median()).tolist()  # classes that the start tells apart
    known, unknown = Labelled(listed, [str(half) for half in halves]), Labelled(listed, [None] * 120)
    train(TrainConfig.make({**start, "learning_rate_next": 1e-6}), listed, tmp_path / "still")
    judged = evaluate(tmp_path / "still", unknown, None)
    assert (judged["published_round"], judged["chosen_by"], judged["as_it_was"]) == (1, "neighbours", False)
    assert judged["change"]["kept_neighbours"] > 0.95

    wrecking = {**start, "learning_rate_next": 3.0, "trained_blocks": 100, "epochs": 3}
    train(TrainConfig.make(wrecking), listed, tmp_path / "wrecked")
    judged = evaluate(tmp_path / "wrecked", known, None, k=5)
    assert judged["adapted"]["knn_accuracy"] < judged["frozen"]["knn_accuracy"]
    assert (judged["published_round"], judged["chosen_by"], judged["as_it_was"]) == (0, "labels", True)
    assert judged["trained"] is judged["frozen"]
    assert judged["knn_accuracy"] == judged["rounds"][0]["knn_accuracy"] == judged["frozen_accuracy"]
    said = verdict(judged)
    assert said is not None and said.better_than_frozen is None
    assert said.sentence.endswith("adapting did not help: what is published is the pretrained encoder as it was")
    other = open_source(picture_zip(tmp_path / "other.zip", 30, first=1000))
    judged = evaluate(tmp_path / "wrecked", known, Labelled(other, ["True", "False"] * 15), k=5)  # which have no part in it
    assert (judged["held_out"], judged["published_round"], judged["chosen_by"]) == (True, 0, "labels")
    judged = evaluate(tmp_path / "wrecked", unknown, None)
    assert (judged["published_round"], judged["chosen_by"], judged["knn_accuracy"]) == (0, "neighbours", None)


@pytest.mark.slow  # encodes with the pretrained encoder at 128 pixels
@pytest.mark.skipif(parameters.weights_file() is None, reason="the pretrained weights are not installed")
def test_what_is_trained_from_nothing_is_compared_with_pretrained_weights(
    listed: ImageList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    some: list[str | None] = [label if row % 2 else None for row, label in enumerate(labels_of(listed))]
    train(TrainConfig.make({**SHAPE, "rounds": 1, "epochs_first": 1}), listed, tmp_path / "run")
    judged = evaluate(tmp_path / "run", Labelled(listed, some), None, k=5)
    assert (judged["published_round"], judged["chosen_by"], judged["as_it_was"], judged["init"]) == (0, None, False, "random")
    assert judged["frozen_accuracy"] == judged["frozen"]["knn_accuracy"]

    params = {"preset": "quick", "method": "frozen", "init": "imagenet", "device": "cpu"}
    config, run = train(TrainConfig.make(params), listed, tmp_path / "frozen")
    assert config.image_size == 128
    anew = judge.Judge.of(Labelled(listed, some), None, 5, torch.device("cpu"))
    assert anew is not None
    same(judged["frozen"], anew.as_loaded(run.encoder, run.bank.rows))

    everything = Labelled(listed, labels_of(listed))
    from_weights = evaluate(tmp_path / "frozen", everything, None, k=5)
    train(TrainConfig.make({"preset": "quick", "rounds": 1, "epochs_first": 1, "device": "cpu"}), listed, tmp_path / "quick")
    same(from_weights["untrained"], evaluate(tmp_path / "quick", everything, None, k=5)["untrained"])

    monkeypatch.setattr(judge, "_AFFORDABLE", 60 * 128**2 - 1)
    with caplog.at_level("INFO", "trainer"):
        assert anew.pretrained(listed.median_side) is None
    assert "60 images would take too long here" in caplog.text


def test_images_of_classes_that_nobody_trained_on_vote_on_one_another(listed: ImageList, weights: str, tmp_path: Path) -> None:
    _, run = train(TrainConfig.make({**SHAPE, "rounds": 2, "epochs_first": 0, "epochs": 1, "init": weights}), listed, tmp_path)
    other = open_source(picture_zip(tmp_path / "other.zip", 60, first=1000))
    unseen = Labelled(other, [f"new {label}" for label in labels_of(other)])
    judged = evaluate(tmp_path, Labelled(listed, labels_of(listed)), unseen, k=5)
    assert (judged["held_out"], judged["unseen_classes"], judged["queries"]) == (True, True, len(other.images))
    assert judged["chosen_by"] == "neighbours"  # the labels are of other classes than those that are judged
    # As with no labels of what was trained on, and as the same images judged as a collection of their own.
    without = evaluate(tmp_path, Labelled(listed, [None] * len(listed.images)), unseen, k=5)
    assert without == judged | {"rounds": without["rounds"], "consistency": None}
    by_hand = judge.Judge.of(unseen, None, 5, torch.device("cpu"))
    assert by_hand is not None
    last = by_hand.encoder(run.encoder)[0]
    same(judged["adapted"] or judged["trained"], last)
    known = evaluate(tmp_path, Labelled(listed, labels_of(listed)), Labelled(other, labels_of(other)), k=5)
    assert known["unseen_classes"] is False and known["knn_accuracy"] != judged["knn_accuracy"]
