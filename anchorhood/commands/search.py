"""``anchorhood neighbours`` and ``classify``."""

import csv
import io
from pathlib import Path
from typing import Any

import click

from anchorhood.commands.console import emit, json_option, service, to_json
from anchorhood.commands.names import dataset_id, model_id
from anchorhood.models import writing

_ID_OR_FILE = "IMAGE is an image file, or the id of a stored image."


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
        answer = client.neighbours(image_of(image), k, min_score=min_score, **where, **only)
        result = {"model_id": answer.model_id, "neighbours": list(answer)}
        emit(as_json, result, [f"{n.score:7.4f}  {n.image_id:>8}  {n.label or '-':16}  {n.path}" for n in answer])


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
        emit(as_json, [{"image": i, **to_json(c)} for i, c in both], lines)
