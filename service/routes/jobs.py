"""Training jobs: submit, look at, cancel."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.collections import continuation, datasets, training
from core.errors import BadParameters, BadRequest, DatasetNotReady, NoTable
from core.ground.reports import evaluation_of
from core.ground.verdict import verdict
from core.jobs import idempotency, lifecycle, scheduling
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Job, Metric
from service.context import Context, Ctx, Reading
from service.paging import AfterId, row_after
from service.schemas.jobs import ClassifyAll, Continue, JobBody, JobPage, JobRequest, MetricBody, MetricsBody
from service.uploads import ARCHIVE, Upload, json_body, media_type, parse_json, receive, validated

router = APIRouter(tags=["jobs"])
Limit = Annotated[int, Query(ge=1, le=1000)]
Key = Annotated[str | None, Header(min_length=1, max_length=200)]
_MAX_REQUEST_BYTES = 1 << 20
_JSON_FIELDS = ("params", "metadata")  # of a form
_SCHEMA = JobRequest.model_json_schema()
_SCHEMA["properties"]["params"] = _SCHEMA.pop("$defs")["Params"]  # in OpenAPI a reference starts at the document's root
_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": ARCHIVE,
                        "labels": {"type": "string", "enum": list(datasets.LABEL_MODES), "default": "none"},
                        "name": {"type": "string", "description": "of the dataset and the job; default: the file's name"},
                        "evaluation_dataset_id": {"type": "string"},
                        "params": {"type": "string", "description": "JSON", "examples": ['{"preset": "quick"}']},
                        "metadata": {"type": "string", "description": "JSON"},
                    },
                }
            },
        },
    }
}


@router.post("/jobs", status_code=202, openapi_extra=_REQUEST)
async def create_job(request: Request, response: Response, context: Ctx, idempotency_key: Key = None) -> JobBody:
    """Queue a training job; it starts when its datasets are ready. JSON names a dataset; multipart brings an archive, which
    becomes a dataset of its own. The same ``Idempotency-Key`` again gives the same job."""
    if media_type(request) == "application/json":
        asked = await json_body(request, JobRequest, _MAX_REQUEST_BYTES)
        return await run_in_threadpool(_submit, context, response, idempotency_key, asked)
    dataset_id = datasets.new_dataset_id()
    path = datasets.upload_path(context.settings, dataset_id)
    upload = await receive(request, path, context.settings.max_upload_bytes)
    return await run_in_threadpool(_submit_upload, context, response, idempotency_key, dataset_id, path, upload)


def _submit_upload(context: Context, response: Response, key: str | None, dataset_id: str, path: Path, upload: Upload) -> JobBody:
    """Insert the dataset and the job together; the upload is deleted unless both are new."""
    stored = False
    try:
        given = {name: parse_json(text) if name in _JSON_FIELDS else text for name, text in upload.fields.items()}
        labels = str(given.pop("labels", "none"))
        if "dataset_id" in given:
            raise BadRequest("dataset_id: the file becomes a dataset of its own; send one of the two")
        request = validated(JobRequest, {**given, "dataset_id": dataset_id})
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest() if key else ""
        name = request.name or (upload.filename or dataset_id).replace("\0", "")
        same = {**given, "labels": labels, "filename": upload.filename, "sha256": content}

        def make(session: Session) -> Job:
            datasets.create(session, dataset_id, name, labels, upload.size)
            return _create(session, request, backbone)

        backbone = _backbone(context, request)
        answer = accepted(context, response, *idempotency.job_once(context.db, key, same, make))
        stored = answer.dataset_id == dataset_id
    finally:
        if not stored:
            path.unlink(missing_ok=True)
    context.bell.ring(Queue.TASKS)
    return answer


def _submit(context: Context, response: Response, key: str | None, request: JobRequest) -> JobBody:
    same = request.model_dump(mode="json")
    backbone = _backbone(context, request)
    made = idempotency.job_once(context.db, key, same, lambda session: _create(session, request, backbone))
    return accepted(context, response, *made)


def _backbone(context: Context, request: JobRequest) -> str | None:
    """Of the model that it starts from; a file is read, before the transaction that writes."""
    with context.db.read() as session:
        return training.backbone_of(session, context.settings, request.params.given().get("init"))


def accepted(context: Context, response: Response, job: Job, new: bool) -> JobBody:
    """Wake a worker for a new job; say of another that it is none."""
    if new:
        context.bell.ring(scheduling.QUEUE_OF[JobKind(job.kind)])
    else:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/jobs/{job.id}"
    return body(job, continuation.way(context.settings, job))


def _create(session: Session, request: JobRequest, backbone: str | None) -> Job:
    if request.evaluation_dataset_id == request.dataset_id:
        raise BadParameters("evaluation_dataset_id: is the dataset to train on; without it images judge each other")
    named = (request.dataset_id, request.evaluation_dataset_id)
    for dataset_id in sorted(id_ for id_ in named if id_ is not None):
        dataset = datasets.get_for_job(session, dataset_id)
        if dataset.status == DatasetStatus.FAILED:
            raise DatasetNotReady(f"{dataset_id} failed validation: {(dataset.error or {}).get('message')}")
    params = request.params.model_dump(exclude_none=True, mode="json")
    training.require_init(session, params, backbone)
    training.require(session, request.dataset_id, request.evaluation_dataset_id, params)
    return lifecycle.create(
        session,
        JobKind.TRAIN,
        request.dataset_id,
        params=params,
        evaluation_dataset_id=request.evaluation_dataset_id,
        name=request.name,
        metadata=request.metadata,
    )


@router.post("/datasets/{dataset_id}/classifications", status_code=202)
def classify_dataset(
    dataset_id: str, request: ClassifyAll, response: Response, context: Ctx, idempotency_key: Key = None
) -> JobBody:
    """Classify every image of a dataset by the votes of the labelled ones, as a job; its table is
    ``GET /jobs/{job_id}/classifications``. The same ``Idempotency-Key`` again gives the same job."""
    view = context.searcher.view(dataset_id=dataset_id, model_id=request.model_id)

    def make(session: Session) -> Job:
        datasets.get_for_job(session, dataset_id)
        params = {**request.model_dump(), "model_id": view.model_id}
        return lifecycle.create(session, JobKind.CLASSIFY, dataset_id, params=params)

    same = {"classify": dataset_id, **request.model_dump()}
    return accepted(context, response, *idempotency.job_once(context.db, idempotency_key, same, make))


@router.get(
    "/jobs/{job_id}/classifications",
    response_class=FileResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "image_id, path, label, predicted, confidence"}},
)
def get_classifications(job_id: str, session: Reading, context: Ctx) -> FileResponse:
    """The table of a finished classification: ``predicted`` is empty below the least confidence asked for, and everywhere
    where the job's ``progress.abstained`` says why no vote was held."""
    job = lifecycle.get(session, job_id)
    if job.kind != JobKind.CLASSIFY or job.status != JobStatus.SUCCEEDED:
        raise NoTable(f"{job_id} is a {job.kind} job that is {job.status}; only a classification that succeeded has a table")
    return FileResponse(context.settings.layout.classifications(job_id), media_type="text/csv", filename=f"{job_id}.csv")


@router.post("/jobs/{job_id}/continue", status_code=202)
def continue_job(job_id: str, request: Continue, response: Response, context: Ctx, idempotency_key: Key = None) -> JobBody:
    """Go on from the checkpoints of a training job that is over, in a new job with the same images: with ``add_rounds`` for more
    rounds where it succeeded, without it from where it failed or was cancelled. Its ``continuation`` says which is possible;
    409 ``cannot_continue`` where neither is. The same ``Idempotency-Key`` again gives the same job."""
    with context.db.read() as session:
        plan = continuation.plan(session, context.settings, job_id, request.add_rounds)
    same = {"continue": job_id, **request.model_dump()}
    made = idempotency.job_once(context.db, idempotency_key, same, lambda session: continuation.create(session, plan))
    return accepted(context, response, *made)


@router.get("/jobs")
def list_jobs(
    session: Reading,
    context: Ctx,
    limit: Limit = 100,
    after: AfterId = None,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    dataset_id: str | None = None,
    order: Literal["oldest", "newest"] = "oldest",
) -> JobPage:
    """Jobs in the order of submission, perhaps only those of a kind, a status or a dataset."""
    wanted = select(Job).order_by(Job.seq if order == "oldest" else Job.seq.desc()).limit(limit + 1)
    if after is not None:
        last = row_after(session, Job, after).seq
        wanted = wanted.where(Job.seq > last if order == "oldest" else Job.seq < last)
    for column, value in ((Job.kind, kind), (Job.status, status), (Job.dataset_id, dataset_id)):
        if value is not None:
            wanted = wanted.where(column == value)
    rows = session.scalars(wanted).all()
    return JobPage(data=_bodies(context, rows[:limit]), next=rows[limit - 1].id if len(rows) > limit else None)


@router.get("/jobs/{job_id}")
def get_job(job_id: str, session: Reading, context: Ctx) -> JobBody:
    """One job."""
    return _bodies(context, [lifecycle.get(session, job_id)])[0]


@router.get("/jobs/{job_id}/metrics")
def list_job_metrics(job_id: str, session: Reading, points: Annotated[int, Query(ge=2, le=10_000)] = 500) -> MetricsBody:
    """Figures of every epoch, in order; of more than ``points`` epochs evenly spaced ones, the first and last among them."""
    lifecycle.get(session, job_id)
    rows = session.scalars(select(Metric).where(Metric.job_id == job_id).order_by(Metric.round, Metric.epoch)).all()
    if len(rows) > points:
        rows = [rows[round(number * (len(rows) - 1) / (points - 1))] for number in range(points)]
    return MetricsBody(data=[MetricBody.model_validate(row, from_attributes=True) for row in rows])


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, context: Ctx) -> JobBody:
    """Cancel a job: at once while it is queued, within seconds while it runs."""
    with context.db.write() as session:
        job = lifecycle.request_cancel(session, job_id)
    answer = _bodies(context, [job])[0]
    if job.status == JobStatus.CANCELLED:
        datasets.delete_upload(context.settings, job)
    context.bell.ring(Queue.TASKS)  # what was left of an upload is taken back by a job
    return answer


def _bodies(context: Context, rows: Sequence[Job]) -> list[JobBody]:
    return [body(row, continuation.way(context.settings, row)) for row in rows]


def body(job: Job, way: continuation.Way | None = None) -> JobBody:
    """A row as the API shows it; ``way`` is how it can be continued."""
    made = ("metadata", "estimated_finish", "verdict", "continuation")
    columns = {name: getattr(job, name) for name in JobBody.model_fields if name not in made}
    said = verdict(evaluation_of(job.evaluation)) if job.kind == JobKind.TRAIN else None
    return JobBody.model_validate(
        {
            **columns,
            "metadata": job.job_metadata,
            "estimated_finish": _finish(job),
            "verdict": vars(said) if said else None,
            "continuation": way,
        }
    )


def _finish(job: Job) -> datetime | None:
    progress = job.progress or {}
    if job.status != JobStatus.RUNNING or progress.get("eta_seconds") is None:
        return None
    return datetime.fromisoformat(progress["told_at"]) + timedelta(seconds=progress["eta_seconds"])
