"""The parts of ``benchmarks.gpu``; each returns its figures, or raises ``NotRun``."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks import shared_data
from benchmarks.trainer.__main__ import discovery_ratio, step_ratio
from benchmarks.trainer.steps import DEVICE, DIM, TAU, Training, in_turns, random_images, seconds, unit
from core.ground.folders import RunFolder
from trainer.loss import neighbourhood_loss
from trainer.neighbourhoods import MemoryBank, discover

ROOT = Path(__file__).parents[2]
CIFAR10, CIFAR10_TEST = shared_data.FOLDER / "cifar10-train.zip", shared_data.FOLDER / "cifar10-test.zip"
_JUDGED = 60.0  # s, kept for judging what was trained
_SMALL = ["--rounds", "2", "--epochs-first", "1", "--epochs", "1", "--dim", "16", "--batch-size", "16"]


class NotRun(Exception):
    """Why a part cannot be run here."""


@dataclass(frozen=True)
class Size:
    """``count`` images are trained on, ``searched`` vectors searched; ``largest`` is ImageNet's number of images."""

    count: int
    searched: int
    largest: int
    batch: int
    turns: int
    backbone: str


def machine() -> dict[str, Any]:
    """What it runs on."""
    on_gpu = DEVICE.type == "cuda"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if on_gpu else None
    device = torch.cuda.get_device_name(0) if on_gpu else f"no GPU: {platform.machine()}, {os.cpu_count()} processors"
    return {"device": device, "memory_gib": memory, "torch": torch.__version__, "cuda": torch.version.cuda}


def tests(left: float) -> dict[str, Any]:
    """The tests marked ``gpu``; without one they are skipped."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/trainer/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(1.0, left))
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    if not counts.get("passed") and not counts.get("failed"):
        raise NotRun(f"no test of {counts.get('skipped', 0)} found a GPU" if done.returncode in (0, 5) else done.stdout[-300:])
    return counts


def steps(size: Size) -> dict[str, Any]:
    """The trainer's whole step over the bare backbone's forward and backward."""
    ratio, words = step_ratio(size.backbone, size.count, size.batch, size.turns)
    return {"step_ratio": round(ratio, 3), "words": words}


def compiled(size: Size) -> dict[str, Any]:
    """The backbone's forward and backward as it is, over the same by ``torch.compile``."""
    if DEVICE.type != "cuda":
        raise NotRun("compiling for a processor takes a minute and says nothing of a GPU")
    training = Training.of(random_images(size.count), size.backbone, 32, size.batch)
    eager = training.run.encoder
    compiled_encoder = torch.compile(eager)

    def with_(encoder: Any) -> None:
        training.run.encoder = encoder
        training.bare()

    plain, fast, ratio = in_turns(lambda: with_(eager), lambda: with_(compiled_encoder), size.turns, warm_up=5)
    return {"speedup": round(ratio, 3), "words": f"{size.batch / fast:.0f} against {size.batch / plain:.0f} images/s"}


def memory(size: Size) -> dict[str, Any]:
    """Peak memory of the device above the bank's, for the loss and its gradient over ImageNet's number of images."""
    bank, rows = MemoryBank(unit(size.largest)), torch.arange(size.batch, device=DEVICE)
    if DEVICE.type != "cuda":
        raise NotRun("only a GPU counts its memory; `make bench-trainer` has the processor's")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    z = unit(size.batch, 1).requires_grad_()
    spent = seconds(lambda: neighbourhood_loss(z, rows, bank, None, TAU).backward())
    above = (torch.cuda.max_memory_allocated() - before) / 2**30
    return {"bank_gib": round(before / 2**30, 3), "loss_gib": round(above, 3), "loss_seconds": round(spent, 4)}


def discovery(size: Size) -> dict[str, Any]:
    """Entropy and nearest others of every image, beside the bare product; its seconds for all of ImageNet."""
    ratio, words = discovery_ratio(size.searched, 3)
    bank = MemoryBank(unit(size.largest))
    found = {"ratio": round(ratio, 3), "words": words}
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        found["largest_seconds"] = round(seconds(lambda: discover(bank, 1, TAU)), 1)
        found["largest_peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def faiss_search(size: Size) -> dict[str, Any]:
    """Exact search by faiss-gpu, beside faiss on the processor."""
    if not hasattr(faiss, "StandardGpuResources"):
        raise NotRun("faiss-cpu is installed; faiss-gpu is the extra `gpu`")
    vectors = unit(size.searched).cpu().numpy()
    asked = vectors[:1000]
    on_cpu = faiss.IndexFlatIP(DIM)
    on_cpu.add(vectors)
    on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, on_cpu)
    slow, fast, ratio = in_turns(lambda: on_cpu.search(asked, 10), lambda: on_gpu.search(asked, 10), 3)
    same = float(np.mean(on_cpu.search(asked, 10)[1] == on_gpu.search(asked, 10)[1]))
    words = f"{len(asked) / fast:,.0f} against {len(asked) / slow:,.0f} queries/s"
    return {"speedup": round(ratio, 2), "same_neighbours": same, "words": words}


def ranks(size: Size) -> dict[str, Any]:
    """A whole run by ``torchrun`` with one process: its collectives on the device."""
    with TemporaryDirectory() as work:
        images = shared_data.some_digits(Path(work))
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m"]
        begun = time.monotonic()
        _run([*launch, "trainer", "run", str(images), "--out", str(Path(work) / "run"), *_SMALL])
        return {"run_seconds": round(time.monotonic() - begun, 1)}


def cifar10(data: Path, held_out: Path, size: Size, left: float) -> dict[str, Any]:
    """As many epochs of AND as the time allows, in four rounds; judged by kNN on the test images."""
    if DEVICE.type != "cuda":
        raise NotRun("on a processor an epoch takes as long as all of this")
    if missing := [path for path in (data, held_out) if not path.exists()]:
        raise NotRun(f"{missing[0]} is missing; --data and --held-out name it")
    training = Training.of(random_images(size.count), size.backbone, 32, size.batch)

    def many(count: int) -> None:
        for _ in range(count):
            training.step()

    many(20)
    step = seconds(lambda: many(100)) / 100
    epoch = step * 50_000 / size.batch
    epochs = int((left - _JUDGED) * 0.8 / epoch)
    if epochs < 8:
        raise NotRun(f"{left:.0f} s are left, and an epoch takes {epoch:.0f} s")
    with TemporaryDirectory() as work:
        out = Path(work) / "run"
        schedule = ["--rounds", "4", "--epochs-first", str(epochs // 2), "--epochs", str(epochs // 6)]
        preset = ["--preset", "paper", "--backbone", size.backbone, "--batch-size", str(size.batch), *schedule]
        _run(["-m", "trainer", "run", str(data), "--out", str(out), *preset])
        _run(
            [
                "-m",
                "trainer",
                "evaluate",
                str(out),
                "--data",
                str(data),
                "--held-out",
                str(held_out),
                "--k",
                "200",
                "--out",
                f"{out}.json",
            ]
        )
        told = [json.loads(line) for line in RunFolder(out).events.read_text().splitlines()]
        judged = json.loads(Path(f"{out}.json").read_text())
    speeds = [event["images_per_second"] for event in told if event["type"] == "epoch"]
    return {
        "epochs": len(speeds),
        "images_per_second": round(float(np.median(speeds))),
        "precision": next(event["config"]["precision"] for event in told if event["type"] == "started"),
        **{name: judged[name] for name in ("knn_accuracy", "untrained_accuracy", "raw_pixel_accuracy")},
    }


def _run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:4])}: {done.stderr[-300:]}")
