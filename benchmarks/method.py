"""Does AND gain over instance discrimination? Arms at equal images seen, paired seeds, tuned on images held out of training.

``make bench-method`` runs what is not yet in ``benchmarks/results/method.jsonl`` and prints the tables and, last, one JSON
object. The search and the final runs train on disjoint draws of ``cifar10-train``'s images from those they are judged on;
only the final configuration meets the test set, once.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.trials import ARMS, COUNT, FINAL, FIRST, SEARCH, SEEDS, K
from trainer import checkpoints
from trainer.backbones import build_encoder
from trainer.config import TrainConfig
from trainer.encode import encode
from trainer.metrics import consistency, knn_votes
from trainer.pixels import evaluation_batches
from trainer.sources import ImageList, open_source
from trainer.train import train

DATA = Path(__file__).parents[2] / "shared/data"
RESULTS = Path(__file__).parent / "results/method.jsonl"
VALIDATION = 5000
Result = dict[str, Any]


class Collection:
    """Images with the class of each, and their evaluation pixels."""

    def __init__(self, listed: ImageList, chosen: Sequence[int], side: int) -> None:
        self.listed = ImageList([listed.images[row] for row in chosen])
        self.labels = [image.path.split("/")[0] for image in self.listed.images]
        self.batches = list(evaluation_batches(self.listed, side))

    def targets(self) -> Tensor:
        names = sorted(set(self.labels))
        return torch.tensor([names.index(label) for label in self.labels])


def split(listed: ImageList, count: int) -> tuple[list[int], list[int]]:
    """Rows to train on and rows to judge on, disjoint, by a fixed permutation of the content order."""
    order = np.random.default_rng(20261122).permutation(len(listed.images))
    return sorted(order[VALIDATION : VALIDATION + count].tolist()), sorted(order[:VALIDATION].tolist())


def run_arm(work: Path, images: Collection, params: dict[str, Any], arm: str, seed: int) -> Path:
    """Train one arm of one seed, or what is left of it; the first round is shared by all arms that agree in it."""
    first = {name: value for name, value in params.items() if name in FIRST}
    work = work / str(len(images.listed.images))
    shared = work / f"first-{name_of(first)}-{seed}"
    quiet = {"device": "cpu", "seed": seed}
    train(TrainConfig.make({**first, **quiet, "rounds": 1}), images.listed, shared, checkpoint_seconds=60)
    folder = work / f"{name_of(params)}-{arm}-{seed}"
    config = TrainConfig.make({**params, **quiet, "method": arm})
    train(config, images.listed, folder, resume_from=[shared], extend=True, checkpoint_seconds=60)
    return folder


def name_of(params: dict[str, Any]) -> str:
    return "_".join(f"{name}={value}" for name, value in sorted(params.items())).replace("/", "-").replace(" ", "") or "default"


def judge(folder: Path, images: Collection, queries: Collection) -> tuple[list[Result], NDArray[np.bool_]]:
    """kNN of every round's encoder on re-encoded images, and which of the last one's answers are right."""
    rounds = []
    right: NDArray[np.bool_] = np.zeros(0, bool)
    for number, path in checkpoints.round_ends(folder / "checkpoints"):
        state = checkpoints.load(path)
        encoder = build_encoder(TrainConfig.make(state["config"]))
        encoder.load_state_dict(state["encoder"])
        cpu = torch.device("cpu")
        bank, z = encode(encoder, images.batches, cpu), encode(encoder, queries.batches, cpu)
        votes = knn_votes(bank, images.targets(), z, K)
        right = (votes.argmax(dim=1) == queries.targets()).numpy()
        omega = state["neighbours"]
        agree = None if omega is None else consistency(omega, images.labels)
        rounds.append({"round": number, "accuracy": float(right.mean()), "consistency": agree})
    return rounds, right


@cache
def opened(name: str) -> ImageList:
    """Every image of a set is decoded to list it, so once is enough."""
    return open_source(DATA / name)


def recorded() -> list[Result]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def trial(work: Path, params: dict[str, Any], arm: str, seed: int, final: bool) -> Result:
    """One arm's result, from the file of results or by training; final ones are judged on the test set as well."""
    key = {"params": json.loads(json.dumps(params)), "arm": arm, "seed": seed, "final": final}
    for result in recorded():
        if all(result[name] == value for name, value in key.items()):
            return result
    started = time.monotonic()
    listed = opened("cifar10-train.zip")
    rows, held_out = split(listed, params.get("count", COUNT))
    side = params.get("image_size", 32)
    images = Collection(listed, rows, side)
    folder = run_arm(work, images, {name: value for name, value in params.items() if name != "count"}, arm, seed)
    if final:
        tests = opened("cifar10-test.zip")
        rounds, right = judge(folder, images, Collection(tests, range(len(tests.images)), side))
    else:
        rounds, right = judge(folder, images, Collection(listed, held_out, side))
    result = {**key, "rounds": rounds, "accuracy": rounds[-1]["accuracy"], "seconds": round(time.monotonic() - started)}
    if final:
        result["right"] = np.packbits(right).tobytes().hex()
    shutil.rmtree(folder, ignore_errors=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with open(RESULTS, "a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def bootstrap(differences: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of paired differences (seeds, images), both resampled."""
    rng = np.random.default_rng(0)
    seeds, images = differences.shape
    means = [differences[rng.integers(0, seeds, seeds)][:, rng.integers(0, images, images)].mean() for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def answers(result: Result) -> NDArray[np.float64]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(result["right"]), np.uint8)).astype(np.float64)


def show(title: str, result: Result) -> None:
    accuracies = " ".join(f"{100 * entry['accuracy']:5.1f}" for entry in result["rounds"])
    agreement = " ".join(f"{100 * entry['consistency']:5.1f}" for entry in result["rounds"] if entry["consistency"] is not None)
    print(f"{title:<44} {result['arm']:<14} seed {result['seed']}  {accuracies}   {agreement}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-method"), help="folder for checkpoints")
    parser.add_argument("--search", action="store_true", help="only the search on held-out training images")
    parser.add_argument("--only", help="only trials whose title begins with this")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # two threads give other roundings, and one seed then other anchors
    print("accuracy after each round, %; then consistency of the anchors' neighbours in each round from 1, %")
    for title, params, arms in SEARCH:
        if not arguments.only or title.startswith(arguments.only):
            for arm in arms:
                show(title, trial(arguments.work, params, arm, 0, final=False))
    if FINAL is None:
        print("no configuration has won the search yet, so nothing was judged on the test set")
    if arguments.search or FINAL is None:
        return
    results = {arm: [trial(arguments.work, FINAL, arm, seed, final=True) for seed in SEEDS] for arm in ARMS}
    for arm in ARMS:
        for result in results[arm]:
            show("final, on the 10,000 test images", result)
    last = {arm: [result["accuracy"] for result in results[arm]] for arm in ARMS}
    differences = np.stack([answers(a) - answers(b) for a, b in zip(results["and"], results["instance"], strict=True)])
    low, high = bootstrap(differences)
    agreement = {
        arm: np.mean([[entry["consistency"] for entry in result["rounds"][1:]] for result in results[arm]], axis=0).tolist()
        for arm in ("and", "random_anchors")
    }
    summary = {
        "arms": {arm: {"mean": float(np.mean(a)), "std": float(np.std(a, ddof=1)), "seeds": len(a)} for arm, a in last.items()},
        "and_minus_instance": {"mean": float(differences.mean()), "low": low, "high": high},
        "consistency": agreement,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
