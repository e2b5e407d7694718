"""How right a training job's estimate of its end is: real jobs of different kinds on a real server, asked twice a second.

``make bench-progress`` trains each job in turn on a server that has seen none before, so that the first one has nothing to learn
from, then all of them once more. It prints a table and, last, one JSON object: for each job the median over its life of the
estimate's relative error ``|eta - left| / left``, the share of its life without an estimate, and whether the fraction ever fell.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.server import Embedded
from benchmarks.shared_data import shared, some_digits
from service.operations.demo import DIGITS, write_digits

_ASK_SECONDS = 0.5
_LAST = 1.0  # seconds before the end whose relative error says nothing
QUICK = {"preset": "quick"}


def kinds(work: Path, tiny: bool) -> dict[str, tuple[Path, Path | None, str, dict[str, Any]]]:
    """Name: images, held-out images, where labels are, parameters."""
    if tiny:
        brief = {**QUICK, "rounds": 2, "epochs_first": 1, "epochs": 1, "dim": 8, "image_size": 8}
        return {"digits": (some_digits(work), None, "folders", brief)}
    digits, held_out = write_digits(work)
    cifar, clothing = shared("cifar10-test-2k.zip"), shared("clothing-small-val.zip")
    return {
        "digits, held out": (digits, held_out, "folders", {**QUICK, **DIGITS, "epochs_first": 12, "epochs": 4}),
        "cifar10-test-2k": (cifar, None, "folders", {**QUICK, "rounds": 3, "epochs_first": 8, "epochs": 3}),
        "cifar10-test-2k, ResNet-18": (cifar, None, "folders", {"preset": "paper", "rounds": 2, "epochs_first": 2, "epochs": 1}),
        "clothing-small-val": (clothing, None, "folders", {**QUICK, "rounds": 4, "epochs_first": 16, "epochs": 8}),
        "clothing-small-val, no labels": (clothing, None, "none", {**QUICK, "rounds": 2, "epochs_first": 20, "epochs": 10}),
    }


def watched(server: Embedded, request: dict[str, Any]) -> dict[str, Any]:
    """One job, followed to its end."""
    id_ = server.client.post("/jobs", json=request).raise_for_status().json()["id"]
    seen: list[tuple[float, dict[str, Any]]] = []
    while True:
        job = server.client.get(f"/jobs/{id_}").raise_for_status().json()
        if job["status"] in ("succeeded", "failed", "cancelled"):
            break
        if job["status"] == "running":
            seen.append((time.monotonic(), job["progress"] or {}))
        time.sleep(_ASK_SECONDS)
    end = time.monotonic()
    if job["status"] != "succeeded":
        raise SystemExit(f"{id_}: {job['error']}")
    told = [(end - at, progress) for at, progress in seen if end - at > _LAST]
    errors = [abs(progress["eta_seconds"] - left) / left for left, progress in told if progress.get("eta_seconds") is not None]
    fractions = [progress.get("fraction", 0.0) for _, progress in seen]
    phases: dict[str, list[float]] = {}
    for left, progress in told:
        if progress.get("eta_seconds") is not None:
            phases.setdefault(progress["phase"], []).append((progress["eta_seconds"] - left) / left)
    return {
        "seconds": round(end - seen[0][0], 1),
        "median_error": round(median(errors), 3) if errors else None,
        "without_estimate": round(1 - len(errors) / max(len(told), 1), 3),
        "fell": any(after < before for before, after in pairwise(fractions)),
        "by_phase": {phase: round(median(found), 2) for phase, found in phases.items()},
    }


def measure(work: Path, port: int, tiny: bool = False) -> list[dict[str, Any]]:
    """Every kind of job, twice."""
    server = Embedded(work / "data", port)
    jobs = kinds(work, tiny)
    results = []
    with server.serve():
        datasets: dict[tuple[Path | None, str], str] = {}
        for time_ in ("first", "again"):
            for name, (images, held_out, labels, params) in jobs.items():
                for path in filter(None, (images, held_out)):
                    if (path, labels) not in datasets:
                        datasets[path, labels] = server.upload(path, labels=labels)[0]
                judge = datasets[held_out, labels] if held_out else None
                request = {"dataset_id": datasets[images, labels], "evaluation_dataset_id": judge, "params": params}
                results.append({"job": name, "time": time_, **watched(server, request)})
                print(json.dumps(results[-1]), flush=True)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| job | | seconds | median error | without an estimate |", "|---|---|---|---|---|"]
    for one in results:
        error = "-" if one["median_error"] is None else f"{one['median_error']:.0%}"
        lines.append(f"| {one['job']} | {one['time']} | {one['seconds']:.0f} | {error} | {one['without_estimate']:.0%} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progress", description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: one short job")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        results = measure(Path(work), arguments.port, arguments.tiny)
    print(table(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
