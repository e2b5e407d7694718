"""``python -m trainer run|evaluate|export|attention|fetch``: training and evaluation without the service."""

import argparse
import ctypes
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from core.ground import finite
from core.ground.depths import Depths
from core.ground.label_text import label_text
from core.ground.verdict import verdict
from trainer.commands.attention import attention_command
from trainer.commands.export import export_command
from trainer.commands.run import open_and_report, read_json, run_command
from trainer.config import BOUNDS, CHOICES, InputError, TrainConfig
from trainer.data.benchmark_sets import NAMES, fetch
from trainer.data.sources import SourceError
from trainer.evaluation.evaluate import Labelled, evaluate
from trainer.logs import configure, log
from trainer.progress import Progress
from trainer.train import Stopped

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped by SIGTERM after a checkpoint; run again to go on
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # of malloc.h


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run it. Exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint."""
    for stream in (sys.stdout, sys.stderr):  # what a console cannot show is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    if arguments.parent_pipe is not None:
        _die_with_parent(arguments.parent_pipe)
    configure(arguments.log_context)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        return int(arguments.command(arguments))
    except InputError as error:
        log.error("%s", error)
        return EXIT_BAD_INPUT
    except OSError as error:
        # A worker keeps the traceback in its log; for a person the file and the reason are enough.
        if arguments.log_context is not None or error.filename is None:
            raise
        log.error("%s: %s", error.filename, error.strerror)
        return EXIT_FAILED
    except Stopped:
        log.info("stopped; the same command goes on from here")
        return EXIT_STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Anchor Neighbourhood Discovery on unlabelled images")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="learn an encoder from a folder, a zip or tar archive, or a .jsonl list")
    run.add_argument("data", nargs="?", help="the images; labels are neither needed nor read")
    run.add_argument(
        "--config",
        type=Path,
        help='JSON: {"data": ..., "params": {...}, "resume": [folders], "extend": true where these had fewer rounds}',
    )
    run.add_argument("--out", type=Path, required=True, help="the run's folder; an unfinished run in it is continued")
    run.add_argument("--checkpoint-seconds", type=float, default=15.0)
    again = run.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run in --out, with its own parameters")
    again.add_argument("--add-rounds", type=_positive, metavar="N", help="train the finished run in --out for N more rounds")
    parameters = run.add_argument_group("training parameters", "override the preset; docs/presets.md explains each")
    for field in fields(TrainConfig):
        allowed = ", ".join(CHOICES[field.name]) if field.name in CHOICES else None
        bounds = "{:g} to {:g}".format(*BOUNDS[field.name]) if field.name in BOUNDS else None
        count = {"crop_scale": 2, "colour_jitter": 4}.get(field.name)
        parameters.add_argument(
            f"--{field.name.replace('_', '-')}", dest=f"param_{field.name}", help=allowed or bounds, nargs=count, type=_literal
        )
    run.set_defaults(command=run_command)

    judge = commands.add_parser("evaluate", help="judge a finished run with labels")
    judge.add_argument("run", type=Path, nargs="?", help="the run's folder")
    judge.add_argument("--data", help="the images it was trained on; their top folders are the classes")
    judge.add_argument("--held-out", help="images to judge on; without them each training image is judged by the others")
    judge.add_argument("--k", type=int, help="voters; default 200, or 20 with fewer than 5,000 labelled images")
    judge.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    judge.add_argument("--config", type=Path, help='JSON: {"run", "data", "labels", "held_out", "held_out_labels"}')
    judge.add_argument("--out", type=Path, help="also write the result here")
    judge.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    judge.add_argument("--plot", type=Path, help="draw the neighbours' consistency by round and by entropy here, as a PNG")
    judge.set_defaults(command=_evaluate)

    look = commands.add_parser("attention", help="where the encoder of each finished round looks")
    look.add_argument("run", type=Path, nargs="?", help="the run's folder")
    look.add_argument("--data", help="the images it was trained on")
    look.add_argument("--images", nargs="+", default=[], metavar="PATH", help="paths in the data")
    look.add_argument("--config", type=Path, help='JSON: {"run", "data", "pairs": [[image id, neighbour\'s id], ...]}')
    look.add_argument("--out", type=Path, required=True, help="an .npz file of maps, or a .png with the rounds side by side")
    look.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    look.set_defaults(command=attention_command)

    result = commands.add_parser("export", help="write the encoder and embeddings of a finished round")
    result.add_argument("run", type=Path, nargs="?", help="the run's folder")
    result.add_argument("--data", help="the images it was trained on")
    result.add_argument("--round", type=int, help="0 is the first; that of a start from weights is these weights as they were")
    result.add_argument("--config", type=Path, help='JSON: {"run", "data", "round"}')
    result.add_argument("--out", type=Path, required=True, help="the folder to write")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    result.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    result.set_defaults(command=export_command)

    sets = commands.add_parser("fetch", help="download a benchmark set and write it as zips for --data and --held-out")
    sets.add_argument("name", choices=NAMES)
    sets.add_argument("folder", type=Path)
    sets.set_defaults(command=_fetch, threads=0, parent_pipe=None, log_context=None)
    for command in (run, judge, look, result):
        command.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
        command.add_argument(
            "--log-context", type=json.loads, metavar="JSON", help="say everything as JSON lines with these fields"
        )
        command.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    return parser


def keep_freed_memory() -> None:
    """Keep what a step frees for the next one: glibc gives large blocks back to the system at once, and the page faults of
    getting them anew cost a step on photographs a third of its time. Elsewhere nothing is changed."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20), (_M_ARENA_MAX, 1)):
            mallopt(option, value)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _evaluate(arguments: argparse.Namespace) -> int:
    given = read_json(arguments.config) if arguments.config else {}
    run, data = arguments.run or given.get("run"), arguments.data or given.get("data")
    if not run or not data:
        raise SourceError("name the run's folder and, with --data, the images it was trained on")
    held_out = arguments.held_out or given.get("held_out")
    progress = Progress(arguments.progress)

    def tell(text: str, step: str, done: float) -> None:
        log.info("evaluating %s", text)
        progress.at(step, done)

    train = _labelled(data, given.get("labels"))
    result = evaluate(
        Path(run),
        train,
        _labelled(held_out, given.get("held_out_labels"), train.images.depths) if held_out else None,
        arguments.k,
        arguments.device,
        on_progress=tell,
    )
    if said := verdict(result):
        log.info("%s", said.sentence)
    if arguments.out:
        arguments.out.write_text(finite.dumps(result, indent=2) + "\n")
    if arguments.plot:
        from trainer.evaluation.plots import plot_consistency

        plot_consistency(result, arguments.plot)
    if arguments.log_context is None:
        print(finite.dumps(result))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for path in fetch(arguments.name, arguments.folder):
        print(path)
    return 0


def _labelled(source: str, labels_file: str | None, depths: Depths | None = None) -> Labelled:
    """Labels from a JSON file {id: label}, else each image's top folder; perhaps with the depths that an encoder has learned."""
    images = open_and_report(source)
    if depths is not None:
        images = images.seen_by(depths)
    if labels_file:
        by_id = read_json(Path(labels_file))
        return Labelled(images, [label_text(by_id.get(str(image.id)) or "") for image in images.images])
    folders = [image.path.split("/") for image in images.images]
    return Labelled(images, [label_text(parts[0]) if len(parts) > 1 else None for parts in folders])


def _die_with_parent(descriptor: int) -> None:
    """End this process group when the other end of a pipe closes, that is when the parent is gone, however it went."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
