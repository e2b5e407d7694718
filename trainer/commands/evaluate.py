"""``python -m trainer evaluate``: the figures of a finished run as JSON, and in a sentence what they say."""

import argparse
import logging
from pathlib import Path

import torch

from core.ground import finite
from core.ground.pictures.depths import Depths
from core.ground.reports import EvaluationStep
from core.ground.verdict import verdict
from trainer.commands.inputs import labels_of, open_and_report, read_json
from trainer.data.sources import SourceError
from trainer.evaluation.evaluate import Labelled, evaluate
from trainer.machine.threads import free_cpus
from trainer.progress import Progress

log = logging.getLogger("trainer")


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Judge a run; without ``--log-context`` the figures go to standard output, too. Where ``--threads`` leaves it open, only
    processors are used that nobody else uses: threads that share one wait for each other."""
    if not arguments.threads:
        torch.set_num_threads(min(torch.get_num_threads(), free_cpus()))
    given = read_json(arguments.config) if arguments.config else {}
    run, data = arguments.run or given.get("run"), arguments.data or given.get("data")
    if not run or not data:
        raise SourceError("name the run's folder and, with --data, the images it was trained on")
    held_out = arguments.held_out or given.get("held_out")
    progress = Progress(arguments.progress)

    def tell(text: str, step: EvaluationStep, done: float) -> None:
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


def _labelled(source: str, labels_file: str | None, depths: Depths | None = None) -> Labelled:
    """Images with the labels of a file or of their folders; perhaps with the depths that an encoder has learned."""
    images = open_and_report(source)
    if depths is not None:
        images = images.seen_by(depths)
    return Labelled(images, labels_of(images, labels_file))
