"""Does AND gain over instance discrimination at its best temperature, over random anchors, and how far is the ceiling?

``make bench-method`` runs what is not yet in ``benchmarks/results/method.jsonl``, prints every run, and last one JSON object: for
each set the differences between AND and instance discrimination (fractions; 95 % intervals by Student's t over the seeds' paired
differences). All arms of a seed see equally many images and share the first round where they agree in it; the first of them
has its seconds. Instance discrimination's temperature is sought with one seed on a fifth of the images to learn from; the final
runs learn from all of them and are judged on the set's held-out images.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks import sets
from benchmarks.judging import few, in_words
from benchmarks.method.trials import ARMS, OF_ANCHORS, TINY, TINY_COUNT, TRIALS, Trials
from benchmarks.results import Result, Results, interval

RESULTS = Path(__file__).parents[1] / "results/method.jsonl"
MEASURES: dict[str, Callable[[Result], float]] = {
    "few5": lambda result: few(result, 5),
    "map": lambda result: float(result["map"]),
    "knn": lambda result: float(result["knn"]),
}
_SEARCH_SEED = 0


class Bench:
    """The trials of every set, their results so far, and the processes that run what is missing."""

    def __init__(self, trials: dict[str, Trials], seeds: int, results: Results, work: Path, jobs: int, count: int | None) -> None:
        self._trials, self._seeds, self._results = trials, range(seeds), results
        self._work, self._jobs, self._count = work, jobs, count
        self._lock = Lock()

    def complete(self, chosen: Sequence[str]) -> None:
        """Run what is missing of the chosen trials: first every search, then the arms of every seed."""
        for name in sorted({self._trials[trial].set for trial in chosen}):
            sets.prepare(name, self._work / "sets")
        self._run([self._search(name) for name in chosen])
        found = [name for name in chosen if self.temperatures(name) is not None]
        self._run([[self._final(name, arm, seed) for arm in ARMS] for seed in self._seeds for name in found])

    def summary(self) -> dict[str, Any]:
        """For each set what AND gains, ``None`` where not all of its runs are there."""
        return {name: self._compared(name) for name in TRIALS}

    def temperatures(self, name: str) -> tuple[float, float] | None:
        """Instance discrimination's best, of the first round and of the later ones, by the mean of all measures; ``None`` before
        all were tried."""
        found = [self._results.find(key) for key in self._search(name)]
        scores = [math.fsum(measure(one) for measure in MEASURES.values()) for one in found if one is not None]
        if len(scores) < len(found):
            return None
        return self._trials[name].temperatures[scores.index(max(scores))]

    def _search(self, name: str) -> list[Result]:
        return [
            self._key(name, "search", "instance", _SEARCH_SEED, temperatures) for temperatures in self._trials[name].temperatures
        ]

    def _final(self, name: str, arm: str, seed: int) -> Result:
        return self._key(name, "final", arm, seed, self.temperatures(name) if arm == "instance" else None)

    def _key(self, name: str, stage: str, arm: str, seed: int, temperatures: tuple[float, float] | None) -> Result:
        trials = self._trials[name]
        params = dict(trials.params)
        if temperatures:
            params = {one: value for one, value in params.items() if one not in OF_ANCHORS}
            params |= dict(zip(("temperature", "temperature_next"), temperatures, strict=True))
        return {
            "trial": name,
            "set": trials.set,
            "count": self._count,
            "stage": stage,
            "arm": arm,
            "params": params,
            "seed": seed,
        }

    def _run(self, groups: list[list[Result]]) -> None:
        """Each group in a process of its own, several at a time; what is known already is only shown."""
        missing = []
        for group in groups:
            for key in group:
                for result in self._results.tried(key):
                    _show(key, result)
            missing.append([key for key in group if self._results.find(key) is None])
        with ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(self._in_process, filter(None, missing)))

    def _in_process(self, keys: list[Result]) -> None:
        arguments = [str(self._work / "sets"), str(self._work / "runs"), json.dumps(keys)]
        command = [sys.executable, "-m", "benchmarks.method.arms", *arguments]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout
        left = list(keys)
        for line in process.stdout:
            result = json.loads(line)
            key = left.pop(0)
            self._keep(key, {name: value for name, value in result.items() if name != "key"})
        code = process.wait()
        for key in left:
            self._keep(key, {"failed": f"the process ended with {code}"})

    def _keep(self, key: Result, result: Result) -> None:
        with self._lock:
            _show(key, self._results.add(key, result))

    def _compared(self, name: str) -> dict[str, Any] | None:
        if name not in self._trials or self.temperatures(name) is None:
            return None
        found = {arm: [self._results.find(self._final(name, arm, seed)) for seed in self._seeds] for arm in ARMS}
        complete = {arm: [one for one in each if one is not None] for arm, each in found.items()}
        if any(len(each) < len(self._seeds) for each in complete.values()):
            return None
        _table(name, complete)
        return {
            **_differences(complete["and"], complete["instance"]),
            "over_random_anchors": _differences(complete["and"], complete["random_anchors"]),
            "oracle_over_and": _differences(complete["oracle"], complete["and"]),
            "instance_temperatures": self.temperatures(name),
            "seeds": len(self._seeds),
        }


def _differences(ours: Sequence[Result], theirs: Sequence[Result]) -> dict[str, Any]:
    return {name: interval(pairs) for name, pairs in zip(MEASURES, _pairs(ours, theirs), strict=True)}


def _show(key: Result, result: Result) -> None:
    first, later = (key["params"].get(name, "preset") for name in ("temperature", "temperature_next"))
    print(
        f"{key['trial']:<14}{key['stage']:<7} {key['arm']:<15} seed {key['seed']} tau {first}, {later}  {in_words(result)}",
        flush=True,
    )


def _table(name: str, results: dict[str, list[Result]]) -> None:
    print(f"\n| {name} | 5 labels a class | mAP | kNN |\n|---|---|---|---|")
    for arm, each in results.items():
        means = (100 * math.fsum(map(measure, each)) / len(each) for measure in MEASURES.values())
        print(f"| {arm} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    for other in ARMS[1:]:
        gained = [interval([100 * x for x in pairs]) for pairs in _pairs(results["and"], results[other])]
        cells = (
            f"{one['mean']:+.1f}" + (f" ({one['low']:+.1f} to {one['high']:+.1f})" if one["low"] is not None else "")
            for one in gained
        )
        print(f"| AND less {other} | " + " | ".join(cells) + " |")


def _pairs(ours: Sequence[Result], theirs: Sequence[Result]) -> list[list[float]]:
    return [[measure(a) - measure(b) for a, b in zip(ours, theirs, strict=True)] for measure in MEASURES.values()]


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and print everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.method", description=__doc__)
    parser.add_argument("--only", choices=TRIALS, help="one trial")
    parser.add_argument("--seeds", type=int, default=3, help="of the final runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    parser.add_argument("--show", action="store_true", help="run nothing: print what there is")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-method"), help="folder for sets and checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of results")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: few images, short rounds")
    arguments = parser.parse_args(argv)
    trials = TINY if arguments.tiny else TRIALS
    chosen = [name for name in trials if arguments.only in (None, name)]
    count = TINY_COUNT if arguments.tiny else None
    bench = Bench(trials, arguments.seeds, Results(arguments.results), arguments.work.resolve(), arguments.jobs, count)
    if not arguments.show:
        bench.complete(chosen)
    summary = bench.summary()
    for name in (name for name, found in summary.items() if found is None):
        print(f"{name}: not complete; python -m benchmarks.method --only {name} runs what is missing")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
