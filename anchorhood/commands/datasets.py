"""``anchorhood datasets``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from anchorhood.commands.console import dataset_line, emit, explained, job_line, json_option, notice_lines, refused_lines, service
from anchorhood.commands.names import dataset_id


@click.group()
def datasets() -> None:
    """Collections of images."""


@datasets.command("list")
@json_option
def list_datasets(as_json: bool) -> None:
    """All datasets.

    Example: anchorhood datasets list
    """
    with service() as client:
        listed = list(client.datasets.list())
        emit(as_json, listed, map(dataset_line, listed))


@datasets.command("show")
@click.argument("dataset")
@json_option
def show_dataset(dataset: str, as_json: bool) -> None:
    """One dataset, by its id or its name, and the files that were refused.

    Example: anchorhood datasets show ds_3f9c0e2b7a61d845
    """
    with service() as client:
        record = client.datasets.get(dataset_id(client, dataset))
        refused = list(client.datasets.rejections(record))
        unlisted = client.datasets.unlisted_rejections(record)
        lines = [dataset_line(record), *notice_lines(record), *refused_lines(refused, unlisted)]
        emit(as_json, {"dataset": record, "rejections": refused, "unlisted": unlisted}, lines)


@datasets.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", help="[default: the folder's or file's name]")
@click.option(
    "--labels", type=click.Choice(["none", "folders"]), default="none", show_default=True, help="Top folders as classes."
)
@json_option
def upload(path: Path, name: str | None, labels: str, as_json: bool) -> None:
    """Upload a folder or an archive, and wait until it is validated.

    Example: anchorhood datasets upload photos/ --labels folders
    """
    with service() as client:
        dataset = client.datasets.upload(path, name=name, labels=labels, progress=not as_json)
        with explained(client, dataset.id, dataset.left_out):
            dataset = dataset.wait()
            emit(as_json, dataset, [dataset_line(dataset), *notice_lines(dataset)])


@datasets.command()
@click.argument("dataset")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@json_option
def add(dataset: str, path: Path, as_json: bool) -> None:
    """Add an image, a folder or an archive to a dataset; searches find it from then on.

    Example: anchorhood datasets add ds_3f9c0e2b7a61d845 more/
    """
    with service() as client:
        id_ = dataset_id(client, dataset)
        job = client.datasets.add(id_, path, progress=not as_json)
        with explained(client, id_, job.left_out, job):
            job.wait()
            record = replace(client.datasets.get(id_), left_out=job.left_out)
            emit(as_json, record, [dataset_line(record), *notice_lines(record)])


@datasets.command()
@click.argument("dataset")
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def label(dataset: str, table: Path, as_json: bool) -> None:
    """Give labels from a table with the columns path (or image_id) and label; an empty label removes one.

    The table is in UTF-8, or UTF-16 with a byte order mark, with commas, semicolons or tabs between its cells.

    Example: anchorhood datasets label ds_3f9c0e2b7a61d845 labels.csv
    """
    with service() as client:
        counts = client.datasets.label_table(dataset_id(client, dataset), table)
        emit(as_json, counts, [", ".join(f"{count:,} {name}" for name, count in counts.items())])


@datasets.command()
@click.argument("dataset")
@click.option("--name", help="A new name.")
@click.option("--metadata", metavar="JSON", help="New metadata of yours, an object; it takes the place of all of the old.")
@json_option
def update(dataset: str, name: str | None, metadata: str | None, as_json: bool) -> None:
    """Give a dataset another name or other metadata.

    Example: anchorhood datasets update ds_3f9c0e2b7a61d845 --name photographs
    """
    if name is None and metadata is None:
        raise click.UsageError("give --name, --metadata or both")
    with service() as client:
        record = client.datasets.update(dataset_id(client, dataset), name=name, metadata=_object(metadata))
        emit(as_json, record, [dataset_line(record)])


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="--metadata") from error
    if value is not None and not isinstance(value, dict):
        raise click.BadParameter("is not a JSON object", param_hint="--metadata")
    return value


@datasets.command()
@click.argument("dataset")
@json_option
def compact(dataset: str, as_json: bool) -> None:
    """Take what was added and deleted into the model's files; the service does it by itself when enough has changed.

    Example: anchorhood datasets compact ds_3f9c0e2b7a61d845
    """
    with service() as client:
        job = client.datasets.compact(dataset_id(client, dataset)).wait()
        emit(as_json, job, [job_line(job)])


@datasets.command("delete")
@click.argument("dataset")
@click.confirmation_option(prompt="Delete it with its images, jobs and models?")
@json_option
def delete_dataset(dataset: str, as_json: bool) -> None:
    """Delete a dataset with its images, jobs and models.

    Example: anchorhood datasets delete ds_3f9c0e2b7a61d845 --yes
    """
    with service() as client:
        id_ = dataset_id(client, dataset)
        client.datasets.delete(id_)
        emit(as_json, {"deleted": id_}, [f"{id_}: deleted"])
