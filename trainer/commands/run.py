"""``python -m trainer run``: from the command line to a trained and exported run."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.ground import finite
from core.ground.folders import Position, RunFolder
from core.ground.methods import METHODS
from core.ground.reports import Event
from trainer import checkpoints
from trainer.commands.inputs import labels_of, open_and_report, read_json
from trainer.config import InputError, TrainConfig
from trainer.data.sources import SourceError
from trainer.machine.ranks import Ranks, join, leave
from trainer.progress import Progress
from trainer.train import train

log = logging.getLogger("trainer")


def run_command(arguments: argparse.Namespace) -> int:
    """Train, or go on training, and export. Under ``torchrun`` every rank runs this."""
    given = read_json(arguments.config) if arguments.config else {}
    config = _configuration(arguments, given)
    ranks, device = join(config.device)
    try:
        return _train_and_export(arguments, given, replace(config, device=device), ranks)
    finally:
        leave()


def _train_and_export(arguments: argparse.Namespace, given: dict[str, Any], config: TrainConfig, ranks: Ranks) -> int:
    data = arguments.data or given.get("data")
    if not data:
        raise SourceError("name a folder, a zip or tar archive, or a .jsonl list of images")
    images = ranks.once(lambda: open_and_report(data))
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
    out = RunFolder(arguments.out)
    with open(out.events if ranks.leads else os.devnull, "w", encoding="utf-8") as events:
        bar, progress = _Bar(), Progress(out.progress if ranks.leads else None)

        def on_event(event: Event) -> None:
            events.write(finite.dumps(event) + "\n")
            events.flush()
            bar.show(event)

        labels = labels_of(images, given.get("labels")) if METHODS[config.method].reads_labels else None
        config, run = train(
            config,
            images,
            arguments.out,
            resume_from=[Path(folder) for folder in given.get("resume", [])],
            extend=arguments.add_rounds is not None or bool(given.get("extend")),
            on_event=on_event,
            should_stop=stop.is_set,
            checkpoint_seconds=arguments.checkpoint_seconds,
            progress=progress,
            labels=labels,
            fixed_threads=arguments.threads > 0,
        )
        bar.close()
        # From here on there is nothing to save: the last checkpoint is written.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if ranks.leads:
            on_event({"type": "exporting"})
            from trainer.export import export

            export(config, run, images, out.model, progress)
            on_event({"type": "finished"})
        ranks.wait()
    return 0


def _configuration(arguments: argparse.Namespace, given: dict[str, Any]) -> TrainConfig:
    """The command line over ``--config``, over the run that is resumed or extended, or else the preset."""
    params = dict(given.get("params", {}))
    params |= {
        name.removeprefix("param_"): value
        for name, value in vars(arguments).items()
        if name.startswith("param_") and value is not None
    }
    if not (arguments.resume or arguments.add_rounds):
        return TrainConfig.make(params, run=_earlier([arguments.out, *map(Path, given.get("resume", []))]))
    newest = checkpoints.newest([RunFolder(arguments.out).checkpoints])
    if newest is None:
        raise InputError(f"--out {arguments.out}: no intact checkpoint to go on from")
    before = dict(checkpoints.load(newest[1])["config"])
    before["device"] = _kind(before["device"])
    if arguments.add_rounds is None:
        return TrainConfig.make(params, run=before)
    if newest[0] != Position(before["rounds"]):
        raise InputError(f"--out {arguments.out}: not finished yet; --resume goes on with it, and --add-rounds after that")
    return TrainConfig.make({**params, "rounds": before["rounds"] + arguments.add_rounds}, run=before)


def _kind(device: str) -> str:
    """The kind of device a run used; which one of that kind is chosen anew."""
    return "auto" if device.startswith("cuda") else device


def _earlier(folders: Sequence[Path]) -> dict[str, Any]:
    """The configuration of the run that is continued, but the device, which is chosen anew. One that has no checkpoint yet has
    nothing to be true to."""
    for folder in folders:
        if checkpoints.newest([RunFolder(folder).checkpoints]) is None:
            continue
        with suppress(InputError):
            params = read_json(RunFolder(folder).config)
            params.pop("device", None)
            return params
    return {}


class _Bar:
    """A progress bar on a terminal; how the images are kept and warnings everywhere."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(disable=not sys.stderr.isatty(), unit="epoch")

    def show(self, event: Event) -> None:
        if event["type"] == "started":
            config = event["config"]
            log.info(event["data"])
            self._bar.reset(config["epochs_first"] + (config["rounds"] - 1) * config["epochs"])
        elif event["type"] == "epoch":
            self._bar.set_postfix_str(
                f"round {event['round']} loss {event['loss']:.3f} {event['images_per_second']:.0f} images/s"
            )
            self._bar.update()
        elif event["type"] == "warning":
            log.warning(event["message"])

    def close(self) -> None:
        self._bar.close()
