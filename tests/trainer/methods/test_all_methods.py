"""What holds for every method: it learns, stops and resumes exactly, is exported and judged; the floor trains nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.ground.folders import RunFolder
from core.ground.methods import METHODS
from tests.conftest import image_bytes, write_zip
from trainer import checkpoints
from trainer.__main__ import main
from trainer.config import ConfigError, InputError, TrainConfig
from trainer.data.sources import open_source
from trainer.evaluation.evaluate import Labelled, evaluate
from trainer.export import export
from trainer.machine.ranks import Ranks
from trainer.methods import registry
from trainer.resolve import resolve
from trainer.run import Run
from trainer.train import Stopped, train

LEARNING = [name for name, facts in METHODS.items() if facts.trains]
LABELS = ["round" if place % 2 else "square" for place in range(40)]


def config_of(method: str, **params: Any) -> TrainConfig:
    short = {"rounds": 2, "epochs_first": 2, "epochs": 1} if METHODS[method].trains else {}
    return TrainConfig.make(
        {"preset": "quick", "method": method, "image_size": 16, "batch_size": 16, "dim": 16, "device": "cpu", **short, **params}
    )


def learn(method: str, pictures: Path, out: Path, **options: Any) -> Run:
    _, run = train(config_of(method), open_source(pictures), out, labels=LABELS, **options)
    return run


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


@pytest.mark.parametrize("method", LEARNING)
def test_it_learns_and_resumes_exactly(method: str, pictures: Path, tmp_path: Path) -> None:
    """Stopped within an epoch, and where the second epoch and the second round begin."""
    whole = learn(method, pictures, tmp_path / "whole")
    losses = [event["loss"] for event in whole.history if event["type"] == "epoch"]
    assert len(losses) == 3 and all(np.isfinite(losses))
    fresh = Run.start(*_fresh(method, pictures)).encoder.state_dict()
    learned = [name for name, value in whole.encoder.named_parameters() if not torch.equal(value, fresh[name])]
    assert any(name.startswith("layer") or ".layer" in name for name in learned)
    for number, stop_at in enumerate((2, 3, 6)):
        asked = iter(range(1000))
        first, second = tmp_path / f"{number}-first", tmp_path / f"{number}-second"
        with pytest.raises(Stopped):
            learn(method, pictures, first, should_stop=lambda asked=asked, stop_at=stop_at: next(asked) == stop_at)
        resumed = learn(method, pictures, second, resume_from=[first])
        expected = state(whole)
        assert state(resumed).keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in state(resumed).items())
        assert torch.equal(resumed.bank.rows, whole.bank.rows)


def _fresh(method: str, pictures: Path) -> tuple[Any, ...]:
    images = open_source(pictures)
    config = resolve(config_of(method), len(images.images), images.median_side)
    labels = torch.tensor([0, 1] * 20) if METHODS[method].reads_labels else None
    return config, images.fingerprint, len(images.images), torch.device("cpu"), Ranks(), labels


@pytest.mark.slow  # an ONNX export each
@pytest.mark.parametrize("method", [name for name in METHODS if name != "frozen"])
def test_it_is_exported_and_judged(method: str, pictures: Path, tmp_path: Path) -> None:
    images = open_source(pictures)
    config, run = train(config_of(method), images, tmp_path, labels=LABELS)
    export(config, run, images, RunFolder(tmp_path).model)
    assert any("READS THE LABELS" in event["message"] for event in run.history if event["type"] == "warning") == (
        method == "supervised"
    )
    embeddings = np.load(RunFolder(tmp_path).model / "embeddings.npy")
    assert embeddings.shape == (40, 16)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    result = evaluate(tmp_path, Labelled(images, LABELS), None)
    assert result["trained"] and result["untrained"]
    # The bank holds what the published encoder gives where the method does not fill it as it goes.
    if not registry.method_class(method).fills_bank:
        np.testing.assert_allclose(run.bank.whole().numpy(), embeddings, atol=1e-4)


def test_the_floor_trains_nothing(pictures: Path, tmp_path: Path) -> None:
    run = learn("random", pictures, tmp_path)
    fresh = Run.start(*_fresh("random", pictures)).encoder.state_dict()
    for name, value in run.encoder.named_parameters():
        assert name.startswith("head.") or torch.equal(value, fresh[name])
    assert [number for number, _ in checkpoints.round_ends(tmp_path / "checkpoints")] == [0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "simclrr"}, r"method: 'simclrr' is not one of .*; did you mean simclr\?"),
        ({"method": "deep_cluster"}, r"did you mean deepcluster\?"),
        ({"method": "simclr", "neighbours": 5}, "neighbours: method simclr does not have it, only and, "),
        ({"method": "and", "clusters": 5}, "clusters: method and does not have it, only deepcluster"),
        ({"method": "deepcluster", "proximal_weight": 2.0}, "proximal_weight: .* only instance_nce"),
        ({"method": "random", "init": "imagenet"}, "init: random starts from random weights"),
        ({"method": "random", "epochs_first": 2}, "method: random trains nothing"),
    ],
)
def test_what_a_method_does_not_have_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.make(params)


def test_clusters_need_images(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clusters: 21 is more than half the number of images, 40"):
        train(config_of("deepcluster", clusters=21), open_source(pictures), tmp_path)


def test_components_need_features(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dim: 129 is more than the 128 features of resnet10, of which simclr takes"):
        train(config_of("simclr", dim=129), open_source(pictures), tmp_path)


def test_from_weights_the_last_blocks_learn_whatever_the_preset() -> None:
    for preset in ("quick", "paper"):
        config = TrainConfig.make({"preset": preset, "init": "imagenet", "method": "simclr", "epochs_first": 0})
        assert config.trained_blocks == 2 and config.rounds > 1
    assert TrainConfig.make({"preset": "quick", "init": "imagenet", "method": "simclr", "epochs_first": 50}).rounds == 1


@pytest.mark.parametrize("labels", [None, [None] * 40, ["one"] * 40])
def test_supervised_needs_labels(labels: list[str | None] | None, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learns from labels of two classes or more"):
        train(config_of("supervised"), open_source(pictures), tmp_path, labels=labels)


def test_other_labels_are_another_run(pictures: Path, tmp_path: Path) -> None:
    learn("supervised", pictures, tmp_path / "first")
    with pytest.raises(InputError, match="cannot resume: the labels differ from those of the checkpoint"):
        train(
            config_of("supervised"),
            open_source(pictures),
            tmp_path / "second",
            resume_from=[tmp_path / "first"],
            labels=LABELS[::-1],
        )


def test_every_method_sees_as_many_images() -> None:
    seen = {}
    for method, facts in METHODS.items():
        if facts.trains:
            config = resolve(TrainConfig.make({"preset": "quick", "method": method, "device": "cpu"}), 10_000, 32)
            assert config.epochs_first and config.epochs
            seen[method] = facts.views * (config.epochs_first + (config.rounds - 1) * config.epochs)
    assert max(seen.values()) <= 1.03 * min(seen.values()), seen


def test_a_method_that_needs_one_process_says_so(pictures: Path) -> None:
    config, *_ = _fresh("instance_nce", pictures)
    run = Run.start(*_fresh("instance_nce", pictures))
    run.bank.ranks = replace(Ranks(), size=2)
    with pytest.raises(ConfigError, match="instance_nce trains in one process, not in 2; start it without torchrun"):
        registry.make(config, run.encoder, run.bank, None)


@pytest.mark.slow  # an ONNX export
def test_the_command_that_reads_labels_says_so(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--epochs-first", "1", "--batch-size", "20", "--dim", "8", "--device", "cpu"]
    assert main(["run", str(pictures), "--out", str(tmp_path), "--method", "supervised", *short]) == 0
    assert (
        "method supervised READS THE LABELS of 40 images: its figures are a ceiling, and on these images worth nothing"
        in capsys.readouterr().err
    )
    flat = write_zip(tmp_path / "flat.zip", {f"{number}.png": image_bytes(number) for number in range(20)})
    assert main(["run", str(flat), "--out", str(tmp_path / "flat"), "--method", "supervised", *short]) == 2
    assert "method: supervised learns from labels of two classes or more, and there are 0" in capsys.readouterr().err
