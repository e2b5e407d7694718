"""``anchorhood jobs``."""

import click

from anchorhood.commands.console import emit, job_line, json_option, service
from anchorhood.commands.evaluation import evaluation_lines
from anchorhood.commands.names import dataset_id, job_id
from anchorhood.jobs import Job

# As the API's document has them (a test compares).
KINDS = ("ingest", "train", "embed", "classify", "compact", "attention")
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


@click.group()
def jobs() -> None:
    """Training and other work."""


@jobs.command("list")
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--dataset", help="Of this dataset.")
@json_option
def list_jobs(kind: str | None, status: str | None, dataset: str | None, as_json: bool) -> None:
    """Jobs, newest first.

    Example: anchorhood jobs list --status running
    """
    with service() as client:
        listed = list(client.jobs.list(kind=kind, status=status, dataset=dataset_id(client, dataset)))
        emit(as_json, listed, map(job_line, listed))


@jobs.command("show")
@click.argument("job")
@json_option
def show_job(job: str, as_json: bool) -> None:
    """One job: where it stands, its accuracy, its error.

    Example: anchorhood jobs show job_0b54c3d2e1f0a987
    """
    with service() as client:
        record = client.jobs.get(job_id(client, job))
        error = [f"error: {record.error['message']} ({record.error['code']})"] if record.error else []
        emit(as_json, record, [job_line(record), *error, *_evaluation_lines(record)])


@jobs.command()
@click.argument("job")
@json_option
def follow(job: str, as_json: bool) -> None:
    """Follow a job to its end with a progress bar; exit code 1 where it does not succeed.

    Example: anchorhood jobs follow job_0b54c3d2e1f0a987
    """
    with service() as client:
        record = client.jobs.get(job_id(client, job)).wait(progress=not as_json)
        emit(as_json, record, [job_line(record), *_evaluation_lines(record)])


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
        record = client.jobs.continue_(job_id(client, job), add_rounds)
        emit(as_json, record, [job_line(record)])


@jobs.command()
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job, while it waits or while it runs.

    Example: anchorhood jobs cancel job_0b54c3d2e1f0a987
    """
    with service() as client:
        record = client.jobs.cancel(job_id(client, job))
        emit(as_json, record, [job_line(record)])


def _evaluation_lines(job: Job) -> list[str]:
    return evaluation_lines(job.evaluation, job.verdict) if job.evaluation else []
