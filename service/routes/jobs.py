"""Training jobs: submit, follow, cancel."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core import datasets, idempotency, jobs, votes
from core.errors import BadParameters, DatasetNotReady, NoTable
from core.models import DatasetStatus, Job, JobEvent, JobKind, JobStatus, Metric, Model, Queue, now
from service.context import Context, Ctx, Reading
from service.schemas import MAX_ID, ClassifyAll, EventBody, EventPage, JobBody, JobPage, JobRequest, MetricBody, MetricsBody

router = APIRouter(tags=["jobs"])
Limit = Annotated[int, Query(ge=1, le=1000)]
_STREAM_PAGE = 500
_COMMENT_EVERY = 15  # seconds without an event


@router.post("/jobs", status_code=202)
def create_job(
    request: JobRequest,
    response: Response,
    context: Ctx,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> JobBody:
    """Queue a training job; it starts when its datasets are ready. The same ``Idempotency-Key`` again gives the same job."""
    if request.evaluation_dataset_id == request.dataset_id:
        raise BadParameters("evaluation_dataset_id: is the dataset to train on; without it images judge each other")
    if idempotency_key is None:
        with context.db.write() as session:
            job, new = _create(session, request), True
    else:
        asked = request.model_dump(mode="json")
        job, new = idempotency.job_once(context.db, idempotency_key, asked, lambda session: _create(session, request))
    if new:
        context.bell.ring(Queue.TRAINING)
    else:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/jobs/{job.id}"
    return body(job)


def _create(session: Session, request: JobRequest) -> Job:
    named = (request.dataset_id, request.evaluation_dataset_id)
    for dataset_id in sorted(id_ for id_ in named if id_ is not None):
        dataset = datasets.get_for_job(session, dataset_id)
        if dataset.status == DatasetStatus.FAILED:
            raise DatasetNotReady(f"{dataset_id} failed validation: {(dataset.error or {}).get('message')}")
    init = request.params.init or ""
    if init.startswith("mdl_") and session.get(Model, init) is None:
        raise BadParameters(f"init: there is no model {init}")
    return jobs.create(
        session,
        JobKind.TRAIN,
        request.dataset_id,
        params=request.params.model_dump(exclude_none=True, mode="json"),
        evaluation_dataset_id=request.evaluation_dataset_id,
        name=request.name,
        metadata=request.metadata,
    )


@router.post("/datasets/{dataset_id}/classifications", status_code=202)
def classify_all(dataset_id: str, request: ClassifyAll, response: Response, context: Ctx) -> JobBody:
    """Classify every image of a dataset by the votes of the labelled ones, as a job; its table is
    ``GET /jobs/{job_id}/classifications``."""
    view = context.searcher.view(dataset_id=dataset_id, model_id=request.model_id)
    view.require_voters()  # 409 now rather than a failed job
    with context.db.write() as session:
        datasets.get_for_job(session, dataset_id)
        params = {**request.model_dump(), "model_id": view.model_id}
        job = jobs.create(session, JobKind.CLASSIFY, dataset_id, params=params)
    context.bell.ring(Queue.TASKS)
    response.headers["Location"] = f"/jobs/{job.id}"
    return body(job)


@router.get(
    "/jobs/{job_id}/classifications",
    response_class=FileResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "image_id, path, label, predicted, confidence"}},
)
def get_classifications(job_id: str, session: Reading, context: Ctx) -> FileResponse:
    """The table of a finished classification: ``predicted`` is empty below the least confidence asked for."""
    job = jobs.get(session, job_id)
    if job.kind != JobKind.CLASSIFY or job.status != JobStatus.SUCCEEDED:
        raise NoTable(f"{job_id} is a {job.kind} job that is {job.status}; only a classification that succeeded has a table")
    return FileResponse(votes.table_path(context.settings, job_id), media_type="text/csv", filename=f"{job_id}.csv")


@router.get("/jobs")
def list_jobs(session: Reading, limit: Limit = 100, after: str | None = None, kind: JobKind | None = None) -> JobPage:
    """All jobs in the order of submission."""
    wanted = select(Job).order_by(Job.seq).limit(limit + 1)
    if after is not None:
        wanted = wanted.where(Job.seq > jobs.get(session, after).seq)
    if kind is not None:
        wanted = wanted.where(Job.kind == kind)
    rows = session.scalars(wanted).all()
    return JobPage(data=[body(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None)


@router.get("/jobs/{job_id}")
def get_job(job_id: str, session: Reading) -> JobBody:
    """One job."""
    return body(jobs.get(session, job_id))


@router.get("/jobs/{job_id}/metrics")
def list_metrics(job_id: str, session: Reading, points: Annotated[int, Query(ge=2, le=10_000)] = 500) -> MetricsBody:
    """Figures of every epoch, in order; of more than ``points`` epochs evenly spaced ones, the first and last among them."""
    jobs.get(session, job_id)
    rows = session.scalars(select(Metric).where(Metric.job_id == job_id).order_by(Metric.round, Metric.epoch)).all()
    if len(rows) > points:
        rows = [rows[round(number * (len(rows) - 1) / (points - 1))] for number in range(points)]
    return MetricsBody(data=[MetricBody.model_validate(row, from_attributes=True) for row in rows])


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, context: Ctx) -> JobBody:
    """Cancel a job: at once while it is queued, within seconds while it runs."""
    with context.db.write() as session:
        job = jobs.request_cancel(session, job_id)
    if job.status == JobStatus.CANCELLED and "upload" in job.params:
        datasets.upload_path(context.settings, job.params["upload"]).unlink(missing_ok=True)
    return body(job)


@router.get(
    "/jobs/{job_id}/events",
    response_model=EventPage,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A page, or a stream where that is accepted"}},
)
async def list_events(
    job_id: str,
    request: Request,
    context: Ctx,
    limit: Limit = 100,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_ID)] = None,
) -> Response:
    """What happened to a job, in order: JSON pages, or server-sent events for ``Accept: text/event-stream``."""
    await run_in_threadpool(_page, context, job_id, 0, 1)  # 404 before a stream begins
    if "text/event-stream" in accept:
        stream = _stream(context, request, job_id, after if last_event_id is None else last_event_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    events, _ = await run_in_threadpool(_page, context, job_id, after, limit + 1)
    page = EventPage(data=events[:limit], next=str(events[limit - 1].seq) if len(events) > limit else None)
    return Response(page.model_dump_json(), media_type="application/json")


def _page(context: Context, job_id: str, after: int, limit: int) -> tuple[list[EventBody], bool]:
    """Events after a number, and whether the job is over."""
    with context.db.read() as session:
        over = JobStatus(jobs.get(session, job_id).status).over
        wanted = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after)
        rows = session.scalars(wanted.order_by(JobEvent.seq).limit(limit)).all()
    return [EventBody.model_validate(row, from_attributes=True) for row in rows], over


async def _stream(context: Context, request: Request, job_id: str, after: int) -> AsyncIterator[str]:
    """Server-sent events until the job is over, the client is gone or the server stops; one short read a second."""
    silent = 0
    while not context.stopping.is_set() and not await request.is_disconnected():
        events, over = await run_in_threadpool(_page, context, job_id, after, _STREAM_PAGE)
        for event in events:
            after = event.seq
            yield f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(event.data)}\n\n"
        if over and len(events) < _STREAM_PAGE:
            return
        if len(events) == _STREAM_PAGE:
            continue
        silent = 0 if events else silent + 1
        if silent and silent % _COMMENT_EVERY == 0:
            yield ": still here\n\n"
        await asyncio.sleep(1)


def body(job: Job) -> JobBody:
    """A row as the API shows it."""
    names = [name for name in JobBody.model_fields if name not in ("metadata", "estimated_finish")]
    left = (job.progress or {}).get("eta_seconds")
    finish = now() + timedelta(seconds=left) if left is not None and job.status == JobStatus.RUNNING else None
    columns = {name: getattr(job, name) for name in names}
    return JobBody.model_validate({**columns, "metadata": job.job_metadata, "estimated_finish": finish})
