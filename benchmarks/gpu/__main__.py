"""What an NVIDIA GPU does with the trainer, in one run of at most nine minutes: ``make bench-gpu``.

Leaves one JSON file with the card's name. What cannot be run says why (``not_run``), what fails says how (``failed``), and
neither keeps the other parts from running. Without a GPU ``--tiny`` shows whether the parts run that say nothing of one.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import parts
from benchmarks.gpu.parts import NotRun, Size
from benchmarks.trainer.steps import DEVICE

SECONDS = 540
FULL = Size(count=50_000, searched=200_000, largest=1_281_167, batch=128, turns=20, backbone="resnet18")
TINY = Size(count=600, searched=2_000, largest=5_000, batch=8, turns=1, backbone="resnet10")


def main(argv: Sequence[str] | None = None) -> None:
    """Run every part and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gpu.json"), help="the JSON file")
    parser.add_argument("--data", type=Path, default=parts.CIFAR10, help="a zip of CIFAR-10's training images, CLASS/file")
    parser.add_argument("--held-out", type=Path, default=parts.CIFAR10_TEST, help="and of its test images")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything; the last part takes what is left")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs")
    arguments = parser.parse_args(argv)
    end = time.monotonic() + arguments.seconds
    size = TINY if arguments.tiny else FULL
    torch.set_flush_denormal(True)
    result: dict[str, Any] = {**parts.machine(), "parts": {}}
    print(f"{result['device']}, torch {result['torch']}")
    todo: dict[str, Callable[[], dict[str, Any]]] = {
        "tests": lambda: parts.tests(end - time.monotonic()),
        "steps": lambda: parts.steps(size),
        "compile": lambda: parts.compiled(size),
        "memory": lambda: parts.memory(size),
        "discovery": lambda: parts.discovery(size),
        "faiss": lambda: parts.faiss_search(size),
        "ranks": lambda: parts.ranks(size),
        "cifar10": lambda: parts.cifar10(arguments.data, arguments.held_out, size, end - time.monotonic()),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for name, part in todo.items():
        begun = time.monotonic()
        try:
            if begun >= end:
                raise NotRun(f"the {arguments.seconds:.0f} s were over")
            found = part()
        except NotRun as reason:
            found = {"not_run": str(reason)}
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        result["parts"][name] = {**found, "seconds": round(time.monotonic() - begun, 1)}
        print(f"{name}: {json.dumps(result['parts'][name])}", flush=True)
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        arguments.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
