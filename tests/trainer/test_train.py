"""Whole runs on few small pictures: what decides them, their anchors, and what AND is compared with."""

import io
import math
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.ground.folders import checkpoints_in
from tests.conftest import image_bytes, write_zip
from tests.trainer.runs import SMALL, Whole, embeddings, run_whole
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.run import Run
from trainer.train import train


def test_folders_names_and_labels_cannot_matter(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    with zipfile.ZipFile(pictures) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    shuffled = write_zip(tmp_path / "other.zip", {f"q{i % 7}/z/{99 - i}.dat": data for i, data in enumerate(reversed(contents))})
    _, run = run_whole(shuffled, tmp_path / "run")
    mine, theirs = io.BytesIO(), io.BytesIO()
    np.save(mine, embeddings(run, shuffled))
    np.save(theirs, embeddings(whole[2], pictures))
    assert mine.getvalue() == theirs.getvalue()


def test_anchors_grow_by_the_select_rate(whole: Whole) -> None:
    _, _, run = whole
    anchors = [event["anchors"] for event in run.history if event["type"] == "epoch"]
    assert anchors == [0.0, 0.0, 0.25, 0.5]
    assert sorted(run.anchor_round.unique().tolist()) == [-1, 1, 2]
    assert int((run.anchor_round == 1).sum()) == 10
    assert ((run.trained_towards >= 0).flatten() == (run.anchor_round >= 0)).all()


def test_discovery_from_reencoded_images(pictures: Path, tmp_path: Path) -> None:
    _, run = run_whole(pictures, tmp_path, {**SMALL, "discovery_features": "encoder", "rounds": 2})
    assert len(run.entropy) == 2


def after_the_first_round(whole: Path, pictures: Path, out: Path, params: dict[str, object]) -> Run:
    """A run with further parameters that goes on from where the first round of ``whole`` ended."""
    folder = out / "checkpoints"
    shutil.copytree(whole / "checkpoints", folder)
    for _, path in checkpoints_in(folder)[1:]:
        path.unlink()
    return train(TrainConfig.make({**SMALL, **params}), open_source(pictures), out, extend=True)[1]


@pytest.mark.parametrize(("method", "anchors"), [("instance", [0, 0]), ("random_anchors", [0.25, 0.5]), ("all_anchors", [1, 1])])
def test_what_and_is_compared_with_shares_its_first_round(
    pictures: Path, tmp_path: Path, whole: Whole, method: str, anchors: list[float]
) -> None:
    run = after_the_first_round(whole[0], pictures, tmp_path, {"method": method, "neighbours": 2})
    epochs = [event for event in run.history if event["type"] == "epoch"]
    assert [event["anchors"] for event in epochs[2:]] == anchors
    assert epochs[:2] == [event for event in whole[2].history if event["type"] == "epoch"][:2]
    assert run.trained_towards.shape == (40, 2)


@pytest.mark.parametrize("method", ["and", "instance"])
def test_later_rounds_have_a_temperature_of_their_own(pictures: Path, tmp_path: Path, whole: Whole, method: str) -> None:
    run = after_the_first_round(whole[0], pictures, tmp_path, {"method": method, "temperature_next": 10})
    epochs = [event for event in run.history if event["type"] == "epoch"]
    assert epochs[:2] == [event for event in whole[2].history if event["type"] == "epoch"][:2]
    # So warm that all images are alike: logits of at most 1 / 10 in magnitude leave log N, the neighbours' mean too.
    assert [event["loss"] for event in epochs[2:]] == pytest.approx([math.log(40)] * 2, abs=0.2)


def test_every_round_has_figures_that_need_no_labels(whole: Whole) -> None:
    rounds = [event for event in whole[2].history if event["type"] == "round"]
    assert [event["neighbour_agreement"] is None for event in rounds] == [True, False, False]
    for event in rounds:
        assert 1 <= event["effective_rank"] <= 16
        assert event["alignment"] >= 0
        assert event["uniformity"] <= 0
        assert sum(event["entropy_histogram"]) == 40


def test_large_images_are_cropped_from_a_bounded_copy(tmp_path: Path) -> None:
    files = {f"{i}.jpg": image_bytes(i, format="JPEG", size=(90 + i, 60)) for i in range(16)}
    _, run = run_whole(write_zip(tmp_path / "wide.zip", files), tmp_path / "run", {**SMALL, "image_size": 16, "rounds": 1})
    assert len(run.bank.rows) == 16
