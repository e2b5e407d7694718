"""The answer 202: a job was queued, or the same request had queued it before."""

from typing import Annotated

from fastapi import Header, Response

from core.collections import continuation
from core.jobs.scheduling import QUEUE_OF
from core.store.kinds import JobKind
from core.store.tables import Job
from service.context import Context
from service.schemas.job_bodies import JobBody

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


def accepted(context: Context, response: Response, job: Job, new: bool = True) -> JobBody:
    """Wake a worker for a new job; mark the answer for a job that an earlier request made as a replay."""
    if new:
        context.bell.ring(QUEUE_OF[JobKind(job.kind)])
    else:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job, continuation.continuation_kind(context.settings, job))
