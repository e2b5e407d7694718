"""The commands that speak to a running service, by the Python client."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from anchorhood.models import writing
from core.ground.parameters import PRESETS
from service.commands.console import (
    dataset_line,
    emit,
    evaluation_lines,
    explained,
    json_option,
    notice_lines,
    plain,
    say,
    service,
)
from service.commands.names import dataset_id, model_id
from service.schemas.jobs import ParamsCheck

_ID_OR_FILE = "IMAGE is an image file, or the id of a stored image."


def _parameters(given: tuple[str, ...]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found:
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
        assert out is not None
        _train_here(path, out, params, as_json)
        return
    with service() as client:
        show = not as_json
        client.jobs.check(**params)
        _advise(params, show)
        dataset = client.datasets.upload(path, name=name, labels=labels, progress=show)
        with ExitStack() as at_the_end:
            at_the_end.enter_context(explained(client, dataset.id, dataset.left_out))
            judge = client.datasets.upload(held_out, labels="folders", progress=show) if held_out else None
            dataset = dataset.wait()
            if judge:
                with explained(client, judge.id, judge.left_out):
                    judge = judge.wait()
            if show:
                say("\n".join([dataset_line(dataset), *notice_lines(dataset)]))
            job = client.jobs.create(dataset, evaluation=judge, name=name, **params).wait(progress=show)
            assert job.model_id is not None
            if out:
                for file in ["manifest.json", *(client.models.get(job.model_id).manifest or {})["files"]]:
                    client.models.download(job.model_id, file, out / file)
            emit(as_json, job, [*evaluation_lines(job.evaluation), f"model {job.model_id} of {job.dataset_id}"])


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _train_here(path: Path, out: Path, params: dict[str, Any], as_json: bool) -> None:
    from fastapi.exceptions import RequestValidationError

    from service.bodies import validated

    try:
        validated(ParamsCheck, {"params": params})
    except RequestValidationError as error:
        first = error.errors()[0]
        raise click.BadParameter(f"{first['loc'][-1]}: {first['msg']}", param_hint="--param") from error
    _advise(params, not as_json)
    options = [part for key, value in params.items() for part in (f"--{key.replace('_', '-')}", *_words(value))]
    command = [sys.executable, "-m", "trainer", "run", str(path), "--out", str(out), *options]
    code = subprocess.run(command, stdout=sys.stderr if as_json else None, check=False).returncode
    if code:
        sys.exit(1)
    emit(as_json, {"model": str(out / "model")}, [f"model in {out / 'model'}"])


def _advise(params: dict[str, Any], show: bool) -> None:
    """Say of a training from nothing that nobody asked for what photographs do better with."""
    asked = params.keys() & {"method", "backbone", "init"} or params.get("preset") in ("paper", "released")
    if show and not asked:
        say("It learns from these images alone; for photographs --pretrained is better and sooner done", err=True)


def _words(value: Any) -> list[str]:
    return [
        str(item).lower() if isinstance(item, bool) else str(item) for item in (value if isinstance(value, list) else [value])
    ]


def image_of(text: str) -> int | Path:
    """An image's id or its file."""
    if Path(text).is_file():
        return Path(text)
    if text.isdigit():
        return int(text)
    raise click.BadParameter(f"{text}: neither a file nor an image's id", param_hint="IMAGE")


@click.command(epilog=_ID_OR_FILE)
@click.argument("image")
@click.option("-k", type=int, default=10, show_default=True, help="How many.")
@click.option("--dataset", help="Where to search.  [default: the image's own, or the only model]")
@click.option("--model", help="Another model than the current one.")
@click.option("--label", multiple=True, help="Only images with this label; repeatable.")
@click.option("--min-score", type=float, help="Least cosine similarity.")
@json_option
def neighbours(
    image: str, k: int, dataset: str | None, model: str | None, label: tuple[str, ...], min_score: float | None, as_json: bool
) -> None:
    """The most similar images of a file or of a stored image.

    Example: anchorhood neighbours query.jpg -k 5
    """
    with service() as client:
        only: dict[str, Any] = {"label": list(label)} if label else {}
        where: dict[str, Any] = {"dataset": dataset_id(client, dataset), "model": model_id(client, model)}
        found = client.neighbours(image_of(image), k, min_score=min_score, **where, **only)
        result = {"model_id": found.model_id, "neighbours": list(found)}
        emit(as_json, result, [f"{n.score:7.4f}  {n.image_id:>8}  {n.label or '-':16}  {n.path}" for n in found])


@click.command(epilog=_ID_OR_FILE)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("--all", "dataset_all", metavar="DATASET", help="Classify a whole dataset instead; needs --out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A CSV file for --all.")
@click.option("--dataset", help="By whose labels.  [default: the image's own, or the only model]")
@click.option("-k", type=int, help="Number of voters.  [default: 200; with --all the most accurate by leave-one-out]")
@click.option("--min-confidence", type=float, default=0.0, show_default=True, help="Unknown below it.")
@click.option("--min-labels", type=int, default=3, show_default=True, help="Labels that each of two classes must have.")
@json_option
def classify(
    images: tuple[str, ...],
    dataset_all: str | None,
    out: Path | None,
    dataset: str | None,
    k: int | None,
    min_confidence: float,
    min_labels: int,
    as_json: bool,
) -> None:
    """Classes by the votes of the labelled images.

    Example: anchorhood classify query.jpg
    """
    if bool(images) == bool(dataset_all) or bool(dataset_all) != bool(out):
        raise click.UsageError("give images, or --all DATASET with --out FILE")
    with service() as client:
        if dataset_all and out:
            with writing(out) as file:
                job = client.datasets.classify(dataset_id(client, dataset_all), k, min_confidence, min_labels).wait()
                text = client.jobs.classifications_csv(job)
                file.write(text.encode())
            how = job.progress or {}
            count = sum(1 for _ in csv.reader(io.StringIO(text, newline=""))) - 1
            lines = [f"{out}: {count:,} images, " + (how["abstained"] or f"K {how['k']}")]
            emit(as_json, {"job_id": job.id, "out": str(out), **how}, lines)
            return
        where = dataset_id(client, dataset)
        how = {"k": k or 200, "min_confidence": min_confidence, "min_labels": min_labels, "dataset": where}
        both = [(i, client.classify(image_of(i), **how)) for i in images]
        lines = [f"{c.label or 'unknown':16}  {c.abstained or f'{c.confidence:6.1%}'}  {i}" for i, c in both]
        emit(as_json, [{"image": i, **plain(c)} for i, c in both], lines)
