"""The command line of ``python -m trainer``."""

import argparse
import json
from pathlib import Path
from typing import Any

from core.ground.parameters import PARAMETERS, Parameter
from trainer.commands.attention import attention_command
from trainer.commands.evaluate import evaluate_command
from trainer.commands.export import export_command
from trainer.commands.fetch import fetch_command
from trainer.commands.run import run_command
from trainer.data.benchmark_sets import NAMES


def parser() -> argparse.ArgumentParser:
    """What ``python -m trainer`` takes; ``command`` of the parsed arguments is the function to call with them."""
    whole = argparse.ArgumentParser(prog="python -m trainer", description="Anchor Neighbourhood Discovery on unlabelled images")
    commands = whole.add_subparsers(required=True)
    run = commands.add_parser("run", help="learn an encoder from a folder, a zip or tar archive, or a .jsonl list")
    run.add_argument(
        "data",
        nargs="?",
        help="the images; labels are neither needed nor read, but by --method supervised, which reads the top folders",
    )
    run.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help='JSON: {"data": ..., "params": {...}, "resume": [folders], "extend": true where these had fewer rounds}',
    )
    run.add_argument(
        "--out", type=Path, metavar="FOLDER", required=True, help="the run's folder; an unfinished run in it is continued"
    )
    run.add_argument(
        "--checkpoint-seconds", type=float, default=15.0, metavar="S", help="between checkpoints within a round; default 15"
    )
    again = run.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run in --out, with its own parameters")
    again.add_argument("--add-rounds", type=_positive, metavar="N", help="train the finished run in --out for N more rounds")
    parameters = run.add_argument_group("training parameters", "override the preset; docs/presets.md explains each")
    for name, parameter in PARAMETERS.items():
        _add_parameter(parameters, name, parameter)
    run.set_defaults(command=run_command)

    judge = commands.add_parser("evaluate", help="judge a finished run with labels")
    judge.add_argument("run", type=Path, nargs="?", help="the run's folder")
    judge.add_argument("--data", metavar="IMAGES", help="the images it was trained on; their top folders are the classes")
    judge.add_argument(
        "--held-out", metavar="IMAGES", help="images to judge on; without them each training image is judged by the others"
    )
    judge.add_argument("--k", type=int, metavar="N", help="voters; default 200, or 20 with fewer than 5,000 labelled images")
    judge.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    judge.add_argument(
        "--config", type=Path, metavar="FILE", help='JSON: {"run", "data", "labels", "held_out", "held_out_labels"}'
    )
    judge.add_argument("--out", type=Path, metavar="FILE", help="also write the result here")
    judge.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    judge.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the neighbours' consistency by round and by entropy here, as a PNG"
    )
    judge.set_defaults(command=evaluate_command)

    look = commands.add_parser("attention", help="where the encoder of each finished round looks")
    look.add_argument("run", type=Path, nargs="?", help="the run's folder")
    look.add_argument("--data", metavar="IMAGES", help="the images it was trained on")
    look.add_argument("--images", nargs="+", default=[], metavar="PATH", help="paths in the data")
    look.add_argument(
        "--config", type=Path, metavar="FILE", help='JSON: {"run", "data", "pairs": [[image id, neighbour\'s id], ...]}'
    )
    look.add_argument(
        "--out", type=Path, metavar="FILE", required=True, help="an .npz file of maps, or a .png with the rounds side by side"
    )
    look.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    look.set_defaults(command=attention_command)

    result = commands.add_parser("export", help="write the encoder and embeddings of a finished round")
    result.add_argument("run", type=Path, nargs="?", help="the run's folder")
    result.add_argument("--data", metavar="IMAGES", help="the images it was trained on")
    result.add_argument(
        "--round", type=int, metavar="N", help="0 is the first; that of a start from weights is these weights as they were"
    )
    result.add_argument("--config", type=Path, metavar="FILE", help='JSON: {"run", "data", "round"}')
    result.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="the folder to write")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    result.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    result.set_defaults(command=export_command)

    sets = commands.add_parser("fetch", help="download a benchmark set and write it as zips for --data and --held-out")
    sets.add_argument("name", choices=NAMES)
    sets.add_argument("folder", type=Path)
    sets.set_defaults(command=fetch_command, threads=0, parent_pipe=None, log_context=None)
    for command in (run, judge, look, result):
        command.add_argument(
            "--threads",
            type=int,
            default=0,
            metavar="N",
            help="CPU threads (0: run measures what is fastest, others take what torch does)",
        )
        command.add_argument(
            "--log-context", type=json.loads, metavar="JSON", help="say everything as JSON lines with these fields"
        )
        command.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    return whole


def _add_parameter(group: argparse._ArgumentGroup, name: str, parameter: Parameter) -> None:
    """An option for a training parameter, ``param_<name>`` of the parsed arguments. ``TrainConfig.make`` checks its value, as it
    does where the value comes from a file."""
    metavar: str | tuple[str, ...] = name.upper()
    if parameter.parts:
        metavar = tuple(part.upper() for part in parameter.parts)
    elif parameter.choices or parameter.boolean:
        metavar = "{" + ",".join(parameter.choices or ("true", "false")) + "}"
    elif parameter.bounds:
        metavar = "N" if parameter.integer else "X"
    bounds = f" {parameter.allowed}." if parameter.bounds else ""
    group.add_argument(
        f"--{name.replace('_', '-')}",
        dest=f"param_{name}",
        metavar=metavar,
        help=(parameter.help + bounds).replace("%", "%%"),
        nargs=len(parameter.parts) or None,
        type=_literal,
    )


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
