"""The parts of ``bench-accuracy``: which runs each needs, in which order, and what it says when they are there."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import sets
from benchmarks.accuracy import how_many
from benchmarks.accuracy.figures import all_figures, figure, mean, show, spelt_out
from benchmarks.accuracy.measured import measured
from benchmarks.results import Result, Results
from service.operations.demo import DIGITS_FROM_NOTHING

QUICK: Result = {"preset": "quick"}
FROZEN: Result = {"preset": "quick", "method": "frozen", "init": "imagenet"}
ADAPTED: Result = {"preset": "quick", "init": "imagenet"}
COUNTS = (1_000, 3_000, 10_000, 50_000)
SEEDS = (0, 1)
_SGD = {"batch_size": 128, "learning_rate": 0.06}
# Among these each method's best is sought, in a quarter of the time, on a fifth of the images to learn from.
SETTINGS: dict[str, list[Result]] = {
    "simclr": [
        *({**_SGD, "temperature": temperature} for temperature in (0.1, 0.2, 0.5)),
        {"batch_size": 256, "learning_rate": 0.12, "temperature": 0.2},
        {"batch_size": 64, "learning_rate": 0.03, "temperature": 0.2},
    ],
    "nnclr": [{**_SGD, "temperature": temperature} for temperature in (0.1, 0.2)],
    "byol": [{**_SGD, "momentum": momentum} for momentum in (0.98, 0.99)],
    "barlow_twins": [{**_SGD}],
}
_TINY_SCRATCH = {"dim": 8, "image_size": 8, "rounds": 2, "epochs_first": 1, "epochs": 1}
_TINY_PRETRAINED = {"dim": 8, "image_size": 32}
_TINY_COUNT = 300


class Bench:
    """All parts; each runs what it lacks, or only looks, and gives its share of the summary."""

    def __init__(self, results: Results, work: Path, plot: Path, port: int, jobs: int, tiny: bool) -> None:
        self._results, self._work, self._plot, self._port, self._jobs, self._tiny = results, work, plot, port, jobs, tiny
        self._running = self._showing = False
        self.parts: dict[str, Callable[[], Result]] = {
            "cifar10_10k": lambda: self._preset("cifar10_10k", QUICK),
            "cifar10_full": lambda: self._preset("cifar10", {"preset": "best"}, "cifar10_full", SEEDS[:1]),
            "digits": lambda: self._preset("digits", {**QUICK, **DIGITS_FROM_NOTHING}),
            "lightly": self._lightly,
            "clothing": self._clothing,
            "pretrained": self._pretrained,
            "how_many": self._how_many,
        }

    def summary(self, chosen: Sequence[str], run: bool) -> Result:
        """Print the runs of the chosen parts, after those that were missing, or else all that there are, and say of every part
        whether runs are missing."""
        for line in [] if run else self._results.lines:
            show(line["key"], line)
        self._showing, self._running = True, run
        for name in chosen:
            self.parts[name]()
        self._showing = self._running = False
        summary: Result = {}
        for name, part in self.parts.items():  # again, since parts share runs
            found = part()
            if any(value is None for value in found.values()):
                print(f"{name}: not complete; python -m benchmarks.accuracy --only {name} runs what is missing", flush=True)
            summary |= found
        return summary

    def _need(self, *keys: Result) -> list[Result | None]:
        """The results of keys, run where there is none and their part is to run; ``None``: failed, or not run."""
        if self._running:
            for key in keys:
                for line in self._results.tried(key):
                    show(key, line)
        missing = [key for key in keys if self._running and self._results.find(key) is None]
        run = partial(measured, work=self._work, port=self._port, threads=1 if self._jobs > 1 else 0)
        if self._jobs == 1:
            for key in missing:
                self._keep(key, run(key))
        elif missing:
            for name in {key["set"] for key in missing}:
                sets.prepare(name, self._work / "sets")
            with ProcessPoolExecutor(self._jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
                running = {pool.submit(run, key): key for key in missing}
                for each in as_completed(running):
                    self._keep(running[each], each.result())
        return [self._results.find(key) for key in keys]

    def _keep(self, key: Result, figures: Result) -> None:
        show(key, self._results.add(key, figures))

    def _train(self, name: str, params: Result, seed: int = 0, count: int | None = None) -> Result:
        if self._tiny:
            name, count = "digits", min(count or _TINY_COUNT, _TINY_COUNT)
            params = {**params, **(_TINY_PRETRAINED if "init" in params else _TINY_SCRATCH)}
        return {"kind": "train", "set": name, "count": count, "params": params, "means": spelt_out(params), "seed": seed}

    def _preset(self, name: str, params: Result, called: str | None = None, seeds: Sequence[int] = SEEDS) -> Result:
        found = self._need(*(self._train(name, params, seed) for seed in seeds))
        return {f"{called or name}_{each}": mean(found, each) for each in ("knn", "map", "few5", "seconds")}

    def _lightly(self) -> Result:
        ours = [self._results.find(self._train("cifar10_10k", QUICK, seed)) for seed in SEEDS]
        knn, seconds = mean(ours, "knn"), mean(ours, "seconds")
        nothing: Result = {"over_lightly": None, "lightly": None}
        if knn is None or seconds is None:
            if self._running:
                print("lightly is given the time that part cifar10_10k took, so that part comes first")
            return nothing
        had, has = {one["threads"] for one in ours if one}, 1 if self._jobs > 1 else torch.get_num_threads()
        if self._running and had != {has}:
            print(f"cifar10_10k ran with {' and '.join(map(str, sorted(had)))} threads, this would with {has}: see --jobs")
            return nothing
        budget = 1 if self._tiny else self._budget(seconds)
        self._need(*(self._lightly_key(name, one, "search", budget / 4, 0) for name, each in SETTINGS.items() for one in each))
        best = {name: self._best_setting(name, budget / 4) for name in SETTINGS}
        if any(found is None for found in best.values()):
            return nothing
        scores = {name: found[1] for name, found in best.items() if found}
        other = max((name for name in scores if name != "simclr"), key=scores.__getitem__)
        finals = {
            name: [self._lightly_key(name, found[0], "final", budget, seed) for seed in SEEDS]
            for name, found in best.items()
            if found and name in ("simclr", other)
        }
        self._need(*(key for keys in finals.values() for key in keys))
        reached = {name: mean([self._results.find(key) for key in keys], "knn") for name, keys in finals.items()}
        complete = [value for value in reached.values() if value is not None]
        if len(complete) < 2:
            return nothing
        return {"over_lightly": knn - max(complete), "lightly": {**reached, "seconds": budget}}

    def _budget(self, seconds: float) -> int:
        """Seconds for lightly: those of its last full runs while ours still take as long, so that these need not run again."""
        last = self._results.last("seconds", kind="lightly", stage="final")
        return last if last and abs(last / seconds - 1) < 0.02 else round(seconds)

    def _best_setting(self, name: str, seconds: float) -> tuple[Result, float] | None:
        """The setting with the best kNN of the search and that kNN; ``None`` where no setting has one, or some are not tried."""
        keys = [self._lightly_key(name, setting, "search", seconds, 0) for setting in SETTINGS[name]]
        found = [(key["setting"], self._results.find(key)) for key in keys]
        if any(not self._results.tried(key) for key in keys):
            return None
        scored = [(setting, float(result["knn"])) for setting, result in found if result]
        return max(scored, key=lambda one: one[1]) if scored else None

    def _lightly_key(self, name: str, setting: Result, stage: str, seconds: float, seed: int) -> Result:
        key = self._train("cifar10_10k", QUICK, seed)
        del key["means"]  # of what the preset says only shapes and augmentation matter
        return {**key, "kind": "lightly", "method": name, "setting": setting, "stage": stage, "seconds": seconds}

    def _clothing(self) -> Result:
        """Through the product. Most users have no labels; then nothing is evaluated before the first search."""
        (frozen,) = self._need(self._product("folders", {"method": "frozen", "init": "imagenet"}))
        (unlabelled,) = self._need(self._product("none", {"method": "frozen", "init": "imagenet"}))
        (adapted,) = self._need(self._product("folders", {"init": "imagenet"}))
        (scratch,) = self._need(self._train("clothing", QUICK))
        names = ("knn", "map", "few5", "seconds_to_search")
        return {
            "clothing_frozen": frozen and {name: figure(frozen, name) for name in names},
            "clothing_unlabelled_seconds_to_search": unlabelled and unlabelled["seconds_to_search"],
            "clothing_adapted": adapted and {name: figure(adapted, name) for name in names},
            "clothing_from_nothing": all_figures(scratch),
        }

    def _product(self, labels: str, params: Result) -> Result:
        tiny = {**_TINY_PRETRAINED, **({} if "method" in params else {"rounds": 2, "epochs": 1})}
        params = {**params, "device": "cpu", **(tiny if self._tiny else {})}
        means = spelt_out(params)
        name = "digits" if self._tiny else "clothing"
        return {"kind": "product", "set": name, "labels": labels, "params": params, "means": means, "seed": 0}

    def _pretrained(self) -> Result:
        """Pretrained weights beside training from nothing, also on pictures that are unlike ImageNet's."""
        ways = {"frozen": FROZEN, "adapted": ADAPTED}
        keys = {
            f"{name}_{how}": self._train(name, way) for name in ("cifar10_10k", "fashion", "digits") for how, way in ways.items()
        }
        keys["fashion_from_nothing"] = self._train("fashion", QUICK)
        return {name: all_figures(result) for name, result in zip(keys, self._need(*keys.values()), strict=True)}

    def _how_many(self) -> Result:
        drawn = [("cifar10_10k", 1_000), ("cifar10_10k", 3_000), ("cifar10_10k", None), ("cifar10", None)]
        ways = {"pretrained weights, frozen": FROZEN, "trained from nothing (quick)": QUICK}
        keys = {title: [self._train(name, params, 0, count) for name, count in drawn] for title, params in ways.items()}
        self._need(*(key for each in keys.values() for key in each))
        found = {title: [self._results.find(key) for key in each] for title, each in keys.items()}
        lines = {
            title: [(count, result["few"]) for count, result in zip(COUNTS, each, strict=True) if result]
            for title, each in found.items()
        }
        if any(len(each) < len(COUNTS) for each in lines.values()):
            return {"how_many": None}
        if self._showing:
            print(how_many.as_text(lines))
            how_many.draw(lines, self._plot)
        means = {
            title: {str(count): {str(entry["labels"]): round(entry["mean"], 4) for entry in few} for count, few in each}
            for title, each in lines.items()
        }
        return {"how_many": means}
