"""``anchorhood datasets`` and ``anchorhood jobs``."""

import csv
from pathlib import Path

import click

from service.cli_client import dataset_line, emit, evaluation_lines, job_line, json_option, service


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
        found = list(client.datasets.list())
        emit(as_json, found, map(dataset_line, found))


@datasets.command("show")
@click.argument("dataset")
@json_option
def show_dataset(dataset: str, as_json: bool) -> None:
    """One dataset, and the files that were refused.

    Example: anchorhood datasets show ds_3f9c0e2b7a61d845
    """
    with service() as client:
        found, refused = client.datasets.get(dataset), list(client.datasets.rejections(dataset))
        lines = [dataset_line(found), *(f"  refused {one.path}: {one.reason} ({one.code})" for one in refused)]
        emit(as_json, {"dataset": found, "rejections": refused}, lines)


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
        dataset = client.datasets.upload(path, name=name, labels=labels, progress=not as_json).wait()
        emit(as_json, dataset, [dataset_line(dataset)])


@datasets.command()
@click.argument("dataset")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@json_option
def add(dataset: str, path: Path, as_json: bool) -> None:
    """Add an image, a folder or an archive to a dataset; searches find it from then on.

    Example: anchorhood datasets add ds_3f9c0e2b7a61d845 more/
    """
    with service() as client:
        client.datasets.add(dataset, path).wait()
        found = client.datasets.get(dataset)
        emit(as_json, found, [dataset_line(found)])


@datasets.command()
@click.argument("dataset")
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def label(dataset: str, table: Path, as_json: bool) -> None:
    """Give labels from a CSV with the columns path (or image_id) and label; an empty label removes one.

    Example: anchorhood datasets label ds_3f9c0e2b7a61d845 labels.csv
    """
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "image_id"} & set(rows[0]) or "label" not in rows[0]:
        raise click.BadParameter(f"{table}: a CSV with the columns path (or image_id) and label is needed", param_hint="TABLE")
    key = "path" if "path" in rows[0] else "image_id"
    if key == "image_id" and not all((row[key] or "").isdigit() for row in rows):
        raise click.BadParameter(f"{table}: image_id must be whole numbers", param_hint="TABLE")
    with service() as client:
        if key == "path":
            counts = client.datasets.label(dataset, {row["path"]: row["label"] or None for row in rows})
        else:
            counts = client.datasets.label(dataset, {int(row["image_id"]): row["label"] or None for row in rows})
        emit(as_json, counts, [", ".join(f"{count:,} {name}" for name, count in counts.items())])


@datasets.command()
@click.argument("dataset")
@json_option
def compact(dataset: str, as_json: bool) -> None:
    """Take what was added and deleted into the model's files; the service does it by itself when enough has changed.

    Example: anchorhood datasets compact ds_3f9c0e2b7a61d845
    """
    with service() as client:
        job = client.datasets.compact(dataset).wait()
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
        client.datasets.delete(dataset)
        emit(as_json, {"deleted": dataset}, [f"{dataset}: deleted"])


@click.group()
def jobs() -> None:
    """Training and other work."""


@jobs.command("list")
@click.option("--kind", help="Such as train.")
@click.option("--status", help="queued, running, succeeded, failed or cancelled.")
@click.option("--dataset", help="Of this dataset.")
@json_option
def list_jobs(kind: str | None, status: str | None, dataset: str | None, as_json: bool) -> None:
    """Jobs, newest first.

    Example: anchorhood jobs list --status running
    """
    with service() as client:
        found = list(client.jobs.list(kind=kind, status=status, dataset=dataset))
        emit(as_json, found, map(job_line, found))


@jobs.command("show")
@click.argument("job")
@json_option
def show_job(job: str, as_json: bool) -> None:
    """One job: where it stands, its accuracy, its error.

    Example: anchorhood jobs show job_0b54c3d2e1f0a987
    """
    with service() as client:
        found = client.jobs.get(job)
        error = [f"error: {found.error['message']} ({found.error['code']})"] if found.error else []
        judged = evaluation_lines(found.evaluation) if found.evaluation else []
        emit(as_json, found, [job_line(found), *error, *judged])


@jobs.command()
@click.argument("job")
@json_option
def follow(job: str, as_json: bool) -> None:
    """Follow a job to its end with a progress bar; exit code 1 where it does not succeed.

    Example: anchorhood jobs follow job_0b54c3d2e1f0a987
    """
    with service() as client:
        found = client.jobs.get(job).wait(progress=not as_json)
        emit(as_json, found, [job_line(found), *(evaluation_lines(found.evaluation) if found.evaluation else [])])


@jobs.command("continue")
@click.argument("job")
@click.option("--add-rounds", type=click.IntRange(1, 20), help="More rounds for a job that succeeded.")
@json_option
def continue_(job: str, add_rounds: int | None, as_json: bool) -> None:
    """Go on from the checkpoints of a training job that is over: one that failed or was cancelled from where it was, one that
    succeeded with more rounds.

    Example: anchorhood jobs continue job_0b54c3d2e1f0a987 --add-rounds 2
    """
    with service() as client:
        found = client.jobs.continue_(job, add_rounds)
        emit(as_json, found, [job_line(found)])


@jobs.command()
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job, while it waits or while it runs.

    Example: anchorhood jobs cancel job_0b54c3d2e1f0a987
    """
    with service() as client:
        found = client.jobs.cancel(job)
        emit(as_json, found, [job_line(found)])
