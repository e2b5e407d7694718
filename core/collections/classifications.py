"""The tables that classifications of whole datasets leave."""

from pathlib import Path

from core.errors import NoTable
from core.settings import Settings
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Job


def table_of(settings: Settings, job: Job) -> Path:
    """The table that a job has left.

    Raises:
        NoTable: it is no classification that succeeded.
    """
    if job.kind != JobKind.CLASSIFY or job.status != JobStatus.SUCCEEDED:
        raise NoTable(f"{job.id} is a {job.kind} job that is {job.status}; only a classification that succeeded has a table")
    return settings.layout.classifications(job.id)
