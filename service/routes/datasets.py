"""Datasets: upload, look at, delete."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.collections import compaction, datasets, labels
from core.errors import BadLabels
from core.store.columns import new_id
from core.store.kinds import Queue
from core.store.tables import Dataset, Rejection
from service.context import Context, Ctx, Reading
from service.paging import After, AfterId, created_after, row_after
from service.routes.jobs import body as job_body
from service.schemas.common import (
    DatasetBody,
    DatasetChange,
    DatasetImport,
    DatasetMetadata,
    DatasetPage,
    FolderImport,
    LabelsBody,
    RejectionPage,
)
from service.schemas.jobs import JobBody
from service.uploads import ARCHIVE, MAX_BODY_BYTES, json_body, media_type, parse_json, read_body, receive, validated

router = APIRouter(tags=["datasets"])
T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=1000)]

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": DatasetImport.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": ARCHIVE,
                        "name": {"type": "string", "description": "default: the file's name"},
                        "labels": {
                            "type": "string",
                            "enum": list(datasets.LABEL_MODES),
                            "default": "none",
                            "description": "folders: the top folder is the class, for evaluation and classification only",
                        },
                        "metadata": {"type": "string", "description": "JSON: an object that is kept with the dataset"},
                    },
                }
            },
        },
    }
}
_CHANGE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": DatasetChange.model_json_schema()}}}
}
_MORE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": FolderImport.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "zip, tar, tar.gz, or one image"},
                        "path": {"type": "string", "description": "of a single image; default: the file's name"},
                    },
                }
            },
        },
    }
}
_LABELS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "path,label\nphotos/1.jpg,dress\nphotos/2.jpg,\n"},
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                        {"type": "array", "items": {"type": "object"}},
                    ]
                },
            },
        },
    }
}


@router.post("/datasets", status_code=202, openapi_extra=_FORM)
async def create_dataset(request: Request, response: Response, context: Ctx) -> DatasetBody:
    """Upload an archive, or name a folder of the server (JSON); it is validated in the background, and every refused file
    is listed with its reason."""
    dataset_id = datasets.new_dataset_id()
    if media_type(request) == "application/json":
        asked = await json_body(request, DatasetImport)
        folder = datasets.import_folder(context.settings, asked.uri)
        name, mode, size, source = asked.name or folder.name, str(asked.labels), 0, {"folder": str(folder)}
        metadata = asked.metadata
    else:
        path = datasets.upload_path(context.settings, dataset_id)
        upload = await receive(request, path, context.settings.max_upload_bytes)
        name = (upload.fields.get("name") or upload.filename or dataset_id).replace("\0", "")
        mode, size, source = upload.fields.get("labels") or "none", upload.size, {"upload": dataset_id}
        metadata = _metadata(path, upload.fields.get("metadata"))

    def store(session: Session) -> Dataset:
        return datasets.create(session, dataset_id, name, mode, size, source, metadata)

    dataset = await run_in_threadpool(_queued, context, source, store)
    response.headers["Location"] = f"/datasets/{dataset.id}"
    return body(dataset)


def _metadata(path: Path, text: str | None) -> dict[str, Any]:
    """A form's metadata; the upload is deleted where it is none."""
    try:
        return validated(DatasetMetadata, {"metadata": parse_json(text)}).metadata if text else {}
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@router.post("/datasets/{dataset_id}/images", status_code=202, openapi_extra=_MORE)
async def add_images(dataset_id: str, request: Request, response: Response, context: Ctx) -> JobBody:
    """Add images: an archive or one image (multipart), or a folder of the server (JSON). The job validates them; what is new
    is embedded with the current model and found by searches from then on."""
    await run_in_threadpool(_require, context, dataset_id)
    if media_type(request) == "application/json":
        asked = await json_body(request, FolderImport)
        source = {"folder": str(datasets.import_folder(context.settings, asked.uri))}
    else:
        name = new_id("up")
        path = datasets.upload_path(context.settings, name)
        upload = await receive(request, path, context.settings.max_upload_bytes, images=True)
        filename = upload.fields.get("path") or upload.filename or "image"
        source = {"upload": name, "filename": filename.replace("\0", "")}
    job = await run_in_threadpool(_queued, context, source, lambda session: datasets.add(session, dataset_id, source))
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_body(job)


def _require(context: Context, dataset_id: str) -> None:
    with context.db.read() as session:
        datasets.get(session, dataset_id)


def _queued(context: Context, source: dict[str, str], store: Callable[[Session], T]) -> T:
    """Store what was uploaded and wake a worker; the upload is deleted if that fails."""
    try:
        with context.db.write() as session:
            stored = store(session)
    except BaseException:
        if "upload" in source:
            datasets.upload_path(context.settings, source["upload"]).unlink(missing_ok=True)
        raise
    context.bell.ring(Queue.TASKS)
    return stored


@router.post("/datasets/{dataset_id}/compactions", status_code=202)
def compact_dataset(dataset_id: str, response: Response, context: Ctx) -> JobBody:
    """Take deleted images out of the shards, and what was added and deleted into the current model's files, as a job. It is
    queued by itself when enough has changed."""
    with context.db.write() as session:
        datasets.get_for_job(session, dataset_id)
        job = compaction.request(session, dataset_id)
    context.bell.ring(Queue.TASKS)
    response.headers["Location"] = f"/jobs/{job.id}"
    return job_body(job)


@router.get("/datasets")
def list_datasets(
    session: Reading,
    limit: Limit = 100,
    after: AfterId = None,
    name: Annotated[str | None, Query(description="Only those of exactly this name.")] = None,
) -> DatasetPage:
    """All datasets in the order of their creation, or those of a name."""
    wanted = select(Dataset).order_by(Dataset.created_at, Dataset.id).limit(limit + 1)
    if after is not None:
        wanted = wanted.where(created_after(Dataset, row_after(session, Dataset, after)))
    if name is not None:
        wanted = wanted.where(Dataset.name == name)
    rows = session.scalars(wanted).all()
    return DatasetPage(data=[body(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None)


@router.get("/datasets/{dataset_id}")
def get_dataset(dataset_id: str, session: Reading) -> DatasetBody:
    """One dataset."""
    return body(datasets.get(session, dataset_id))


@router.patch("/datasets/{dataset_id}", openapi_extra=_CHANGE)
async def change_dataset(dataset_id: str, request: Request, context: Ctx) -> DatasetBody:
    """Rename a dataset, or note something with it as ``metadata``, which replaces what was noted before."""
    given = (await json_body(request, DatasetChange)).model_dump(exclude_none=True)

    def change() -> DatasetBody:
        with context.db.write() as session:
            return body(datasets.describe(session, dataset_id, **given))

    return await run_in_threadpool(change)


@router.get("/datasets/{dataset_id}/rejections")
def list_rejections(
    dataset_id: str, session: Reading, limit: Limit = 100, after: After = 0, job_id: str | None = None
) -> RejectionPage:
    """The files that are not in the dataset, and why, those of uploads that failed among them; exact duplicates have the code
    ``duplicate``. ``job_id`` asks for those of one upload."""
    datasets.get(session, dataset_id)
    wanted = select(Rejection).where(Rejection.dataset_id == dataset_id, Rejection.id > after)
    if job_id is not None:
        wanted = wanted.where(Rejection.job_id == job_id)
    rows = session.scalars(wanted.order_by(Rejection.id).limit(limit + 1)).all()
    data = [{"job_id": row.job_id, "path": row.path, "code": row.code, "reason": row.reason} for row in rows[:limit]]
    return RejectionPage.model_validate({"data": data, "next": str(rows[limit - 1].id) if len(rows) > limit else None})


@router.put("/datasets/{dataset_id}/labels", openapi_extra=_LABELS)
async def change_labels(dataset_id: str, request: Request, context: Ctx) -> LabelsBody:
    """Give labels after the upload: a table with ``path,label`` or ``image_id,label``, or JSON. The table's bytes are sent as
    they are: UTF-8, or UTF-16 with a byte order mark; commas, semicolons or tabs. Images that are not named keep theirs; an
    empty label removes one. All names must be known, or nothing changes."""
    data = await read_body(request, MAX_BODY_BYTES)
    kind = media_type(request)
    if kind not in ("text/csv", "application/json"):
        raise BadLabels(f"Content-Type: {kind or 'none'} is not text/csv or application/json")
    parse = labels.parse_csv if kind == "text/csv" else labels.parse_json
    counts = await run_in_threadpool(lambda: labels.change(context.db, dataset_id, parse(data)))
    return LabelsBody.model_validate(counts, from_attributes=True)


@router.delete("/datasets/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, context: Ctx) -> None:
    """Delete a dataset with its images, jobs and models; 409 while a job needs it."""
    datasets.remove(context.db, context.settings, dataset_id)


def body(dataset: Dataset) -> DatasetBody:
    """A row as the API shows it."""
    columns = {name: getattr(dataset, name) for name in DatasetBody.model_fields if name != "metadata"}
    return DatasetBody.model_validate({**columns, "metadata": dataset.dataset_metadata})
