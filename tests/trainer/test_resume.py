"""Runs that go on: from any step exactly, with their own parameters, with more rounds, and never as another run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.ground.folders import checkpoints_in
from tests.conftest import picture_zip
from tests.trainer.runs import SMALL, Whole, embeddings, run_whole
from trainer import checkpoints
from trainer.__main__ import main
from trainer.config import InputError, TrainConfig
from trainer.data.sources import open_source
from trainer.resolve import continued
from trainer.run import require_same_run
from trainer.train import Stopped, train


@pytest.mark.parametrize("stop_at", [1, 6, 10])
def test_a_run_stopped_at_any_step_resumes_exactly(pictures: Path, tmp_path: Path, whole: Whole, stop_at: int) -> None:
    calls = iter(range(1000))
    first, second = tmp_path / "1", tmp_path / "2"
    listed, config = open_source(pictures), TrainConfig.make(SMALL)
    with pytest.raises(Stopped):
        train(config, listed, first, should_stop=lambda: next(calls) >= stop_at)
    seen: list[dict[str, object]] = []
    _, resumed = train(config, listed, second, resume_from=[first], on_event=seen.append)
    _, _, expected = whole
    assert np.array_equal(embeddings(resumed, pictures), embeddings(expected, pictures))
    assert torch.equal(resumed.bank.rows, expected.bank.rows)
    assert torch.equal(torch.stack(resumed.entropy), torch.stack(expected.entropy))
    epochs = [(event["round"], event["epoch"]) for event in seen if event["type"] == "epoch"]
    assert epochs == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert [number for number, _ in checkpoints.round_ends(second / "checkpoints")] == [0, 1, 2]


def test_a_damaged_checkpoint_is_passed_over(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    out, _, expected = whole
    folder = tmp_path / "checkpoints"
    shutil.copytree(out / "checkpoints", folder)
    last = checkpoints_in(folder)[-1][1]
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 0xFF
    last.write_bytes(data)
    newest = checkpoints.newest([folder])
    assert newest is not None
    assert newest[1] != last
    _, resumed = run_whole(pictures, tmp_path)
    assert np.array_equal(embeddings(resumed, pictures), embeddings(expected, pictures))


def test_the_weights_a_run_started_from_may_be_moved() -> None:
    saved = {
        "config": TrainConfig.make({**SMALL, "init": "/old/encoder.safetensors"}).to_json(),
        "images": "f",
        "position": (0, 1, 0),
    }
    require_same_run(saved, TrainConfig.make({**SMALL, "init": "/new/encoder.safetensors"}), "f", extend=False)
    with pytest.raises(InputError, match=r"init.* differ"):
        require_same_run(saved, TrainConfig.make(SMALL), "f", extend=False)


def made_older(out: Path, *parameters: str) -> None:
    """Make a run look as if it had been made before there were some of its parameters."""

    def without(config: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in config.items() if name not in parameters}

    (out / "config.json").write_text(json.dumps(without(json.loads((out / "config.json").read_text()))))
    for position, path in checkpoints_in(out / "checkpoints"):
        state = checkpoints.load(path)
        path.unlink()
        checkpoints.save(out / "checkpoints", position, {**state, "config": without(state["config"])})


@pytest.mark.slow  # three exports; how a run resumes is in the fast tests, too
def test_a_run_older_than_a_parameter_goes_on_with_its_default(pictures: Path, tmp_path: Path) -> None:
    preset = TrainConfig.make(SMALL)
    config = replace(preset, neighbour_loss="union", temperature_next=None)
    assert config != preset, "what the preset says by now is something else"
    _, expected = train(config, open_source(pictures), tmp_path / "whole")
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        train(config, open_source(pictures), tmp_path / "run", should_stop=lambda: next(asked) == 8)
    newer = ("neighbour_loss", "crop_size", "backbone_rate", "trained_blocks", "temperature_next", "clusters", "sobel")
    made_older(tmp_path / "run", *newer)
    for way in (["--resume"], []):
        out = tmp_path / f"run{len(way)}"
        shutil.copytree(tmp_path / "run", out)
        command = ["run", str(pictures), "--out", str(out), "--threads", "1"]
        assert main([*command, *way, "--neighbour-loss", "mean"]) == 2, "it was not the loss that it began with"
        assert main([*command, *way]) == 0
        assert np.array_equal(np.load(out / "model/embeddings.npy"), embeddings(expected, pictures))
    made_older(out, *newer)
    assert main([*command, "--add-rounds", "1"]) == 0
    longer = json.loads((out / "config.json").read_text())
    assert (longer["rounds"], longer["neighbour_loss"], longer["temperature_next"]) == (4, "union", None)


def test_resuming_another_run_is_refused(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    config = TrainConfig.make({**SMALL, "seed": 1})
    with pytest.raises(InputError, match="seed differ"):
        train(config, open_source(pictures), tmp_path, resume_from=[whole[0]])
    others = open_source(picture_zip(tmp_path / "others.zip", 40, first=7000))
    with pytest.raises(InputError, match="the images differ"):
        train(TrainConfig.make(SMALL), others, tmp_path / "run", resume_from=[whole[0]])
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_what_was_chosen_for_it(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    saved = {**whole[1].to_json(), "image_size": 24, "precision": "bfloat16", "device": "cuda:7"}
    config = continued(TrainConfig.make(SMALL), saved)
    assert (config.image_size, config.precision, config.device) == (24, "bfloat16", "cpu")


def test_rounds_are_added_to_a_finished_run(pictures: Path, tmp_path: Path, whole: Whole) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    command = ["run", str(pictures), "--out", str(tmp_path / "run"), "--threads", "1"]
    assert main([*command, "--add-rounds", "1"]) == 0
    longer = {**SMALL, "rounds": 4}
    _, expected = run_whole(pictures, tmp_path / "longer", longer)
    stored = np.load(tmp_path / "run/model/embeddings.npy")
    assert np.array_equal(stored, embeddings(expected, pictures))
    assert json.loads((tmp_path / "run/config.json").read_text())["rounds"] == 4
    assert len(np.load(tmp_path / "run/model/neighbourhoods.npz")["entropy"]) == 4


@pytest.mark.slow  # two exports
def test_resume_takes_the_runs_own_parameters(
    pictures: Path, tmp_path: Path, whole: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["run", str(pictures), "--out", str(out), "--threads", "1"]
    assert main([*command, "--resume"]) == 2
    assert "no intact checkpoint to go on from" in capsys.readouterr().err
    shutil.copytree(whole[0], out)
    checkpoints_in(out / "checkpoints")[-1][1].unlink()
    assert main([*command, "--add-rounds", "1"]) == 2
    assert "not finished yet; --resume goes on with it" in capsys.readouterr().err
    (again := tmp_path / "again").mkdir()
    shutil.copytree(out, again, dirs_exist_ok=True)
    assert main([*command, "--resume"]) == 0
    assert np.array_equal(np.load(out / "model/embeddings.npy"), embeddings(whole[2], pictures))
    assert main(["run", str(pictures), "--out", str(again), "--threads", "1"]) == 0  # what is not said again stays as it was
    assert np.array_equal(np.load(again / "model/embeddings.npy"), embeddings(whole[2], pictures))
