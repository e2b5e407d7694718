"""Datasets: upload, look at, change, delete."""

import tempfile
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO, TypeVar

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.collections import compaction, datasets, labels, listing
from core.errors import BadLabels
from core.store.columns import new_id
from core.store.keys import Scope
from core.store.kinds import Queue
from core.store.tables import Dataset, Job
from core.untrusted import label_requests
from service.accepted import accepted
from service.access import Body, needs
from service.bodies import TABLE_BYTES, json_body, media_type, parse_json, validated, write_body
from service.context import Context, Ctx, Reading
from service.paging import After, AfterId, Limit, answer
from service.schemas import forms
from service.schemas.datasets import (
    DatasetBody,
    DatasetChange,
    DatasetImport,
    DatasetMetadata,
    DatasetPage,
    FolderImport,
    LabelsBody,
    RejectionBody,
    RejectionPage,
    UnlistedBody,
)
from service.schemas.job_bodies import JobBody
from service.uploads import received

router = APIRouter(tags=["datasets"])
Stored = TypeVar("Stored", Dataset, Job)


@router.post("/datasets", status_code=202, openapi_extra=forms.DATASET)
@needs(Scope.WRITE, Body.ARCHIVE)
async def create_dataset(request: Request, response: Response, context: Ctx) -> DatasetBody:
    """Upload an archive, or name a folder of the server (JSON); it is validated in the background, and every refused file
    is listed with its reason."""
    id_ = datasets.new_dataset_id()
    if media_type(request) == "application/json":
        body = await json_body(request, DatasetImport)
        folder = datasets.import_folder(context.settings, body.uri)
        source = {"folder": str(folder)}
        dataset = await _stored(
            context,
            lambda session: datasets.create(session, id_, body.name or folder.name, body.labels, 0, source, body.metadata),
        )
    else:
        path = datasets.upload_path(context.settings, id_)
        async with received(request, path, context.settings.max_upload_bytes) as upload:
            name = (upload.fields.get("name") or upload.filename or id_).replace("\0", "")
            mode = upload.fields.get("labels") or "none"
            metadata = _metadata(upload.fields.get("metadata"))
            dataset = await _stored(
                context, lambda session: datasets.create(session, id_, name, mode, upload.size, None, metadata)
            )
    response.headers["Location"] = f"/datasets/{dataset.id}"
    return DatasetBody.of(dataset)


def _metadata(text: str | None) -> dict[str, Any]:
    return validated(DatasetMetadata, {"metadata": parse_json(text)}).metadata if text else {}


async def _stored(context: Context, store: Callable[[Session], Stored]) -> Stored:
    """Write, and wake a worker for the job that was written."""

    def work() -> Stored:
        with context.db.write() as session:
            stored = store(session)
        context.bell.ring(Queue.TASKS)
        return stored

    return await run_in_threadpool(work)


@router.post("/datasets/{dataset_id}/images", status_code=202, openapi_extra=forms.IMAGES)
@needs(Scope.WRITE, Body.ARCHIVE)
async def add_images(dataset_id: str, request: Request, response: Response, context: Ctx) -> JobBody:
    """Add images: an archive or one image (multipart), or a folder of the server (JSON). The job validates them; what is new
    is embedded with the current model and found by searches from then on."""
    await run_in_threadpool(_require, context, dataset_id)
    if media_type(request) == "application/json":
        body = await json_body(request, FolderImport)
        folder = {"folder": str(datasets.import_folder(context.settings, body.uri))}
        job = await _stored(context, lambda session: datasets.add(session, dataset_id, folder))
    else:
        name = new_id("up")
        path = datasets.upload_path(context.settings, name)
        async with received(request, path, context.settings.max_upload_bytes, images=True) as upload:
            filename = (upload.fields.get("path") or upload.filename or "image").replace("\0", "")
            source = {"upload": name, "filename": filename}
            job = await _stored(context, lambda session: datasets.add(session, dataset_id, source))
    response.headers["Location"] = f"/jobs/{job.id}"
    return JobBody.of(job)


def _require(context: Context, dataset_id: str) -> None:
    with context.db.read() as session:
        datasets.get(session, dataset_id)


@router.post("/datasets/{dataset_id}/compactions", status_code=202)
@needs(Scope.WRITE)
def compact_dataset(dataset_id: str, response: Response, context: Ctx) -> JobBody:
    """Take deleted images out of the shards, and what was added and deleted into the current model's files, as a job. It is
    queued by itself when enough has changed."""
    with context.db.write() as session:
        datasets.get_for_job(session, dataset_id)
        job = compaction.request(session, dataset_id)
    return accepted(context, response, job)


@router.get("/datasets")
@needs(Scope.READ)
def list_datasets(
    session: Reading,
    limit: Limit = 100,
    after: AfterId = None,
    name: Annotated[str | None, Query(description="Only those of exactly this name.")] = None,
) -> DatasetPage:
    """All datasets in the order of their creation, or those of a name."""
    return answer(DatasetPage, listing.datasets(session, limit, after, name), DatasetBody.of)


@router.get("/datasets/{dataset_id}")
@needs(Scope.READ)
def get_dataset(dataset_id: str, session: Reading) -> DatasetBody:
    """One dataset."""
    return DatasetBody.of(datasets.get(session, dataset_id))


@router.patch("/datasets/{dataset_id}", openapi_extra=forms.CHANGE)
@needs(Scope.WRITE)
async def change_dataset(dataset_id: str, request: Request, context: Ctx) -> DatasetBody:
    """Rename a dataset, or note something with it as ``metadata``, which replaces what was noted before."""
    changes = (await json_body(request, DatasetChange)).model_dump(exclude_none=True)

    def update() -> DatasetBody:
        with context.db.write() as session:
            return DatasetBody.of(datasets.update_description(session, dataset_id, **changes))

    return await run_in_threadpool(update)


@router.get("/datasets/{dataset_id}/rejections", response_model_exclude_unset=True)
@needs(Scope.READ)
def list_rejections(
    dataset_id: str, session: Reading, limit: Limit = 100, after: After = 0, job_id: str | None = None
) -> RejectionPage:
    """The files that are not in the dataset, and why, those of uploads that failed among them; exact duplicates have the code
    ``duplicate``. ``job_id`` asks for those of one upload."""
    page = answer(RejectionPage, listing.rejections(session, dataset_id, limit, after, job_id), RejectionBody.of)
    if unlisted := listing.unlisted(session, dataset_id, job_id):
        page.more = [UnlistedBody.of(each) for each in unlisted]
    return page


@router.put("/datasets/{dataset_id}/labels", openapi_extra=forms.LABELS)
@needs(Scope.WRITE, Body.TABLE)
async def change_labels(dataset_id: str, request: Request, context: Ctx) -> LabelsBody:
    """Give labels after the upload: a table with ``path,label`` or ``image_id,label``, or JSON. The table's bytes are sent as
    they are: UTF-8, or UTF-16 with a byte order mark; commas, semicolons or tabs. Images that are not named keep theirs; an
    empty label removes one. All names must be known, or nothing changes."""
    kind = media_type(request)
    if kind not in ("text/csv", "application/json"):
        raise BadLabels(f"Content-Type: {kind or 'none'} is not text/csv or application/json")
    take = label_requests.take_csv if kind == "text/csv" else label_requests.take_json
    await run_in_threadpool(_require, context, dataset_id)
    folder = context.settings.layout.uploads

    def change(table: BinaryIO) -> LabelsBody:
        with label_requests.RequestedLabels(folder) as requested:
            take(requested, table)
            return LabelsBody.of(labels.set_labels(context.db, dataset_id, requested))

    with tempfile.TemporaryFile(dir=folder) as table:
        await write_body(request, table, TABLE_BYTES)
        return await run_in_threadpool(change, table)


@router.delete("/datasets/{dataset_id}", status_code=204)
@needs(Scope.ADMIN)
def delete_dataset(dataset_id: str, context: Ctx) -> None:
    """Delete a dataset with its images, jobs and models; 409 while a job needs it."""
    datasets.remove(context.db, context.settings, dataset_id)
