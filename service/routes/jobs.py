"""Jobs: submit a training, look at, cancel, continue; classify a whole dataset."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.collections import classifications, continuation, datasets, submission
from core.collections.submission import Submission, UploadedDataset
from core.errors import BadRequest
from core.files.manifest import sha256_of
from core.jobs import idempotency, lifecycle, listing
from core.store.keys import Scope
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Job
from service.accepted import IdempotencyKey, accepted
from service.access import Body, needs
from service.bodies import SMALL_BYTES, json_body, media_type, parse_json, validated
from service.context import Context, Ctx, Reading
from service.paging import AfterId, Limit, answer
from service.schemas import forms
from service.schemas.job_bodies import JobBody, JobPage, MetricBody, MetricsBody
from service.schemas.jobs import ClassifyAll, Continue, JobRequest
from service.uploads import Upload, received

router = APIRouter(tags=["jobs"])
_JSON_FIELDS = ("params", "metadata")  # of a form


@router.post("/jobs", status_code=202, openapi_extra=forms.TRAINING)
@needs(Scope.WRITE, Body.ARCHIVE)
async def create_job(request: Request, response: Response, context: Ctx, idempotency_key: IdempotencyKey = None) -> JobBody:
    """Queue a training job; it starts when its datasets are ready. JSON names a dataset; multipart brings an archive, which
    becomes a dataset of its own. The same ``Idempotency-Key`` again gives the same job."""
    if media_type(request) == "application/json":
        body = await json_body(request, JobRequest, SMALL_BYTES)
        return await run_in_threadpool(_submit, context, response, idempotency_key, body)
    dataset_id = datasets.new_dataset_id()
    path = datasets.upload_path(context.settings, dataset_id)
    async with received(request, path, context.settings.max_upload_bytes) as upload:
        return await run_in_threadpool(_submit_upload, context, response, idempotency_key, dataset_id, upload)


def _submit(context: Context, response: Response, key: str | None, request: JobRequest) -> JobBody:
    made = submission.submit(context.db, context.settings, _submission(request), key, request.model_dump(mode="json"))
    return accepted(context, response, *made)


def _submit_upload(context: Context, response: Response, key: str | None, dataset_id: str, upload: Upload) -> JobBody:
    values = {name: parse_json(text) if name in _JSON_FIELDS else text for name, text in upload.fields.items()}
    labels = str(values.pop("labels", "none"))
    if "dataset_id" in values:
        raise BadRequest("dataset_id: the file becomes a dataset of its own; send one of the two")
    request = validated(JobRequest, {**values, "dataset_id": dataset_id})
    name = request.name or (upload.filename or dataset_id).replace("\0", "")
    content = sha256_of(datasets.upload_path(context.settings, dataset_id)) if key else ""
    same = {**values, "labels": labels, "filename": upload.filename, "sha256": content}
    new = UploadedDataset(dataset_id, name, labels, upload.size)
    made = submission.submit(context.db, context.settings, _submission(request), key, same, new)
    context.bell.ring(Queue.TASKS)
    return accepted(context, response, *made)


def _submission(request: JobRequest) -> Submission:
    params = request.params.explicit()
    return Submission(request.dataset_id, request.evaluation_dataset_id, params, request.name, request.metadata)


@router.post("/datasets/{dataset_id}/classifications", status_code=202)
@needs(Scope.WRITE)
def classify_dataset(
    dataset_id: str, request: ClassifyAll, response: Response, context: Ctx, idempotency_key: IdempotencyKey = None
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
@needs(Scope.READ)
def get_classifications(job_id: str, session: Reading, context: Ctx) -> FileResponse:
    """The table of a finished classification: ``predicted`` is empty below the least confidence asked for, and everywhere
    where the job's ``progress.abstained`` says why no vote was held."""
    table = classifications.table_of(context.settings, lifecycle.get(session, job_id))
    return FileResponse(table, media_type="text/csv", filename=f"{job_id}.csv")


@router.post("/jobs/{job_id}/continue", status_code=202)
@needs(Scope.WRITE)
def continue_job(
    job_id: str, request: Continue, response: Response, context: Ctx, idempotency_key: IdempotencyKey = None
) -> JobBody:
    """Go on from the checkpoints of a training job that is over, in a new job with the same images: with ``add_rounds`` for more
    rounds where it succeeded, without it from where it failed or was cancelled. Its ``continuation`` says which is possible;
    409 ``cannot_continue`` where neither is. The same ``Idempotency-Key`` again gives the same job."""
    with context.db.read() as session:
        plan = continuation.plan(session, context.settings, job_id, request.add_rounds)
    same = {"continue": job_id, **request.model_dump()}
    made = idempotency.job_once(context.db, idempotency_key, same, lambda session: continuation.create(session, plan))
    return accepted(context, response, *made)


@router.get("/jobs")
@needs(Scope.READ)
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
    newest_first = order == "newest"
    page = listing.jobs(session, limit, after, kind=kind, status=status, dataset_id=dataset_id, newest_first=newest_first)
    return answer(JobPage, page, lambda job: _body(context, job))


@router.get("/jobs/{job_id}")
@needs(Scope.READ)
def get_job(job_id: str, session: Reading, context: Ctx) -> JobBody:
    """One job."""
    return _body(context, lifecycle.get(session, job_id))


@router.get("/jobs/{job_id}/metrics")
@needs(Scope.READ)
def list_job_metrics(job_id: str, session: Reading, points: Annotated[int, Query(ge=2, le=10_000)] = 500) -> MetricsBody:
    """Figures of every epoch, in order; of more than ``points`` epochs evenly spaced ones, the first and last among them."""
    return MetricsBody(data=[MetricBody.of(row) for row in listing.metrics(session, job_id, points)])


@router.post("/jobs/{job_id}/cancel", status_code=202)
@needs(Scope.WRITE)
def cancel_job(job_id: str, context: Ctx) -> JobBody:
    """Cancel a job: at once while it is queued, within seconds while it runs."""
    job, new = submission.cancel(context.db, context.settings, job_id)
    if new:
        context.bell.ring(Queue.TASKS)  # what was left of an upload is taken back by a job
    return _body(context, job)


def _body(context: Context, job: Job) -> JobBody:
    return JobBody.of(job, continuation.continuation_kind(context.settings, job))
