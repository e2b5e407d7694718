"""Split-Brain: its colours and its loss against plain loops, what each half sees, and that grey images are refused."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ground.parameters import conflict
from tests.conftest import image_bytes, write_zip
from tests.trainer.machine.test_ranks import on_ranks
from trainer.backbones.halves import lab, normalised
from trainer.backbones.resnet import Halves, ResNet, build_encoder
from trainer.config import ConfigError, TrainConfig
from trainer.data.sources import open_source
from trainer.evaluation.attention import similarity_maps
from trainer.machine.ranks import Ranks
from trainer.methods.method import Batch
from trainer.methods.splitbrain import SplitBrain, colour_classes
from trainer.run import Run
from trainer.train import train

SMALL: dict[str, Any] = {
    "method": "splitbrain",
    "preset": "quick",
    "image_size": 32,
    "epochs_first": 1,
    "dim": 16,
    "device": "cpu",
}
# Least and most b of each a among the 313 classes of Zhang, Isola, Efros (ECCV 2016), as published with their code.
PUBLISHED = {
    **{-90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100)},
    **{-20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90)},
    **{50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0)},
}


def start(ranks: Ranks | None = None, **params: Any) -> SplitBrain:
    config = replace(TrainConfig.make({**SMALL, "precision": "float32", "epochs": 1, **params}), neighbours=1)
    method = Run.start(config, "", 16, torch.device("cpu"), ranks or Ranks()).method
    assert isinstance(method, SplitBrain)
    return method


def pixels(count: int, side: int, seed: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def slow_lab(colour: Sequence[float]) -> list[float]:
    """As in the standards: IEC 61966-2-1 and CIE 15, of one colour."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.0890,
    )
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def slow_head(head: nn.Conv2d, features: Tensor) -> Tensor:
    assert head.bias is not None
    return head.weight.double().flatten(1) @ features + head.bias.double()


def slow_loss(method: SplitBrain, images: Tensor) -> float:
    """Equations 1 and 2, position by position of the last feature maps."""
    features, total = method.encoder.maps(images).double(), 0.0
    count, channels, height, width = features.shape
    side, classes = images.shape[2] // height, colour_classes().tolist()
    for image in range(count):
        for i in range(height):
            for j in range(width):
                part = images[image, :, i * side : (i + 1) * side, j * side : (j + 1) * side].flatten(1).T.tolist()
                each = [slow_lab(colour) for colour in part]
                lightness, *ab = (math.fsum(one[channel] for one in each) / len(each) for channel in range(3))
                of_lightness, of_colours = features[image, : channels // 2, i, j], features[image, channels // 2 :, i, j]
                colours = slow_head(method.colour_head, of_lightness)
                light = slow_head(method.lightness_head, of_colours)
                if method.config.split_loss == "classes":
                    target = min(range(len(classes)), key=lambda q: math.dist(classes[q], ab))
                    total -= float(torch.log_softmax(colours, 0)[target] + torch.log_softmax(light, 0)[math.floor(lightness)])
                else:
                    truth = [(lightness - 50) / 25, ab[0] / 20, ab[1] / 20]
                    total += sum((a - b) ** 2 for a, b in zip([*light.tolist(), *colours.tolist()], truth, strict=True)) / 2
    return total / (count * height * width)


def test_colours_are_those_of_the_standards() -> None:
    colours = torch.cat(
        [
            pixels(1, 8, 0).flatten(2)[0].T,
            torch.eye(3),
            torch.ones(1, 3),
            torch.zeros(1, 3),
            torch.linspace(0, 0.11, 9)[:, None].repeat(1, 3),
        ]
    )
    found = lab(colours[:, :, None, None])[:, :, 0, 0]
    expected = torch.tensor([slow_lab(colour) for colour in colours.tolist()])
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    red, green, blue, white, black = found[64:69].tolist()
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.03)
    assert green == pytest.approx([87.73, -86.18, 83.18], abs=0.03)
    assert blue == pytest.approx([32.30, 79.19, -107.86], abs=0.03)
    assert white == pytest.approx([100, 0, 0], abs=1e-3)
    assert black == pytest.approx([0, 0, 0], abs=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lab(colours[:, :, None, None])[:, :, 0, 0], found)


def test_colours_have_finite_gradients_everywhere() -> None:
    colours = (
        torch.tensor([-1e-7, 0.0, 1e-7, 0.04045, 0.0943, 0.5, 1.0, 1.0001]).view(-1, 1, 1, 1).repeat(1, 3, 1, 1).requires_grad_()
    )
    lab(colours).square().sum().backward()  # type: ignore[no-untyped-call]
    assert colours.grad is not None
    assert torch.isfinite(lab(colours)).all() and torch.isfinite(colours.grad).all()


def test_the_classes_are_the_published_ones_that_a_colour_is_near() -> None:
    published = {(a, b) for a, (least, most) in PUBLISHED.items() for b in range(least, most + 1, 10)}
    assert len(published) == 313
    ours = {(int(a), int(b)) for a, b in colour_classes().tolist()}
    assert published - ours == {(40, 90), (100, -90), (100, -10), (100, 0)}
    assert ours <= published
    colours = lab(pixels(1, 64, 0).double())[0, 1:].flatten(1).T
    corners = {
        (10 * math.floor(a / 10) + i, 10 * math.floor(b / 10) + j) for a, b in colours.tolist() for i in (0, 10) for j in (0, 10)
    }
    assert corners <= ours


@pytest.mark.parametrize(("backbone", "side"), [("resnet10", 16), ("resnet50", 16), ("resnet18", 65)])
def test_each_half_sees_its_channels_alone(backbone: str, side: int) -> None:
    encoder = Halves(backbone, 16, side).eval()
    whole = ResNet(backbone, 16, side)
    seen = normalised(lab(pixels(2, side, 0)))
    features = encoder.features(seen)
    half = features.shape[1] // 2
    assert features.shape == whole.features(seen).shape
    other_colours, other_lightness = seen.clone(), seen.clone()
    other_colours[:, 1:] += torch.randn_like(seen[:, 1:])
    other_lightness[:, :1] += torch.randn_like(seen[:, :1])
    assert torch.equal(encoder.features(other_colours)[:, :half], features[:, :half])
    assert not torch.allclose(encoder.features(other_colours)[:, half:], features[:, half:])
    assert torch.equal(encoder.features(other_lightness)[:, half:], features[:, half:])
    assert not torch.allclose(encoder.features(other_lightness)[:, :half], features[:, :half])
    names = [name for name, _ in whole.named_parameters()]
    assert [name for name, _ in encoder.named_parameters()] == names
    for name in names:
        if ".conv2" in name or ".downsample.0" in name:
            assert encoder.get_parameter(name).numel() == whole.get_parameter(name).numel() // 2


def test_where_it_looks_can_be_shown() -> None:
    encoder = build_encoder(TrainConfig.make({**SMALL, "backbone": "resnet18"})).eval()
    maps, cosines = similarity_maps(encoder, pixels(2, 32, 0), F.normalize(torch.randn(2, 16), dim=1))
    assert maps.shape == (2, 8, 8)
    assert torch.isfinite(maps).all() and maps.amax() == 1 and maps.amin() >= 0
    assert cosines.abs().max() <= 1


@torch.no_grad()
@pytest.mark.parametrize("split_loss", ["classes", "regression"])
@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_that_of_the_paper(split_loss: str, training: bool) -> None:
    method, images = start(split_loss=split_loss).train(training), pixels(3, 32, 1)
    batch = Batch(torch.arange(3), None, 0, 0, 0, 0.0)
    found = method.loss(method(images), batch)
    assert float(found) == pytest.approx(slow_loss(method, images), rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert method(images).dtype == torch.float32


@pytest.mark.parametrize("split_loss", ["classes", "regression"])
def test_it_learns_which_colours_go_with_which_lightness(split_loss: str) -> None:
    """Bright images are yellow and dark ones blue, as many of either: without a look at the images there is only guessing."""
    method = start(split_loss=split_loss, image_size=16, weight_decay=0.0)
    kinds = torch.tensor([[0.9, 0.9, 0.1], [0.1, 0.1, 0.5]]).repeat(8, 1)
    images = kinds[:, :, None, None] * (1 - 0.1 * pixels(16, 16, 0))
    batch = Batch(torch.arange(16), None, 0, 0, 0, 0.0)
    for group in method.optimisers[0].param_groups:
        group["lr"] = 0.03
    losses = [float(method.step(method, images, batch)) for _ in range(30)]
    truth = normalised(lab(images)).mean(dim=(2, 3))
    guessing = 2 * math.log(2) if split_loss == "classes" else float((truth - truth.mean(dim=0)).square().sum(dim=1).mean() / 2)
    assert losses[-1] < 0.3 * guessing < losses[0]


def test_the_last_block_alone_learns_in_both_halves() -> None:
    method = start(trained_blocks=1)
    before = {name: value.clone() for name, value in method.named_parameters()}
    for group in method.optimisers[0].param_groups:
        group["lr"] = 0.1
    method.step(method, pixels(4, 32, 0), Batch(torch.arange(4), None, 0, 0, 0, 0.0))
    changed = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    block = {name for name in before if name.startswith("encoder.layer4.")}
    assert changed == block | {f"{head}_head.{part}" for head in ("colour", "lightness") for part in ("weight", "bias")}
    weight = "encoder.layer4.0.conv1.weight"
    difference = (method.get_parameter(weight) - before[weight]).flatten(1).norm(dim=1)
    assert (difference > 0).all()


def test_no_colour_is_changed_at_random() -> None:
    config = TrainConfig.make(SMALL)
    assert config.greyscale == 0 and config.colour_jitter == (0, 0, 0, 0)


@pytest.mark.parametrize(("coloured", "refused"), [(0, True), (1, True), (4, False)])
def test_grey_images_are_refused(coloured: int, refused: bool, tmp_path: Path) -> None:
    files = {f"{seed}.png": image_bytes(seed, mode="RGB" if seed < coloured else "L") for seed in range(40)}
    images = open_source(write_zip(tmp_path / "images.zip", files))
    config = TrainConfig.make({**SMALL, "image_size": 16})
    if not refused:
        train(config, images, tmp_path / "run")
        return
    with pytest.raises(ConfigError, match=rf"method: splitbrain learns from colours, and {40 - coloured} of 40 images are grey"):
        train(config, images, tmp_path / "run", should_stop=lambda: pytest.fail("it has begun"))


def test_efficientnet_is_refused() -> None:
    message = "backbone: splitbrain .* not of efficientnet_lite0; set one of resnet10, resnet18, resnet34, resnet50"
    with pytest.raises(ConfigError, match=message):
        TrainConfig.make({"method": "splitbrain", "backbone": "efficientnet_lite0"})
    assert conflict({"method": "splitbrain"}) is None


def everything(ranks: Ranks) -> dict[str, Tensor]:
    method = start(ranks).eval()  # batch norm in evaluation mode: no statistics of a part of the batch
    forward, images = ranks.parallel(method), pixels(7, 32, 2)
    loss = method.loss(forward(ranks.part(images)), Batch(torch.arange(7), None, 0, 0, 0, 0.0))
    (loss * ranks.size).backward()  # type: ignore[no-untyped-call]
    weights = [parameter.grad.flatten() for parameter in method.parameters() if parameter.grad is not None]
    return {"loss": loss.detach(), "weights": torch.cat(weights)}


@pytest.mark.slow  # two processes that load torch
def test_ranks_agree_with_one_process(tmp_path: Path) -> None:
    expected = everything(Ranks())
    for found in on_ranks(2, everything, tmp_path):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)
