"""Several gloo ranks on the CPU against one process: loss, gradients, memory bank, discovery, and whole runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, multiprocessing

from core.ground.folders import checkpoints_in
from tests.conftest import picture_zip
from trainer import checkpoints
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.loss import neighbourhood_loss
from trainer.machine.ranks import Ranks
from trainer.neighbourhoods import MemoryBank, discover

pytestmark = pytest.mark.slow
COUNT, DIM, BATCH, TAU = 50, 16, 10, 0.1  # 50 and 10 are not divisible by 3
ROWS = torch.tensor([3, 0, 49, 11, 12, 7, 33, 34, 16, 17])
NEIGHBOURS = torch.tensor([[4, 40], [-1, -1], [1, 2], [0, 49], [-1, -1], [8, 6], [3, 33], [-1, -1], [17, 15], [16, 1]])


def unit(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def everything(ranks: Ranks) -> dict[str, Tensor]:
    """What each rank finds, put together to what one process would."""
    bank = MemoryBank(ranks.part(unit(COUNT, 1)).clone(), 0.5, ranks, COUNT)
    z = ranks.part(unit(BATCH, 2)).clone().requires_grad_()
    loss = neighbourhood_loss(z, ROWS, bank, NEIGHBOURS, TAU, block=7)
    loss.backward()
    assert z.grad is not None
    found = discover(bank, 3, TAU, (8, 9))
    bank.update(ROWS, z)
    result = {"loss": loss.detach(), "gradient": ranks.gather(z.grad, BATCH), "bank": bank.whole()}
    z.grad = None
    mean = neighbourhood_loss(z, ROWS, bank, NEIGHBOURS, TAU, mean=True, block=7)
    mean.backward()
    result |= {"mean": mean.detach(), "gradient of the mean": ranks.gather(z.grad, BATCH)}
    result |= {"entropy": found.entropy, "nearest": found.nearest}

    config = TrainConfig.make({"backbone": "resnet10", "image_size": 16, "dim": DIM, "device": "cpu"})
    encoder = build_encoder(config).eval()  # batch norm in evaluation mode: no statistics of a part of the batch
    forward = torch.nn.parallel.DistributedDataParallel(encoder) if ranks.size > 1 else encoder
    images = torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    loss = neighbourhood_loss(forward(ranks.part(images)), ROWS, bank, NEIGHBOURS, TAU)
    (loss * ranks.size).backward()
    weights = [parameter.grad.flatten() for parameter in encoder.parameters() if parameter.grad is not None]
    return {**result, "weights": torch.cat(weights)}


def _rank(rank: int, size: int, work: Callable[[Ranks], dict[str, Tensor]], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(work(Ranks.current()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def on_ranks(size: int, work: Callable[[Ranks], dict[str, Tensor]], folder: Path) -> list[dict[str, Tensor]]:
    multiprocessing.start_processes(_rank, (size, work, str(folder)), size, start_method="spawn")  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_agree_with_one_process(size: int, tmp_path: Path) -> None:
    expected = everything(Ranks())
    for found in on_ranks(size, everything, tmp_path):
        assert torch.equal(found["nearest"], expected["nearest"])
        for name in ("loss", "gradient", "mean", "gradient of the mean", "bank", "entropy", "weights"):
            assert torch.allclose(found[name], expected[name], atol=1e-5), name


def refuse(ranks: Ranks) -> dict[str, Tensor]:
    def fail() -> None:
        raise ValueError("the first rank's reason")

    try:
        ranks.once(fail)
    except ValueError as error:
        return {str(error): torch.ones(1)}
    return {}


def test_what_the_first_rank_raises_every_rank_raises(tmp_path: Path) -> None:
    assert [list(found) for found in on_ranks(2, refuse, tmp_path)] == [["the first rank's reason"]] * 2


def torchrun(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={size}",
        "-m",
        "trainer",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)


def short(out: Path, rounds: int) -> list[str]:
    return [
        "--out",
        str(out),
        "--rounds",
        str(rounds),
        "--epochs-first",
        "2",
        "--epochs",
        "1",
        "--dim",
        "16",
        "--batch-size",
        "16",
    ]


def losses(out: Path) -> list[float]:
    events: list[dict[str, Any]] = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "finished"
    return [event["loss"] for event in events if event["type"] == "epoch"]


@pytest.mark.parametrize("method", ["and", "simclr", "deepcluster"])
def test_a_whole_run_under_torchrun_and_its_continuation_on_one_process(method: str, tmp_path: Path) -> None:
    pictures = picture_zip(tmp_path / "pictures.zip", 50)
    out = tmp_path / "run"
    done = torchrun(2, "run", str(pictures), *short(out, 2), "--method", method)
    assert done.returncode == 0, done.stderr
    assert "shared by the ranks: in a memory-mapped file" in done.stderr
    assert done.stderr.count("decoded") == 1  # one rank reports
    assert len(losses(out)) == 3
    assert (out / "model/encoder.onnx").exists()
    state = checkpoints.load(checkpoints_in(out / "checkpoints")[-1][1])
    assert state["bank"].shape == (50, 16)
    assert torch.allclose(state["bank"].norm(dim=1), torch.ones(50), atol=1e-5)
    if method != "and":  # the bank is what the encoder that is kept gives, whoever encoded it
        np.testing.assert_allclose(state["bank"].numpy(), np.load(out / "model/embeddings.npy"), atol=1e-4)
        return
    alone = [sys.executable, "-m", "trainer", "run", str(pictures), "--out", str(out), "--add-rounds", "1"]
    more = subprocess.run(alone, capture_output=True, text=True, timeout=300)
    assert more.returncode == 0, more.stderr
    assert len(losses(out)) == 4


def test_ranks_adapt_pretrained_weights_as_one_process_does(tmp_path: Path) -> None:
    pictures = picture_zip(tmp_path / "pictures.zip", 50)
    params = {
        "init": "imagenet",
        "image_size": 32,
        "neighbours": 3,
        "trained_blocks": 2,
        "epochs": 2,
        "dim": 16,
        "batch_size": 16,
        "precision": "float32",  # in bfloat16 sums of two halves are too far from one sum to compare
    }
    given = [part for name, value in params.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert torchrun(2, "run", str(pictures), "--out", str(tmp_path / "two"), *given).returncode == 0
    alone = [sys.executable, "-m", "trainer", "run", str(pictures), "--out", str(tmp_path / "one"), "--threads", "1", *given]
    assert subprocess.run(alone, capture_output=True, timeout=300).returncode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    ends = [checkpoints.round_ends(tmp_path / name / "checkpoints") for name in ("one", "two")]
    for (_, one), (_, two) in zip(*ends, strict=True):
        assert torch.allclose(checkpoints.load(one)["bank"], checkpoints.load(two)["bank"], atol=1e-3)


def test_bad_input_under_torchrun_is_said_by_the_first_rank(tmp_path: Path) -> None:
    done = torchrun(2, "run", str(tmp_path / "no.zip"), *short(tmp_path / "run", 1))
    assert done.returncode != 0
    assert "no such file" in done.stderr
