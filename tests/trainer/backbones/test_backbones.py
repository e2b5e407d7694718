"""The encoders against torchvision's networks, and warm starts."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from trainer.backbones.resnet import ResNet, build_encoder, load_initial_weights
from trainer.config import ConfigError, TrainConfig


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("side", [32, 96])
def test_torchvision_takes_the_body(backbone: str, side: int, tmp_path: Path) -> None:
    encoder = ResNet(backbone, 16, side).eval()
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_()
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    theirs = torchvision.models.get_model(backbone).eval()
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    result = theirs.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=False)
    untouched = ["fc.weight", "fc.bias"] + (["conv1.weight"] if side == 32 else [])
    assert sorted(result.missing_keys) == sorted(untouched)
    assert set(result.unexpected_keys) <= {"head.weight", "head.bias", "stem.weight", "pixel_mean", "pixel_std", "centre"}
    assert not torch.equal(theirs.state_dict()["layer4.1.conv2.weight"], before["layer4.1.conv2.weight"])
    x = torch.rand(2, 3, side, side)
    normalised = (x - 0.5) / 0.25
    theirs.fc = torch.nn.Identity()
    if side == 32:
        theirs.conv1, theirs.maxpool = encoder.stem, torch.nn.Identity()
    with torch.no_grad():
        assert torch.allclose(encoder.pooled(x), theirs(normalised), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "side", "features"), [("resnet10", 32, 128), ("resnet10", 96, 128), ("resnet50", 32, 2048)])
def test_shapes_and_unit_norm(backbone: str, side: int, features: int) -> None:
    encoder = ResNet(backbone, 16, side).eval()
    x = torch.rand(3, 3, side, side)
    with torch.no_grad():
        assert encoder.pooled(x).shape == (3, features)
        assert torch.allclose(encoder(x).norm(dim=1), torch.ones(3), atol=1e-5)


def test_the_small_stem_keeps_the_resolution_of_small_images() -> None:
    assert ResNet("resnet18", 16, 64).features(torch.rand(1, 3, 64, 64)).shape[2:] == (8, 8)
    assert ResNet("resnet18", 16, 65).features(torch.rand(1, 3, 96, 96)).shape[2:] == (3, 3)


def test_a_warm_start_takes_what_fits(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18()
    save_file(theirs.state_dict(), tmp_path / "torchvision.safetensors")
    encoder = ResNet("resnet18", 16, 96)
    head = encoder.head.weight.clone()
    loaded = load_initial_weights(encoder, str(tmp_path / "torchvision.safetensors"), "resnet18")
    assert len(loaded) == len(theirs.state_dict()) - 2  # all but the classifier
    assert torch.equal(encoder.conv1.weight, theirs.conv1.weight)
    assert torch.equal(encoder.head.weight, head)
    with pytest.raises(ConfigError, match=r"nothing in .* fits resnet10"):
        load_initial_weights(ResNet("resnet10", 16, 96), str(tmp_path / "torchvision.safetensors"), "resnet10")


def test_imagenet_weights_come_from_torchs_cache_or_say_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no ImageNet weights for resnet10, only for resnet18"):
        load_initial_weights(ResNet("resnet10", 16, 96), "imagenet", "resnet10")
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ConfigError, match=r"cannot be downloaded from https://.*; put the file into .*checkpoints"):
        load_initial_weights(ResNet("resnet18", 16, 96), "imagenet", "resnet18")
    theirs = torchvision.models.resnet18()
    cached = tmp_path / "hub/checkpoints" / weights.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True, exist_ok=True)
    torch.save(theirs.state_dict(), cached)
    encoder = ResNet("resnet18", 16, 96)
    load_initial_weights(encoder, "imagenet", "resnet18")
    assert torch.equal(encoder.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


@pytest.mark.parametrize(("backbone", "side"), [("resnet10", 8), ("resnet10", 16), ("resnet18", 8), ("efficientnet_lite0", 16)])
def test_in_bfloat16_the_gradient_of_few_pixels_is_finite(backbone: str, side: int) -> None:
    encoder = build_encoder(TrainConfig(backbone=backbone, dim=8, image_size=side)).to(memory_format=torch.channels_last)
    images = torch.rand(31, 3, side, side, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    for _ in range(3):
        left_behind = [torch.full((1 << 18,), float("nan")) for _ in range(8)]  # what memory that is not written would hold
        del left_behind
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = encoder(images)
        embeddings.float()[:, 0].sum().backward()
        assert all(bool(torch.isfinite(weights.grad).all()) for weights in encoder.parameters() if weights.grad is not None)
