"""``anchorhood train``."""

import errno
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from anchorhood.commands.console import dataset_line, emit, explained, json_option, notice_lines, say, service
from anchorhood.commands.evaluation import evaluation_lines
from anchorhood.commands.operators import NotInstalled, from_server

PRESETS = ("paper", "released", "quick", "best", "large", "fine-grained")  # as the API's document has them (a test compares)


def _parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
        if name in params:
            raise click.BadParameter(f"{name} is given twice", param_hint="--param")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", help="Of the dataset and the job.  [default: the folder's or file's name]")
@click.option(
    "--labels", type=click.Choice(["none", "folders"]), default="none", show_default=True, help="Top folders as classes."
)
@click.option(
    "--eval", "held_out", type=click.Path(path_type=Path, exists=True), help="Labelled images to judge on, in class folders."
)
@click.option("--preset", type=click.Choice(PRESETS), help="[default: by the device]")
@click.option("--pretrained", is_flag=True, help="Start from what photographs have taught already (init=imagenet).")
@click.option(
    "--frozen", is_flag=True, help="Train nothing: make it searchable with those weights, or those of init, as they are."
)
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A training parameter (docs/presets.md); repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for the model's files.")
@click.option("--local", is_flag=True, help="Train here, without a service; needs --out.")
@json_option
def train(
    path: Path,
    name: str | None,
    labels: str,
    held_out: Path | None,
    preset: str | None,
    pretrained: bool,
    frozen: bool,
    param: tuple[str, ...],
    out: Path | None,
    local: bool,
    as_json: bool,
) -> None:
    """A folder or an archive in, a model out.

    Example: anchorhood train photos/ --pretrained --out model/
    """
    params = _parameters((*param, *([f"preset={preset}"] if preset else []), *(["method=frozen"] if frozen else [])))
    if pretrained and params.get("init", "imagenet") != "imagenet":
        raise click.UsageError(f"--pretrained starts from ImageNet's weights, and init is {params['init']}; give one of the two")
    if pretrained or frozen:
        params.setdefault("init", "imagenet")
    if local and (out is None or held_out is not None):
        raise click.UsageError("--local needs --out, and judges nothing: `python -m trainer evaluate` does")
    if out:
        _make(out)  # before anything is sent or trained
    if local:
        click.get_current_context().invoke(_local_training(), path=path, out=out, params=params, as_json=as_json)
        return
    with service() as client:
        show = not as_json
        client.jobs.check(**params)
        advise(params, show)
        dataset = client.datasets.upload(path, name=name, labels=labels, progress=show)
        with ExitStack() as at_the_end:
            at_the_end.enter_context(explained(client, dataset.id, dataset.left_out))
            judge = client.datasets.upload(held_out, labels="folders", progress=show) if held_out else None
            dataset = dataset.wait()
            if judge:
                with explained(client, judge.id, judge.left_out):
                    judge = judge.wait()
            if show:
                say(dataset_line(dataset), *notice_lines(dataset))
            job = client.jobs.create(dataset, evaluation=judge, name=name, **params).wait(progress=show)
            assert job.model_id is not None
            if out:
                client.models.download_all(job.model_id, out)
            emit(as_json, job, [*evaluation_lines(job.evaluation, job.verdict), f"model {job.model_id} of {job.dataset_id}"])


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def advise(params: dict[str, Any], show: bool) -> None:
    """Say of a training from nothing that nobody asked for what photographs do better with."""
    chosen = params.keys() & {"method", "backbone", "init"} or params.get("preset", "quick") not in ("quick", "best")
    if show and not chosen:
        say("It learns from these images alone; for photographs --pretrained is better and sooner done", err=True)


def _local_training() -> click.Command:
    try:
        return from_server("local_training", "train_here")
    except ModuleNotFoundError as error:
        how = "install it from a checkout: pip install -e '.[server,cpu,train]'"
        raise NotInstalled(f"--local trains here, and the trainer is not installed here ({error}): {how}") from error
