"""The commands that speak to a running service, by the Python client."""

import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from anchorhood import ApiError, Client, Dataset, Job, JobFailed, Unreachable
from core import finite

UNREACHABLE = 3  # exit code where no service answers
F = TypeVar("F", bound=Callable[..., Any])
_ID_OR_FILE = "IMAGE is an image file, or the id of a stored image."


@contextmanager
def service() -> Iterator[Client]:
    """The client of the service that ``--url`` and ``--key`` name; its errors are one line and an exit code."""
    given = click.get_current_context().find_root().params
    try:
        with Client(given["url"], given["key"]) as client:
            yield client
    except Unreachable as error:
        click.echo(f"error: {error}; is it running? `anchorhood serve` starts one", err=True)
        sys.exit(UNREACHABLE)
    except (ApiError, JobFailed, FileNotFoundError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def json_option(command: F) -> F:
    """``--json``: print the result as JSON, and nothing else, on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def emit(as_json: bool, result: Any, lines: Iterable[str]) -> None:
    """Print a result, as JSON or as text."""
    click.echo(finite.dumps(_plain(result)) if as_json else "\n".join(lines))


def _plain(value: Any) -> Any:
    """What JSON can hold of records, without their client."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [known.name for known in dataclasses.fields(value) if known.name != "client"]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def dataset_line(dataset: Dataset) -> str:
    counts = ", ".join(f"{getattr(dataset, name):,} {name}" for name in ("images", "classes", "rejected", "duplicates"))
    return f"{dataset.id}  {dataset.status:10}  {counts}  {dataset.model_id or 'no model':20}  {dataset.name}"


def job_line(job: Job) -> str:
    progress = job.progress or {}
    where = f"round {progress['round']} epoch {progress['epoch']}" if progress.get("epoch") is not None else ""
    return f"{job.id}  {job.kind:8}  {job.status:9}  {where:20}  {job.model_id or '':20}  {job.name or ''}".rstrip()


def accuracy_lines(judged: dict[str, Any]) -> list[str]:
    """A training's kNN accuracy beside that of an untrained encoder and of raw pixels."""
    of = "held-out images" if judged["held_out"] else "training images, each left out of its own vote"
    names = {"this embedding": "knn", "an untrained encoder": "untrained", "raw pixels": "raw_pixel"}
    return [
        f"kNN accuracy, K {judged['k']}, on {judged['queries']:,} {of}:",
        *(f"  {name:<22}{judged[f'{key}_accuracy']:7.1%}" for name, key in names.items()),
    ]


def evaluation_lines(judged: dict[str, Any] | None) -> list[str]:
    """What a training's evaluation found, or why there is none."""
    if not judged or judged.get("knn_accuracy") is None:
        return ["no labels, so no accuracy: upload with --labels folders, or label some images"]
    return [*accuracy_lines(judged), *(f"warning: {warning}" for warning in judged["warnings"])]


def _parameters(given: tuple[str, ...]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
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
@click.option("--preset", help="paper, released or quick.  [default: by the device]")
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
    param: tuple[str, ...],
    out: Path | None,
    local: bool,
    as_json: bool,
) -> None:
    """A folder or an archive in, a model out.

    Example: anchorhood train photos/ --preset quick --out model/
    """
    params = _parameters(param) | ({"preset": preset} if preset else {})
    if local:
        if out is None or held_out is not None:
            raise click.UsageError("--local needs --out, and judges nothing: `python -m trainer evaluate` does")
        _train_here(path, out, params, as_json)
        return
    with service() as client:
        show = not as_json
        dataset = client.datasets.upload(path, name=name, labels=labels, progress=show)
        judge = client.datasets.upload(held_out, labels="folders", progress=show) if held_out else None
        dataset, judge = dataset.wait(), judge.wait() if judge else None
        if show:
            click.echo(dataset_line(dataset))
        job = client.jobs.create(dataset, evaluation=judge, name=name, **params).wait(progress=show)
        assert job.model_id is not None
        if out:
            out.mkdir(parents=True, exist_ok=True)
            for file in ["manifest.json", *(client.models.get(job.model_id).manifest or {})["files"]]:
                client.models.download(job.model_id, file, out / file)
        emit(as_json, job, [*evaluation_lines(job.evaluation), f"model {job.model_id} of {job.dataset_id}"])


def _train_here(path: Path, out: Path, params: dict[str, Any], as_json: bool) -> None:
    options = [part for key, value in params.items() for part in (f"--{key.replace('_', '-')}", *_words(value))]
    command = [sys.executable, "-m", "trainer", "run", str(path), "--out", str(out), *options]
    code = subprocess.run(command, stdout=sys.stderr if as_json else None, check=False).returncode
    if code:
        sys.exit(1)
    emit(as_json, {"model": str(out / "model")}, [f"model in {out / 'model'}"])


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
        found = client.neighbours(image_of(image), k, dataset=dataset, model=model, min_score=min_score, **only)
        result = {"model_id": found.model_id, "neighbours": list(found)}
        emit(as_json, result, [f"{n.score:7.4f}  {n.image_id:>8}  {n.label or '-':16}  {n.path}" for n in found])


@click.command(epilog=_ID_OR_FILE)
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option("--all", "dataset_all", metavar="DATASET", help="Classify a whole dataset instead; needs --out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A CSV file for --all.")
@click.option("--dataset", help="By whose labels.  [default: the image's own, or the only model]")
@click.option("-k", type=int, default=200, show_default=True, help="Number of voters.")
@click.option("--min-confidence", type=float, default=0.0, show_default=True, help="Unknown below it.")
@json_option
def classify(
    images: tuple[str, ...],
    dataset_all: str | None,
    out: Path | None,
    dataset: str | None,
    k: int,
    min_confidence: float,
    as_json: bool,
) -> None:
    """Classes by the votes of the labelled images.

    Example: anchorhood classify query.jpg
    """
    if bool(images) == bool(dataset_all) or bool(dataset_all) != bool(out):
        raise click.UsageError("give images, or --all DATASET with --out FILE")
    with service() as client:
        if dataset_all and out:
            job = client.datasets.classify(dataset_all, k, min_confidence).wait()
            text = client.jobs.classifications_csv(job)
            out.write_text(text, encoding="utf-8", newline="")
            count = sum(1 for _ in csv.reader(io.StringIO(text, newline=""))) - 1
            emit(as_json, {"job_id": job.id, "out": str(out)}, [f"{out}: {count:,} images"])
            return
        found = [client.classify(image_of(i), k=k, min_confidence=min_confidence, dataset=dataset) for i in images]
        lines = [f"{c.label or 'unknown':16}  {c.confidence:6.1%}  {i}" for i, c in zip(images, found, strict=True)]
        emit(as_json, [{"image": i, **_plain(c)} for i, c in zip(images, found, strict=True)], lines)
