"""A method's loss and gradients on several processes against those on one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.machine.test_ranks import on_ranks
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.machine.ranks import Ranks
from trainer.methods import registry
from trainer.methods.method import Batch
from trainer.neighbourhoods import MemoryBank

pytestmark = pytest.mark.slow
COUNT, BATCH = 30, 10  # not divisible by 3
ROWS = torch.tensor([3, 0, 29, 11, 12, 7, 23, 24, 16, 17])


def gradients(ranks: Ranks, method: str) -> dict[str, Tensor]:
    """Loss of one batch and gradients by all weights, put together as the loop does. Batch norm is in evaluation mode: no
    statistics of a part of the batch."""
    torch.manual_seed(0)
    params = {"method": method, "backbone": "resnet10", "image_size": 16, "dim": 8, "device": "cpu", "precision": "float32"}
    config = TrainConfig.make(params)
    bank = MemoryBank.random(COUNT, 8, 0.5, 0, torch.device("cpu"), ranks)
    encoder = build_encoder(config)
    built = registry.make(config, encoder, bank, torch.arange(COUNT) % 3).eval()
    views = 2 if method in ("simclr", "superand") else 1
    images = [torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(view)) for view in range(views)]
    outputs = built(torch.cat([ranks.part(view) for view in images]))
    loss = built.loss(outputs, Batch(ROWS, None, 0, 0, 0, 0.9))
    loss.backward()
    weights = torch.cat([value.grad.flatten() for value in built.parameters() if value.grad is not None])
    return {"loss": loss.detach(), "weights": ranks.sum(weights)}


@pytest.mark.parametrize("method", ["and", "superand", "simclr", "supervised"])
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_agree_with_one_process(size: int, method: str, tmp_path: Path) -> None:
    work: Callable[[Ranks], dict[str, Tensor]] = partial(gradients, method=method)
    expected = work(Ranks())
    for found in on_ranks(size, work, tmp_path):
        torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["weights"], expected["weights"], rtol=1e-4, atol=1e-5)
