"""BiGAN against slow references: its loss, and a step of D and then of E and G; its pictures, and that D and G learn."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.ground.folders import ModelFile
from tests.conftest import picture_zip
from trainer.backbones.generator import Discriminator, Generator
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.export import export, write_grid
from trainer.machine.ranks import Ranks
from trainer.methods.bigan import BiGAN
from trainer.methods.method import Batch
from trainer.run import Run, set_rate
from trainer.train import train

SMALL = {"preset": "quick", "method": "bigan", "image_size": 8, "crop_size": 8, "epochs_first": 1, "batch_size": 16, "dim": 6}
RATE = 2e-4


def method_of(precision: str = "float32") -> BiGAN:
    config = replace(TrainConfig.make({**SMALL, "precision": precision, "device": "cpu"}), neighbours=1)
    method = Run.start(config, "", 64, torch.device("cpu"), Ranks()).method
    assert isinstance(method, BiGAN)
    set_rate(method.optimisers, config, 0, 0, 1, 0.0)
    return method


def batch_at(step: int, size: int = 16) -> Batch:
    return Batch(torch.arange(size), None, 0, 0, step, 0.0)


def discs(count: int, seed: int) -> Tensor:
    """White discs of 8 x 8 pixels on black, (count, 3, 8, 8): each at a place of its own."""
    centre = 2 + 3 * torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    inside = (x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2 < 5
    return inside.float().unsqueeze(1).expand(count, 3, 8, 8).contiguous()


def swapped_cross_entropy(encoded: Tensor, generated: Tensor) -> float:
    total = 0.0
    for real, made in zip(encoded.tolist(), generated.tolist(), strict=True):
        total -= math.log(1 - 1 / (1 + math.exp(-real))) + math.log(1 / (1 + math.exp(-made)))
    return total / len(encoded)


def test_loss_is_the_cross_entropy_with_swapped_labels() -> None:
    encoded, generated = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)) * 3
    loss = method_of().loss((encoded, generated), batch_at(0))
    assert float(loss) == pytest.approx(swapped_cross_entropy(encoded, generated), rel=1e-5)


def adam(parameters: list[torch.nn.Parameter], decay: float) -> None:
    """The first step of Adam: the moments, corrected for their start at zero, are the gradient and its square."""
    for value in parameters:
        assert value.grad is not None
        gradient = value.grad + decay * value.detach()
        value.data -= RATE * gradient / (gradient.abs() + 1e-8)


def test_a_step_is_one_of_d_and_then_one_of_e_and_g_against_it() -> None:
    method, images = method_of(), discs(16, 0)
    slow = copy.deepcopy(method)
    told = method.step(method, images, batch_at(3))

    z = 2 * torch.rand(16, 6, generator=slow.rng("noise", 0, 0, 3)) - 1
    slow.train()
    d_of, g_of = slow.discriminator, slow.generator
    codes, pictures = slow.encoder.head(slow.encoder.pooled(images)), g_of(z)
    right = torch.sigmoid(d_of(images, codes.detach())), torch.sigmoid(d_of(pictures.detach(), z))
    (-torch.log(right[0]) - torch.log(1 - right[1])).mean().backward()  # type: ignore[no-untyped-call]
    adam(list(d_of.parameters()), slow.config.weight_decay)
    wrong = torch.sigmoid(d_of(images, codes)), torch.sigmoid(d_of(pictures, z))
    loss = (-torch.log(1 - wrong[0]) - torch.log(wrong[1])).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    adam([*slow.encoder.parameters(), *g_of.parameters()], slow.config.weight_decay)

    assert float(told) == pytest.approx(loss.item(), rel=1e-5)
    expected = dict(slow.named_parameters())
    for name, value in method.named_parameters():
        # Adam takes a whole step in the direction of a gradient of next to nothing, too, which rounding may turn around.
        off = (value - expected[name]).abs() > 0.1 * RATE
        assert off.float().mean() < 0.02, name


def test_each_optimiser_has_its_own() -> None:
    method = method_of()
    of_both, of_discriminator = ({id(p) for g in each.param_groups for p in g["params"]} for each in method.optimisers)
    assert of_discriminator == {id(p) for p in method.discriminator.parameters()}
    assert of_both == {id(p) for p in method.parameters()} - of_discriminator


@pytest.mark.parametrize("side", [*range(8, 34), 47, 96, 224])
def test_pictures_have_any_side(side: int) -> None:
    generator, discriminator = Generator(6, side), Discriminator(6, side)
    z = torch.rand(2, 6)
    pictures = generator(z)
    assert pictures.shape == (2, 3, side, side)
    assert 0 <= pictures.min().item() < pictures.max().item() <= 1
    logits = discriminator(pictures, z)
    assert logits.shape == (2,)
    logits.sum().backward()
    for module in (generator, discriminator):
        assert all(value.grad is not None for value in module.parameters())


def test_logits_are_in_full_precision() -> None:
    method = method_of("bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        assert method.discriminator(discs(4, 0), torch.zeros(4, 6)).dtype == torch.float32
    assert method.step(method, discs(16, 0), batch_at(0)).dtype == torch.float32


def test_z_is_uniform_and_a_function_of_the_place() -> None:
    method = method_of()
    z = method.noise(5000, "noise", 0, 1, 2)
    assert -1 <= float(z.min()) < -0.99 and 0.99 < float(z.max()) <= 1
    assert float(z.mean()) == pytest.approx(0, abs=0.01) and float(z.std()) == pytest.approx(1 / math.sqrt(3), abs=0.01)
    assert torch.equal(z, method.noise(5000, "noise", 0, 1, 2))
    assert not torch.equal(z, method.noise(5000, "noise", 0, 1, 3))


def test_d_and_g_learn_from_each_other() -> None:
    """D tells images from the first pictures, which it did not while each batch was normalised on its own in its last layer, too;
    and the pictures become darker in the corners, as the images are."""
    method = method_of()
    before = corners(method)
    for step in range(80):
        method.step(method, discs(32, step), batch_at(step, 32))
    images, z = discs(32, 1000), method.noise(32, "other")
    method.train()
    with torch.no_grad():
        encoded, generated = method.discriminator(images, method(images)), method.discriminator(method.generator(z), z)
    assert encoded.mean() > 1 > -1 > generated.mean()
    assert corners(method) < before - 0.02


def corners(method: BiGAN) -> float:
    """Their mean brightness, 0 to 1."""
    return float(method.samples(64)[:, [0, 0, 7, 7], [0, 7, 0, 7]].float().mean() / 255)


def test_samples_are_the_same_each_time() -> None:
    method = method_of()
    method.step(method, discs(16, 0), batch_at(0))
    before = copy.deepcopy(method.state_dict())
    pictures = method.samples(9)
    assert pictures.shape == (9, 8, 8, 3) and pictures.dtype == torch.uint8
    assert len({picture.numpy().tobytes() for picture in pictures}) == 9
    assert torch.equal(pictures, method.samples(9))
    assert torch.equal(pictures[:4], method.samples(4))  # each is made on its own, not normalised with the others
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_grid_has_the_pictures_row_by_row(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (9, 5, 5, 3), dtype=torch.uint8)
    write_grid(pictures, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        grid = np.asarray(image)
    assert grid.shape == (15, 15, 3)
    for number, picture in enumerate(pictures.numpy()):
        row, column = divmod(number, 3)
        assert np.array_equal(grid[5 * row : 5 * row + 5, 5 * column : 5 * column + 5], picture)


@pytest.mark.slow  # an ONNX export
def test_an_export_has_samples(tmp_path: Path) -> None:
    images = open_source(picture_zip(tmp_path / "pictures.zip", 40))
    config, run = train(TrainConfig.make({**SMALL, "device": "cpu"}), images, tmp_path / "run")
    export(config, run, images, tmp_path / "model")
    with Image.open(tmp_path / "model" / ModelFile.SAMPLES) as image:
        assert image.size == (64, 64)
