"""One run of ``bench-method``: an arm on a set from a seed, trained and judged; as a program, several in turn."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import sets
from benchmarks.judging import judge
from benchmarks.method.trials import LATER
from benchmarks.results import Result
from core.ground.folders import Position, RunFolder
from trainer import checkpoints
from trainer.config import TrainConfig
from trainer.data.images import ImageList
from trainer.randomness import generator
from trainer.resolve import resolve
from trainer.train import train

_CHECKPOINT_SECONDS = 60.0


def run(key: Result, sets_folder: Path, work: Path) -> Result:
    """Train and judge what a key asks for.

    Args:
        key: ``set``; ``count`` of images, or ``None`` for all; ``stage``, ``search`` to be judged on images held out of those to
            learn from, or ``final`` on the set's own; ``arm``; ``params``; ``seed``.
        sets_folder: where the set was prepared.
        work: where checkpoints go; arms find the first round that they share there, and an interrupted run its own.
    """
    images, queries = sets.opened(key["set"], sets_folder)
    images = sets.drawn(images, key["count"])
    if key["stage"] == "search":
        images, queries = sets.parted(images)
    started = time.monotonic()
    folder = work / _name(key)
    try:
        config, folder = _trained(key, images, work, folder)
        spent = time.monotonic() - started
        assert config.epochs_first is not None and config.epochs
        seen = len(images.images) * (config.epochs_first + (config.rounds - 1) * config.epochs)
        return {**judge(folder, images, queries), "images_seen": seen, "seconds": round(spent, 1)}
    finally:
        shutil.rmtree(work / _name(key), ignore_errors=True)


def _trained(key: Result, images: ImageList, work: Path, folder: Path) -> tuple[TrainConfig, Path]:
    params = _params(key)
    first, shared = _first(params), work / _first_name(key)
    train(TrainConfig.make({**first, "rounds": 1}), images, shared, checkpoint_seconds=_CHECKPOINT_SECONDS)
    if key["arm"] == "oracle":
        return _trained_by_oracle(TrainConfig.make(params), images, shared, folder)
    config = TrainConfig.make({**params, "method": key["arm"]})
    config, _ = train(config, images, folder, resume_from=[shared], extend=True, checkpoint_seconds=_CHECKPOINT_SECONDS)
    return config, folder


def _trained_by_oracle(config: TrainConfig, images: ImageList, shared: Path, folder: Path) -> tuple[TrainConfig, Path]:
    """Round by round, each from a checkpoint of the last one's end in which the neighbours that were found are exchanged."""
    (labels,) = sets.classes(images)
    k = resolve(config, len(images.images), images.median_side).neighbours
    assert k
    before = shared
    for round_ in range(1, config.rounds):
        part = folder / str(round_)
        _, path = checkpoints.round_ends(RunFolder(before).checkpoints)[-1]
        state = checkpoints.load(path)
        state["nearest"] = same_class(labels, k, generator(config.seed, "oracle", round_))
        begun = checkpoints.newest([RunFolder(part).checkpoints])
        if begun is None:
            checkpoints.adopt_round_ends([RunFolder(before).checkpoints], RunFolder(part).checkpoints)
            (RunFolder(part).checkpoints / path.name).unlink()
            checkpoints.save(RunFolder(part).checkpoints, Position(*state["position"]), state)
        only = TrainConfig.make({"rounds": round_ + 1}, run=config.to_json())
        resolved, _ = train(only, images, part, extend=True, checkpoint_seconds=_CHECKPOINT_SECONDS)
        before = part
    return resolved, before


def same_class(labels: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """For each image so many others of its class, drawn at random, with repetition.

    Args:
        labels: int64 (N,), each class at least twice.
        k: how many.
        rng: of the draw.

    Returns:
        int64 (N, k), rows.
    """
    result = torch.empty(len(labels), k, dtype=torch.int64)
    for name in labels.unique():
        rows = (labels == name).nonzero()[:, 0]
        further = torch.randint(1, len(rows), (len(rows), k), generator=rng)  # places behind the image's own
        result[rows] = rows[(torch.arange(len(rows))[:, None] + further) % len(rows)]
    return result


def _params(key: Result) -> Result:
    return {**key["params"], "seed": key["seed"], "device": "cpu"}


def _first(params: Result) -> Result:
    return {name: value for name, value in params.items() if name not in LATER}


def _first_name(key: Result) -> str:
    return _name({**key, "arm": None, "params": _first(_params(key))})


def _name(key: Result) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    return f"{key['set']}-{key['stage']}-{key['arm'] or 'first'}-{key['seed']}-{digest}"


def each(keys: list[Result], done: Callable[[Result, Result], Any], sets_folder: Path, work: Path) -> None:
    """Run all, one after another; a failure is a result, too."""
    for key in keys:
        try:
            done(key, run(key, sets_folder, work))
        except Exception as error:
            done(key, {"failed": f"{type(error).__name__}: {error}".splitlines()[0]})
    for key in keys:
        shutil.rmtree(work / _first_name(key), ignore_errors=True)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # two threads give other roundings, and one seed then other anchors
    each(
        json.loads(sys.argv[3]),
        lambda key, result: print(json.dumps({"key": key, **result}), flush=True),
        Path(sys.argv[1]),
        Path(sys.argv[2]),
    )
