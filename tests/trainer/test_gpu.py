"""The trainer on an NVIDIA GPU: what the processor finds, and exact resume. ``make bench-gpu`` runs these."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.ground.folders import ModelFile
from tests.trainer.runs import SMALL
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.export import export
from trainer.loss import neighbourhood_loss
from trainer.neighbourhoods import MemoryBank, discover
from trainer.train import Stopped, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]
ON_GPU = {**SMALL, "device": "cuda"}


def unit(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 32, generator=torch.Generator().manual_seed(seed)), dim=1)


def loss_and_gradient(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    bank, z = MemoryBank(unit(5_000, 0).to(device)), unit(16, 1).to(device).requires_grad_()
    neighbours = torch.arange(32).view(16, 2).to(device) + 100
    loss = neighbourhood_loss(z, torch.arange(16, device=device), bank, neighbours, 0.1)
    loss.backward()
    assert z.grad is not None
    return loss.detach().cpu(), z.grad.cpu()


def test_loss_and_gradient_are_the_processors() -> None:
    for on_gpu, on_cpu in zip(loss_and_gradient("cuda"), loss_and_gradient("cpu"), strict=True):
        assert torch.allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-5)


def test_discovery_finds_the_processors_neighbours() -> None:
    on_gpu, on_cpu = (discover(MemoryBank(unit(5_000, 0).to(device)), 3, 0.1) for device in ("cuda", "cpu"))
    assert torch.allclose(on_gpu.entropy.cpu(), on_cpu.entropy, rtol=1e-3)
    assert float((on_gpu.nearest.cpu() == on_cpu.nearest).float().mean()) > 0.999


def test_a_run_stopped_resumes_exactly_and_is_exported(pictures: Path, tmp_path: Path) -> None:
    listed, config, calls = open_source(pictures), TrainConfig.make(ON_GPU), iter(range(1000))
    _, whole = train(config, listed, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(config, listed, tmp_path / "1", should_stop=lambda: next(calls) >= 6)
    resolved, resumed = train(config, listed, tmp_path / "2", resume_from=[tmp_path / "1"])
    assert torch.equal(resumed.bank.rows, whole.bank.rows)
    export(resolved, resumed, listed, tmp_path / "model")  # compares ONNX Runtime's embeddings with the GPU's
    assert np.load(tmp_path / "model" / ModelFile.EMBEDDINGS).shape == (len(listed.images), SMALL["dim"])
