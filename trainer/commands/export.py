"""``python -m trainer export``: the results of a finished round, not only of the last one."""

import argparse
from pathlib import Path

import torch

from core.ground.folders import RunFolder
from trainer import checkpoints
from trainer.commands.inputs import open_and_report, read_json
from trainer.config import InputError, TrainConfig
from trainer.machine.ranks import Ranks
from trainer.progress import Progress
from trainer.resolve import resolve_device
from trainer.run import Run


def export_command(arguments: argparse.Namespace) -> int:
    """Write what ``trainer.export.export`` writes, as it was at the end of one round."""
    given = read_json(arguments.config) if arguments.config else {}
    folder, data = arguments.run or given.get("run"), arguments.data or given.get("data")
    number = arguments.round if arguments.round is not None else given.get("round")
    if not folder or not data or number is None:
        raise InputError("name the run's folder, its images (--data) and the round (--round)")
    ends = dict(checkpoints.round_ends(RunFolder(Path(folder)).checkpoints))
    if number not in ends:
        finished = ", ".join(map(str, sorted(ends))) or "none"
        raise InputError(f"--round {number}: is no finished round of {folder}; finished: {finished}")
    images = open_and_report(data)
    state = checkpoints.load(ends[number])
    if state["images"] != images.fingerprint:
        raise InputError(f"{folder} was trained on other images than the ones given")
    config = TrainConfig.make({"device": str(resolve_device(arguments.device))}, run=state["config"])
    run = Run.start(config, images.fingerprint, len(images.images), torch.device(config.device), Ranks())
    run.restore(state, config)
    from trainer.export import export

    export(config, run, images, arguments.out, Progress(arguments.progress))
    return 0
