"""Whole runs on few small pictures: exact resume, independence of names and labels, export, evaluation."""

import gzip
import io
import json
import math
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from core.ground.imaging import decode, evaluation_array
from core.ground.parameters import weights_file
from core.search.encoder import Encoder
from core.search.index import build
from tests.conftest import image_bytes, picture_zip, write_zip
from trainer import checkpoints
from trainer.__main__ import main
from trainer.backbones.encoder import encode
from trainer.config import InputError, TrainConfig
from trainer.data.augment import crop_and_resize
from trainer.data.decoded import evaluation_batches
from trainer.data.sources import SourceError, open_source
from trainer.evaluation.evaluate import Labelled, evaluate
from trainer.export import export
from trainer.resolve import continued
from trainer.run import Run, require_same_run
from trainer.train import Stopped, train

SMALL = {
    "preset": "quick",
    "rounds": 3,
    "epochs_first": 2,
    "epochs": 1,
    "select_rate": 0.25,
    "batch_size": 16,
    "dim": 16,
    "device": "cpu",
}


def run_whole(pictures: Path, out: Path, params: dict[str, object] = SMALL) -> tuple[TrainConfig, Run]:
    return train(TrainConfig.make(params), open_source(pictures), out)


def embeddings(run: Run, pictures: Path) -> np.ndarray:
    return encode(run.encoder, evaluation_batches(open_source(pictures), 16), torch.device("cpu")).numpy()


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainConfig, Run]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    return out, *run_whole(pictures, out)


@pytest.mark.parametrize("stop_at", [1, 6, 10])
def test_a_run_stopped_at_any_step_resumes_exactly(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run], stop_at: int
) -> None:
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


def test_a_damaged_checkpoint_is_passed_over(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
    out, _, expected = whole
    folder = tmp_path / "checkpoints"
    shutil.copytree(out / "checkpoints", folder)
    last = checkpoints.found(folder)[-1][1]
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
    for position, path in checkpoints.found(out / "checkpoints"):
        state = checkpoints.load(path)
        path.unlink()
        checkpoints.save(out / "checkpoints", position, {**state, "config": without(state["config"])})


def test_a_run_older_than_a_parameter_goes_on_with_its_default(pictures: Path, tmp_path: Path) -> None:
    preset = TrainConfig.make(SMALL)
    config = replace(preset, neighbour_loss="union", temperature_next=None)
    assert config != preset, "what the preset says by now is something else"
    _, expected = train(config, open_source(pictures), tmp_path / "whole")
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        train(config, open_source(pictures), tmp_path / "run", should_stop=lambda: next(asked) == 8)
    newer = ("neighbour_loss", "crop_size", "backbone_rate", "trained_blocks", "temperature_next")
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


def test_a_run_that_never_began_binds_nobody(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(pictures), "--out", str(tmp_path / "run"), "--threads", "1"]
    small = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main([*command, *small, "--init", str(tmp_path / "none.safetensors")]) == 2
    assert "cannot read weights" in capsys.readouterr().err
    assert main([*command, *small]) == 0


def test_resuming_another_run_is_refused(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
    config = TrainConfig.make({**SMALL, "seed": 1})
    with pytest.raises(InputError, match="seed differ"):
        train(config, open_source(pictures), tmp_path, resume_from=[whole[0]])
    others = open_source(picture_zip(tmp_path / "others.zip", 40, first=7000))
    with pytest.raises(InputError, match="the images differ"):
        train(TrainConfig.make(SMALL), others, tmp_path / "run", resume_from=[whole[0]])
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_what_was_chosen_for_it(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
    saved = {**whole[1].to_json(), "image_size": 24, "precision": "bfloat16", "device": "cuda:7"}
    config = continued(TrainConfig.make(SMALL), saved)
    assert (config.image_size, config.precision, config.device) == (24, "bfloat16", "cpu")


def test_folders_names_and_labels_cannot_matter(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
    with zipfile.ZipFile(pictures) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    shuffled = write_zip(tmp_path / "other.zip", {f"q{i % 7}/z/{99 - i}.dat": data for i, data in enumerate(reversed(contents))})
    _, run = run_whole(shuffled, tmp_path / "run")
    mine, theirs = io.BytesIO(), io.BytesIO()
    np.save(mine, embeddings(run, shuffled))
    np.save(theirs, embeddings(whole[2], pictures))
    assert mine.getvalue() == theirs.getvalue()


def test_anchors_grow_by_the_select_rate(whole: tuple[Path, TrainConfig, Run]) -> None:
    _, _, run = whole
    anchors = [event["anchors"] for event in run.history if event["type"] == "epoch"]
    assert anchors == [0.0, 0.0, 0.25, 0.5]
    assert sorted(run.anchor_round.unique().tolist()) == [-1, 1, 2]
    assert int((run.anchor_round == 1).sum()) == 10
    assert ((run.trained_towards >= 0).flatten() == (run.anchor_round >= 0)).all()


def test_discovery_from_reencoded_images(pictures: Path, tmp_path: Path) -> None:
    _, run = run_whole(pictures, tmp_path, {**SMALL, "discovery_features": "encoder", "rounds": 2})
    assert len(run.entropy) == 2


def test_the_export_is_complete_and_agrees_with_the_encoder(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]
) -> None:
    _, config, run = whole
    listed = open_source(pictures)
    export(config, run, listed, tmp_path)
    stored, ids = np.load(tmp_path / "embeddings.npy"), np.load(tmp_path / "ids.npy")
    assert stored.shape == (40, 16)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    encoder = Encoder(tmp_path / "encoder.onnx")
    again = encoder([decode(image.location.read()) for image in listed.images])
    assert (again * stored).sum(axis=1).min() > 0.9999
    decoded = [decode(image.location.read()) for image in listed.images]
    with ThreadPoolExecutor(16) as pool:  # batched as they come, each gets its own
        together = list(pool.map(encoder.one, [evaluation_array(image, encoder.size) for image in decoded * 5]))
    assert np.abs(np.stack(together) - np.tile(again, (5, 1))).max() < 1e-5
    weights = load_file(tmp_path / "encoder.safetensors")
    assert {"stem.weight", "layer4.0.conv2.weight", "head.bias"} <= set(weights)
    hoods = np.load(tmp_path / "neighbourhoods.npz")
    assert (hoods["entropy"].shape, hoods["neighbours"].shape) == ((3, 40), (40, 1))
    assert set(hoods["neighbours"][hoods["anchor_round"] >= 0].flatten()) <= set(ids)
    assert np.load(tmp_path / "projection.npy").shape == (40, 2)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert build(stored, tmp_path / "index.faiss").recall_at_10 == 1.0
    inputs = onnxruntime.InferenceSession(tmp_path / "encoder.onnx").get_inputs()
    assert [(i.name, i.type, i.shape[1:]) for i in inputs] == [("images", "tensor(uint8)", [16, 16, 3])]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_every_kind_of_file_is_embedded_as_in_the_evaluation(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]
) -> None:
    _, config, run = whole
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65536, (30, 50), dtype=np.uint16))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    plain = Image.fromarray(np.kron(rng.integers(0, 256, (5, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    files = {
        "photo.jpg": saved(plain, "JPEG"),
        "plain.png": saved(plain, "PNG"),
        "grey.png": saved(plain.convert("L"), "PNG"),
        "palette.png": saved(plain.convert("P"), "PNG"),
        "ink.jpg": saved(plain.convert("CMYK"), "JPEG"),
        "deep.png": saved(deep, "PNG"),
        "rotated.jpg": saved(plain, "JPEG", exif=rotated),
        "alpha.png": saved(plain.convert("RGBA"), "PNG"),
        "one.gif": saved(plain, "GIF"),
        "lossy.webp": saved(plain, "WEBP"),
    }
    listed = open_source(write_zip(tmp_path / "kinds.zip", files))
    assert len(listed.images) == len(files)
    assert config.image_size is not None
    expected = encode(run.encoder, evaluation_batches(listed, config.image_size), torch.device("cpu")).numpy()
    export(config, run, open_source(pictures), tmp_path)
    encoder = Encoder(tmp_path / "encoder.onnx")
    for row, image in enumerate(listed.images):
        found = encoder.one(evaluation_array(decode(files[image.path]), encoder.size))
        assert float(found @ expected[row]) >= 0.999, image.path


def test_evaluation_compares_with_untrained_and_pixels(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]
) -> None:
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


def test_rounds_are_added_to_a_finished_run(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    command = ["run", str(pictures), "--out", str(tmp_path / "run"), "--threads", "1"]
    assert main([*command, "--add-rounds", "1"]) == 0
    longer = {**SMALL, "rounds": 4}
    _, expected = run_whole(pictures, tmp_path / "longer", longer)
    stored = np.load(tmp_path / "run/model/embeddings.npy")
    assert np.array_equal(stored, embeddings(expected, pictures))
    assert json.loads((tmp_path / "run/config.json").read_text())["rounds"] == 4
    assert len(np.load(tmp_path / "run/model/neighbourhoods.npz")["entropy"]) == 4


def test_resume_takes_the_runs_own_parameters(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = ["run", str(pictures), "--out", str(out), "--threads", "1"]
    assert main([*command, "--resume"]) == 2
    assert "no intact checkpoint to go on from" in capsys.readouterr().err
    shutil.copytree(whole[0], out)
    checkpoints.found(out / "checkpoints")[-1][1].unlink()
    assert main([*command, "--add-rounds", "1"]) == 2
    assert "not finished yet; --resume goes on with it" in capsys.readouterr().err
    (again := tmp_path / "again").mkdir()
    shutil.copytree(out, again, dirs_exist_ok=True)
    assert main([*command, "--resume"]) == 0
    assert np.array_equal(np.load(out / "model/embeddings.npy"), embeddings(whole[2], pictures))
    assert main(["run", str(pictures), "--out", str(again), "--threads", "1"]) == 0  # what is not said again stays as it was
    assert np.array_equal(np.load(again / "model/embeddings.npy"), embeddings(whole[2], pictures))


def after_the_first_round(whole: Path, pictures: Path, out: Path, params: dict[str, object]) -> Run:
    """A run with further parameters that goes on from where the first round of ``whole`` ended."""
    folder = out / "checkpoints"
    shutil.copytree(whole / "checkpoints", folder)
    for _, path in checkpoints.found(folder)[1:]:
        path.unlink()
    return train(TrainConfig.make({**SMALL, **params}), open_source(pictures), out, extend=True)[1]


@pytest.mark.parametrize(("method", "anchors"), [("instance", [0, 0]), ("random_anchors", [0.25, 0.5]), ("all_anchors", [1, 1])])
def test_what_and_is_compared_with_shares_its_first_round(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run], method: str, anchors: list[float]
) -> None:
    run = after_the_first_round(whole[0], pictures, tmp_path, {"method": method, "neighbours": 2})
    epochs = [event for event in run.history if event["type"] == "epoch"]
    assert [event["anchors"] for event in epochs[2:]] == anchors
    assert epochs[:2] == [event for event in whole[2].history if event["type"] == "epoch"][:2]
    assert run.trained_towards.shape == (40, 2)


@pytest.mark.parametrize("method", ["and", "instance"])
def test_later_rounds_have_a_temperature_of_their_own(
    pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run], method: str
) -> None:
    run = after_the_first_round(whole[0], pictures, tmp_path, {"method": method, "temperature_next": 10})
    epochs = [event for event in run.history if event["type"] == "epoch"]
    assert epochs[:2] == [event for event in whole[2].history if event["type"] == "epoch"][:2]
    # So warm that all images are alike: logits of at most 1 / 10 in magnitude leave log N, the neighbours' mean too.
    assert [event["loss"] for event in epochs[2:]] == pytest.approx([math.log(40)] * 2, abs=0.2)


def test_every_round_has_figures_that_need_no_labels(whole: tuple[Path, TrainConfig, Run]) -> None:
    rounds = [event for event in whole[2].history if event["type"] == "round"]
    assert [event["neighbour_agreement"] is None for event in rounds] == [True, False, False]
    for event in rounds:
        assert 1 <= event["effective_rank"] <= 16
        assert event["alignment"] >= 0
        assert event["uniformity"] <= 0
        assert sum(event["entropy_histogram"]) == 40


def test_a_collapse_is_a_warning(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--rounds", "1", "--epochs-first", "3", "--batch-size", "40", "--learning-rate", "1", "--threads", "1"]
    assert main(["run", str(pictures), "--out", str(tmp_path), *short]) == 0
    assert "warning: the embedding has collapsed" in capsys.readouterr().err
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["round"] for event in events if event["type"] == "warning"] == [0]


def test_evaluation_refuses_what_would_mislead(pictures: Path, tmp_path: Path, whole: tuple[Path, TrainConfig, Run]) -> None:
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
    checkpoints.found(unfinished)[-1][1].unlink()
    with pytest.raises(InputError, match="only 2 of 3 rounds"):
        evaluate(unfinished.parent, train_set, None)


def test_sources_are_alike_and_bad_files_are_skipped(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(pictures) as archive:
        archive.extractall(folder)
    shutil.make_archive(str(tmp_path / "all"), "gztar", folder)
    expected = [image.sha256 for image in open_source(pictures).images]
    assert [image.sha256 for image in open_source(tmp_path / "all.tar.gz").images] == expected
    (folder / "notes.txt").write_text("hello")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "copy.png").write_bytes(next(folder.glob("class-0/*.png")).read_bytes())
    listed = open_source(folder)
    assert [image.sha256 for image in listed.images] == expected
    assert (listed.duplicates, [path for path, _ in listed.rejected]) == (1, ["notes.txt"])
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="not a folder, a zip"):
        open_source(folder / "notes.txt")
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no usable image"):
        open_source(tmp_path / "none")


def test_archives_with_unreadable_entries(pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(pictures) as whole_archive, zipfile.ZipFile(broken, "w") as archive:
        for name in whole_archive.namelist():
            archive.writestr(name, whole_archive.read(name))
        start = archive.infolist()[3].header_offset
    data = bytearray(broken.read_bytes())
    data[start + 60] ^= 0xFF  # inside the fourth entry's content: its CRC no longer fits
    broken.write_bytes(data)
    listed = open_source(broken)
    assert len(listed.images) == 39
    assert "CRC" in listed.rejected[0][1]
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(gzip.compress(bytes(5000))[:20])
    with pytest.raises(SourceError):
        open_source(cut)


def test_a_picture_of_extreme_shape_does_no_harm(tmp_path: Path) -> None:
    boxes = torch.tensor([[0.3, 0.0, 1e-5, 1.0]])
    result = crop_and_resize(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8), boxes, torch.tensor([False]), 16)
    assert torch.isfinite(result).all()


def test_large_images_are_cropped_from_a_bounded_copy(tmp_path: Path) -> None:
    files = {f"{i}.jpg": image_bytes(i, format="JPEG", size=(90 + i, 60)) for i in range(16)}
    _, run = run_whole(write_zip(tmp_path / "wide.zip", files), tmp_path / "run", {**SMALL, "image_size": 16, "rounds": 1})
    assert len(run.bank.rows) == 16


def test_the_command_line_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "no.zip"), "--out", str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err
    few = picture_zip(tmp_path / "few.zip", 5)
    assert main(["run", str(few), "--out", str(tmp_path / "out")]) == 2
    assert "at least 16" in capsys.readouterr().err
    assert main(["run", str(few), "--out", str(tmp_path / "out"), "--rounds", "99"]) == 2
    assert "outside 1 to 20" in capsys.readouterr().err
    assert main(["run", str(few), "--out", str(few / "out")]) == 2
    assert "Not a directory" in capsys.readouterr().err
    assert main(["run", "--config", str(tmp_path / "no.json"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be read as JSON" in capsys.readouterr().err
    enough = picture_zip(tmp_path / "enough.zip", 16)
    assert main(["run", str(enough), "--out", str(tmp_path / "out"), "--init", str(few)]) == 2
    assert "cannot read weights" in capsys.readouterr().err


def test_the_command_line_from_start_to_accuracy(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--rounds", "1", "--epochs-first", "1", "--dim", "8", "--batch-size", "20", "--threads", "1"]
    assert main(["run", str(pictures), "--out", str(tmp_path), *short]) == 0
    events = [json.loads(line)["type"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event for event in events if event != "warning"] == ["started", "epoch", "round", "exporting", "finished"]
    capsys.readouterr()
    plot = tmp_path / "plot.png"
    assert main(["evaluate", str(tmp_path), "--data", str(pictures), "--k", "3", "--plot", str(plot)]) == 0
    with Image.open(plot) as picture:
        assert picture.width > 500
    assert json.loads(capsys.readouterr().out)["k"] == 3
