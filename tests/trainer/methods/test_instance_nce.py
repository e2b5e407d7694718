"""Noise-contrastive estimation against plain loops."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.trainer.methods.test_superand import unit
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.methods.instance_nce import InstanceNCE, nce, products
from trainer.methods.method import Batch
from trainer.neighbourhoods import MemoryBank


def slow_nce(own: Tensor, other: Tensor, count: int, z: float) -> float:
    samples = other.shape[1]
    total = 0.0
    for i in range(len(own)):
        p = math.exp(float(own[i])) / z
        total -= math.log(p / (p + samples / count))
        for j in range(samples):
            p = math.exp(float(other[i, j])) / z
            total -= math.log(1 - p / (p + samples / count))
    return total / len(own)


def test_the_loss_is_that_of_the_paper() -> None:
    own, other = 3 * unit(5, 1)[:, 0], 3 * unit(5, 2)[:, :6]
    found = nce(own, other, 40, torch.tensor(17.0, dtype=torch.float64))
    assert float(found) == pytest.approx(slow_nce(own, other, 40, 17.0), rel=1e-7)


def test_products_of_samples_are_the_same_in_both_ways() -> None:
    z, bank = unit(5, 1), unit(100, 2)
    for samples in (4, 50):  # fetched, and out of all products
        noise = torch.randint(100, (5, samples), generator=torch.Generator().manual_seed(0))
        expected = torch.stack([bank[rows] @ own for own, rows in zip(z, noise, strict=True)])
        torch.testing.assert_close(products(z, bank, noise), expected)


@pytest.fixture
def method() -> InstanceNCE:
    config = TrainConfig.make(
        {"method": "instance_nce", "backbone": "resnet10", "image_size": 16, "dim": 8, "noise_samples": 300}
    )
    return InstanceNCE(config, build_encoder(config), MemoryBank(unit(40, 1, torch.float32)))


def test_the_normaliser_is_estimated_once(method: InstanceNCE) -> None:
    rows, z = torch.arange(10), unit(10, 2, torch.float32)
    method.loss(z, Batch(rows, None, 0, 0, 0, 0.0))
    first = float(method.get_buffer("normaliser"))
    exact = float((z @ method.bank.rows.T / method.config.temperature).exp().mean()) * 40
    assert first == pytest.approx(exact, rel=0.2), "3,000 samples stand for all 40 images"
    method.loss(unit(10, 3, torch.float32), Batch(rows, None, 0, 0, 1, 0.1))
    assert float(method.get_buffer("normaliser")) == first


def test_an_embedding_is_held_to_its_last_one(method: InstanceNCE) -> None:
    rows = torch.arange(10)
    z = unit(10, 2, torch.float32)
    batch = Batch(rows, None, 0, 0, 0, 0.0)
    held = float(method.loss(z, batch))
    tight = InstanceNCE(replace(method.config, proximal_weight=30.0), method.encoder, method.bank)
    distances = (z - method.bank.rows[rows]).square().sum(dim=1).mean()
    assert float(tight.loss(z, batch)) - held == pytest.approx(29 * float(distances), rel=1e-4)


def test_noise_is_another_in_every_step(method: InstanceNCE) -> None:
    rows, z = torch.arange(10), unit(10, 2, torch.float32)
    method.loss(z, Batch(rows, None, 0, 0, 0, 0.0))
    first, again, other = (float(method.loss(z, Batch(rows, None, 0, 0, step, 0.0))) for step in (1, 1, 2))
    assert first == again != other
