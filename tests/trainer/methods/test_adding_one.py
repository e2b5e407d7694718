"""A further method is one file and one entry, as docs/methods.md says."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from core.ground.methods import METHODS, MethodFacts
from core.ground.parameters import PARAMETERS
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.methods.method import Batch, Method
from trainer.train import train


class Spread(Method):
    """Pushes the embeddings of a batch apart, and nothing else."""

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        z = self.bank.ranks.attached(outputs, len(batch.rows))
        return torch.pdist(z).square().mul(-2).exp().mean().log()


def test_it_trains_by_its_name(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModuleType("trainer.methods.spread")
    file.METHOD = Spread  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trainer.methods.spread", file)
    monkeypatch.setitem(METHODS, "spread", MethodFacts("Spread", "pushes embeddings apart"))
    monkeypatch.setitem(PARAMETERS, "method", replace(PARAMETERS["method"], choices=tuple(METHODS)))  # made when it was imported
    params = {"preset": "quick", "epochs_first": 3, "batch_size": 20, "dim": 8, "image_size": 16, "device": "cpu"}
    config = TrainConfig.make({**params, "method": "spread"})
    _, run = train(config, open_source(pictures), tmp_path)
    losses = [event["loss"] for event in run.history if event["type"] == "epoch"]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert run.history[-1]["type"] in ("round", "warning") and run.nearest is not None
