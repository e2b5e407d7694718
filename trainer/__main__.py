"""``python -m trainer run|evaluate|fetch``: training and evaluation without the service."""

import argparse
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
from tqdm import tqdm

from trainer import checkpoints
from trainer.benchmark_sets import NAMES, fetch
from trainer.checkpoints import Position
from trainer.config import BOUNDS, CHOICES, InputError, TrainConfig
from trainer.evaluate import Labelled, evaluate
from trainer.ranks import Ranks, join, leave
from trainer.run import Event
from trainer.sources import ImageList, SourceError, open_source
from trainer.train import Stopped, train

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped by SIGTERM after a checkpoint; run again to go on


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run it. Exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint."""
    arguments = _parser().parse_args(argv)
    if arguments.parent_pipe is not None:
        _die_with_parent(arguments.parent_pipe)
    torch.set_flush_denormal(True)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        return int(arguments.command(arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except Stopped:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return EXIT_STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Anchor Neighbourhood Discovery on unlabelled images")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="learn an encoder from a folder, a zip or tar archive, or a .jsonl list")
    run.add_argument("data", nargs="?", help="the images; labels are neither needed nor read")
    run.add_argument("--config", type=Path, help='JSON: {"data": ..., "params": {...}, "resume": [folders]}')
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
    run.set_defaults(command=_run)

    judge = commands.add_parser("evaluate", help="judge a finished run with labels")
    judge.add_argument("run", type=Path, nargs="?", help="the run's folder")
    judge.add_argument("--data", help="the images it was trained on; their top folders are the classes")
    judge.add_argument("--held-out", help="images to judge on; without them each training image is judged by the others")
    judge.add_argument("--k", type=int, help="voters; default 200, or 20 with fewer than 5,000 labelled images")
    judge.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    judge.add_argument("--config", type=Path, help='JSON: {"run", "data", "labels", "held_out", "held_out_labels"}')
    judge.add_argument("--out", type=Path, help="also write the result here")
    judge.add_argument("--plot", type=Path, help="draw the neighbours' consistency by round and by entropy here, as a PNG")
    judge.set_defaults(command=_evaluate)

    sets = commands.add_parser("fetch", help="download a benchmark set and write it as zips for --data and --held-out")
    sets.add_argument("name", choices=NAMES)
    sets.add_argument("folder", type=Path)
    sets.set_defaults(command=_fetch, threads=0, parent_pipe=None)
    for command in (run, judge):
        command.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
        command.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    return parser


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


def _run(arguments: argparse.Namespace) -> int:
    given = _read_json(arguments.config) if arguments.config else {}
    params = _parameters(arguments, given)
    ranks, params["device"] = join(str(params.get("device", "auto")))
    try:
        return _train_and_export(arguments, given, params, ranks)
    finally:
        leave()


def _train_and_export(arguments: argparse.Namespace, given: dict[str, Any], params: dict[str, Any], ranks: Ranks) -> int:
    config = TrainConfig.make(params)
    data = arguments.data or given.get("data")
    if not data:
        raise SourceError("name a folder, a zip or tar archive, or a .jsonl list of images")
    images = ranks.once(lambda: _open(data))
    stop = threading.Event()

    def ask_to_stop(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second signal does not wait for a step to end

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {arguments.out}: {error.strerror}") from error
    with open(arguments.out / "events.jsonl" if ranks.leads else os.devnull, "w", encoding="utf-8") as events:
        bar = _Bar()

        def on_event(event: Event) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()
            bar.show(event)

        config, run = train(
            config,
            images,
            arguments.out,
            resume_from=[Path(folder) for folder in given.get("resume", [])],
            extend=arguments.add_rounds is not None,
            on_event=on_event,
            should_stop=stop.is_set,
            checkpoint_seconds=arguments.checkpoint_seconds,
        )
        bar.close()
        # From here on there is nothing to save: the last checkpoint is written.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if ranks.leads:
            on_event({"type": "exporting"})
            from trainer.export import export

            export(config, run, images, arguments.out / "model")
            on_event({"type": "finished"})
        ranks.wait()
    return 0


def _parameters(arguments: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """From the command line over ``--config``, over those of the run that is resumed or extended."""
    params = dict(given.get("params", {}))
    params |= {
        name.removeprefix("param_"): value
        for name, value in vars(arguments).items()
        if name.startswith("param_") and value is not None
    }
    if not (arguments.resume or arguments.add_rounds):
        if "preset" not in params:
            params["preset"] = _earlier_preset([arguments.out, *map(Path, given.get("resume", []))])
        return params
    newest = checkpoints.newest([arguments.out / "checkpoints"])
    if newest is None:
        raise InputError(f"--out {arguments.out}: no intact checkpoint to go on from")
    before = dict(checkpoints.load(newest[1])["config"])
    device = before.pop("device")
    if arguments.add_rounds is None:
        return {"device": _kind(device), **before, **params}
    if newest[0] != Position(before["rounds"]):
        raise InputError(f"--out {arguments.out}: not finished yet; --resume goes on with it, and --add-rounds after that")
    return {"device": _kind(device), **before, **params, "rounds": before["rounds"] + arguments.add_rounds}


def _kind(device: str) -> str:
    """The kind of device a run used; which one of that kind is chosen anew."""
    return "auto" if device.startswith("cuda") else device


def _earlier_preset(folders: Sequence[Path]) -> str | None:
    """The preset of the run that is continued: the default may be another one on this machine."""
    for folder in folders:
        with suppress(InputError, KeyError):
            return str(_read_json(folder / "config.json")["preset"])
    return None


class _Bar:
    """A progress bar on a terminal; how the images are kept and warnings everywhere."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(disable=not sys.stderr.isatty(), unit="epoch")

    def show(self, event: Event) -> None:
        if event["type"] == "started":
            config = event["config"]
            print(event["data"], file=sys.stderr)
            self._bar.reset(config["epochs_first"] + (config["rounds"] - 1) * config["epochs"])
        elif event["type"] == "epoch":
            self._bar.set_postfix_str(
                f"round {event['round']} loss {event['loss']:.3f} {event['images_per_second']:.0f} images/s"
            )
            self._bar.update()
        elif event["type"] == "warning":
            print(f"warning: {event['message']}", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def _evaluate(arguments: argparse.Namespace) -> int:
    given = _read_json(arguments.config) if arguments.config else {}
    run, data = arguments.run or given.get("run"), arguments.data or given.get("data")
    if not run or not data:
        raise SourceError("name the run's folder and, with --data, the images it was trained on")
    held_out = arguments.held_out or given.get("held_out")
    result = evaluate(
        Path(run),
        _labelled(data, given.get("labels")),
        _labelled(held_out, given.get("held_out_labels")) if held_out else None,
        arguments.k,
        arguments.device,
        on_progress=lambda text: print(f"evaluating {text}", file=sys.stderr),
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.plot:
        from trainer.plots import plot_consistency

        plot_consistency(result, arguments.plot)
    print(json.dumps(result))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for path in fetch(arguments.name, arguments.folder):
        print(path)
    return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a JSON object")
    return content


def _labelled(source: str, labels_file: str | None) -> Labelled:
    """Labels from a JSON file {id: label}, else each image's top folder."""
    images = _open(source)
    if labels_file:
        by_id = _read_json(Path(labels_file))
        return Labelled(images, [by_id.get(str(image.id)) for image in images.images])
    folders = [image.path.split("/") for image in images.images]
    return Labelled(images, [parts[0] if len(parts) > 1 else None for parts in folders])


def _open(source: str) -> ImageList:
    listed = open_source(source)
    for path, reason in listed.rejected:
        print(f"skipped {path}: {reason}", file=sys.stderr)
    return listed


def _die_with_parent(descriptor: int) -> None:
    """End this process group when the other end of a pipe closes, that is when the parent is gone, however it went."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
