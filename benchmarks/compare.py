"""Every method beside the others: the same images, backbone and number of images seen, judged in the same way.

``make bench-compare`` runs what is not yet in ``benchmarks/results/compare.jsonl``, prints every run, also those that failed,
then a table for each set, and last one JSON object: ``{set: {method: {knn, few5, map, linear, seconds, images_per_second}}}``,
means over the seeds; ``null``: not run yet; seconds are those of a core's work. It goes on where it was stopped.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import sets
from benchmarks.judging import few, in_words, judge
from benchmarks.results import Result, Results
from core.ground.methods import METHODS
from trainer.config import TrainConfig
from trainer.train import train

RESULTS = Path(__file__).parent / "results/compare.jsonl"
SEEDS = {"cifar10_10k_2k": (0, 1), "fashion": (0,), "clothing": (0,)}
# frozen learns from other images, and as the others have it the two kinds of anchors are no methods of their own.
COMPARED = [name for name in METHODS if name not in ("frozen", "random_anchors", "all_anchors")]
_GREY = ("fashion", "digits")  # which teach nothing to what learns from colours
EPOCHS = 60  # in which a method of one view sees every image as often
_TINY, _TINY_COUNT = {"dim": 8, "image_size": 16}, 200


def methods_of(name: str) -> list[str]:
    """Those that can learn from a set."""
    return [method for method in COMPARED if not (name in _GREY and METHODS[method].needs_colour)]


def key_of(name: str, method: str, seed: int, tiny: bool) -> Result:
    """A run: the same number of views of every image whatever the method, in AND's three rounds or in one."""
    facts = METHODS[method]
    whole = (4 if tiny else EPOCHS) // facts.views
    lengths = (
        {"epochs_first": whole} if facts.one_round else {"epochs_first": whole - 2 * (whole // 7), "epochs": max(1, whole // 7)}
    )
    params: Result = {"preset": "quick", "method": method, **(lengths if facts.trains else {}), **(_TINY if tiny else {})}
    return {"set": name, "count": _TINY_COUNT if tiny else None, "params": params, "seed": seed}


def run(key: Result, work: Path) -> Result:
    """What comes of a key, a failure too."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    folder = work / "runs" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    shutil.rmtree(folder, ignore_errors=True)  # an interrupted run begins anew, since its seconds count
    try:
        images, queries = sets.opened(key["set"], work / "sets")
        images = sets.drawn(images, key["count"])
        started = _cpu_seconds()
        config = TrainConfig.make({**key["params"], "seed": key["seed"], "device": "cpu"})
        labels = [image.path.split("/")[0] for image in images.images]
        config, _ = train(config, images, folder, labels=labels)  # all but one method are blind to them
        seconds = _cpu_seconds() - started
        assert config.epochs_first is not None and config.epochs
        seen = METHODS[config.method].views * len(images.images) * (config.epochs_first + (config.rounds - 1) * config.epochs)
        found = {**judge(folder, images, queries, linear=True), "images_seen": seen}
        return {**found, "seconds": round(seconds, 1), "images_per_second": round(seen / seconds)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cpu_seconds() -> float:
    """Of this process and of those that it waited for: a run has one thread, and what else the machine does is not counted."""
    return sum(os.times()[:4])


class Bench:
    """The runs of all sets and what is known of them."""

    def __init__(self, results: Results, work: Path, jobs: int, tiny: bool) -> None:
        self._results, self._work, self._jobs, self._tiny = results, work, jobs, tiny
        self.seeds = {"digits": (0,)} if tiny else SEEDS

    def complete(self, names: Sequence[str], methods: Sequence[str]) -> None:
        """Run what is missing of some sets and methods."""
        missing = []
        for name in names:
            sets.prepare(name, self._work / "sets")
            for seed in self.seeds[name]:
                for method in (each for each in methods_of(name) if each in methods):
                    key = key_of(name, method, seed, self._tiny)
                    for line in self._results.tried(key):
                        _show(key, line)
                    if self._results.find(key) is None:
                        missing.append(key)
        with ProcessPoolExecutor(self._jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
            running = {pool.submit(partial(run, work=self._work), key): key for key in missing}
            for each in as_completed(running):
                _show(running[each], self._results.add(running[each], each.result()))

    def summary(self) -> dict[str, dict[str, Result | None]]:
        """For each set and method the means over the seeds, ``None`` where not all of them were run."""
        return {name: {method: self._means(name, method) for method in methods_of(name)} for name in self.seeds}

    def _means(self, name: str, method: str) -> Result | None:
        found = [self._results.find(key_of(name, method, seed, self._tiny)) for seed in self.seeds[name]]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        measures = ("knn", "map", "linear", "seconds", "images_per_second")
        values = {"few5": [few(each, 5) for each in known], **{each: [line[each] for line in known] for each in measures}}
        return {measure: round(math.fsum(each) / len(each), 4) for measure, each in values.items()}


def _show(key: Result, result: Result) -> None:
    linear = f"  linear {100 * result['linear']:5.1f}" if "linear" in result else ""
    print(f"{key['set']:<16}{key['params']['method']:<14} seed {key['seed']}  {in_words(result)}{linear}", flush=True)


def _table(name: str, found: dict[str, Result | None]) -> None:
    print(f"\n| {name} | 5 labels | mAP | kNN | linear | seconds | images a second |\n|---|---|---|---|---|---|---|")
    for method, each in found.items():
        if each is not None:
            shares = " | ".join(f"{100 * each[measure]:.1f}" for measure in ("few5", "map", "knn", "linear"))
            print(f"| {METHODS[method].title} | {shares} | {each['seconds']:,.0f} | {each['images_per_second']:,.0f} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and print everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--only", choices=SEEDS, help="one set")
    parser.add_argument("--method", choices=COMPARED, action="append", help="some methods; repeatable")
    parser.add_argument("--show", action="store_true", help="run nothing: print what there is")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-compare"), help="folder for sets and runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of results")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: few images, short rounds")
    arguments = parser.parse_args(argv)
    bench = Bench(Results(arguments.results), arguments.work.resolve(), arguments.jobs, arguments.tiny)
    if not arguments.show:
        bench.complete([name for name in bench.seeds if arguments.only in (None, name)], arguments.method or COMPARED)
    summary = bench.summary()
    for name, found in summary.items():
        _table(name, found)
        missing = [method for method, each in found.items() if each is None]
        if missing:
            print(f"\n{name}: not complete; python -m benchmarks.compare --only {name} runs {', '.join(missing)}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
