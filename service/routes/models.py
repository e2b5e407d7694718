"""Published models: look at, download, make current, delete."""

import hashlib
import tempfile
from io import BufferedReader
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic_core import to_json
from sqlalchemy import select
from starlette.background import BackgroundTask

from core.collections import published
from core.errors import FileNotInModel
from core.files import manifest
from core.ground.folders import ModelFile
from core.search import export
from core.store.kinds import Queue
from core.store.tables import Model
from service.context import Context, Ctx, Reading
from service.paging import AfterId, created_after, row_after
from service.routes.datasets import body as dataset_body
from service.schemas.common import CurrentModel, DatasetBody, MapBody, ModelBody, ModelPage, ModelRow

router = APIRouter(tags=["models"])


@router.get("/models")
def list_models(
    session: Reading,
    dataset_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: AfterId = None,
) -> ModelPage:
    """All models in the order of their publication, or those of one dataset."""
    wanted = select(Model).order_by(Model.created_at, Model.id).limit(limit + 1)
    if after is not None:
        wanted = wanted.where(created_after(Model, row_after(session, Model, after)))
    if dataset_id is not None:
        wanted = wanted.where(Model.dataset_id == dataset_id)
    rows = session.scalars(wanted).all()
    data = [ModelRow.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return ModelPage(data=data, next=rows[limit - 1].id if len(rows) > limit else None)


@router.get("/models/{model_id}")
def get_model(model_id: str, session: Reading, context: Ctx) -> ModelBody:
    """One model with its manifest: configuration, preprocessing, index, evaluation, and the hash of every file."""
    columns = ModelRow.model_validate(published.get(session, model_id), from_attributes=True).model_dump()
    content, file = _opened(context, model_id, ModelFile.MANIFEST)
    file.close()
    return ModelBody.model_validate({**columns, "manifest": content})


@router.get(
    "/models/{model_id}/files/{name}",
    response_class=FileResponse,
    responses={304: {"description": "The file is the one that If-None-Match names"}},
)
def get_model_file(model_id: str, name: str, context: Ctx, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """One of the files that the manifest names, or ``manifest.json`` itself. Its ``ETag`` is its SHA-256: compaction writes
    some files of a model anew."""
    content, file = _opened(context, model_id, name)
    known = content["files"].get(name)
    sha256 = known["sha256"] if known else hashlib.file_digest(file, "sha256").hexdigest()
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if if_none_match is not None and (sha256 in if_none_match or if_none_match.strip() == "*"):
        file.close()
        return Response(status_code=304, headers=headers)
    return _sent(file, name, headers)


@router.get(
    "/models/{model_id}/embeddings",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}, "text/csv": {}}, "description": "NPZ or CSV"}},
)
def export_embeddings(model_id: str, context: Ctx, format: Annotated[Literal["npz", "csv"], Query()] = "npz") -> Response:
    """All embeddings with the ids, paths and labels of their images, in the order of the ids."""
    view = context.searcher.view(model_id=model_id)
    seen = view.snapshot
    if format == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{model_id}.csv"'}
        return StreamingResponse(export.csv_lines(seen), media_type="text/csv", headers=headers)
    file = tempfile.TemporaryFile(dir=context.settings.layout.uploads)  # noqa: SIM115 -- closed when it was sent
    export.write_npz(seen, file)
    file.seek(0)
    return _sent(file, f"{model_id}.npz", {"ETag": f'"{model_id}-{view.generation}"', "Cache-Control": "private, no-cache"})


@router.get("/models/{model_id}/map", response_model=MapBody)
def get_map(model_id: str, context: Ctx) -> Response:
    """Where all images lie in two dimensions, with their labels and how they were learned: what a page draws and filters."""
    view = context.searcher.view(model_id=model_id)
    body = {"model_id": view.model_id, "dataset_id": view.dataset_id, **export.map_of(view.snapshot)}
    return Response(to_json(body, inf_nan_mode="null"), media_type="application/json")  # as it is: of a million images it is long


@router.put("/datasets/{dataset_id}/model")
def set_current_model(dataset_id: str, wanted: CurrentModel, context: Ctx) -> DatasetBody:
    """Answer from another of the dataset's models, a newer or an older one, from the next request on."""
    with context.db.write() as session:
        body = dataset_body(published.make_current(session, dataset_id, wanted.model_id))
    context.bell.ring(Queue.TASKS)
    return body


@router.delete("/models/{model_id}", status_code=204)
def delete_model(model_id: str, context: Ctx) -> None:
    """Delete a model and its files; 409 for a dataset's current one and for one that a job needs."""
    published.remove(context.db, context.settings, model_id)


def _sent(file: IO[bytes], name: str, headers: dict[str, str] | None = None) -> FileResponse:
    """An open file, which can be sent even if it was deleted."""
    close = BackgroundTask(file.close)
    path = f"/dev/fd/{file.fileno()}"
    return FileResponse(path, filename=name, media_type="application/octet-stream", headers=headers, background=close)


def _opened(context: Context, model_id: str, name: str, tries: int = 2) -> tuple[dict[str, Any], BufferedReader]:
    """A model's manifest and one of its files; compaction may put another folder in its place after its row was read."""
    with context.db.read() as session:
        folder = context.settings.layout.model(published.get(session, model_id).directory)
    try:
        content = manifest.read(folder)
        if name not in (ModelFile.MANIFEST, *content["files"]):
            raise FileNotInModel(f"{name} of {model_id}")
        return content, open(folder / name, "rb")
    except (manifest.DamagedModel, FileNotFoundError) as error:
        if tries == 1:
            raise manifest.DamagedModel(f"{model_id}: {error}") from error
    return _opened(context, model_id, name, tries - 1)
