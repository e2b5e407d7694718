"""One run of ``bench-accuracy``: a training, one of ``lightly``'s, or a job through the product, and how good it is."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import torch

from benchmarks import sets
from benchmarks.accuracy import product
from benchmarks.judging import judge
from benchmarks.results import Result
from trainer.__main__ import keep_freed_memory
from trainer.config import TrainConfig
from trainer.train import train


def measured(key: Result, work: Path, port: int, threads: int) -> Result:
    """What comes of a key, a failure too.

    Args:
        key: ``kind`` (``train``, ``lightly`` or ``product``), ``set``, ``params``, ``seed`` and what that kind needs.
        work: folder of sets and runs.
        port: of the server that ``product`` starts.
        threads: of torch; 0 leaves them to it.
    """
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    folder = work / "runs" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    try:
        figures = _product(key, work, folder, port) if key["kind"] == "product" else _trained(key, work, folder)
    except Exception as error:
        figures = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
    return {**figures, "threads": torch.get_num_threads(), "cpus": os.cpu_count()}


def _product(key: Result, work: Path, folder: Path, port: int) -> Result:
    train_zip, test_zip = sets.archives(key["set"], work / "sets")
    labels = key["labels"]
    return product.run(train_zip, test_zip if labels != "none" else None, labels, key["params"], folder, port)


def _trained(key: Result, work: Path, folder: Path) -> Result:
    sets.prepare(key["set"], work / "sets")
    images, queries = sets.opened(key["set"], work / "sets")
    images = sets.drawn(images, key["count"])
    params = {**key["params"], "seed": key["seed"], "device": "cpu"}
    if key["kind"] == "lightly":
        from benchmarks.accuracy import lightly_methods

        if key["stage"] == "search":
            images, queries = sets.parted(images)
        return lightly_methods.run(key["method"], key["setting"], params, images, queries, key["seconds"])
    shutil.rmtree(folder, ignore_errors=True)  # an interrupted run begins anew, since its seconds count
    started = time.monotonic()
    try:
        train(TrainConfig.make(params), images, folder)
        seconds = time.monotonic() - started
        return {**judge(folder, images, queries), "seconds": round(seconds, 1)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
