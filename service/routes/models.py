"""Published models: look at, download, make current, delete."""

import tempfile
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic_core import to_json
from starlette.background import BackgroundTask

from core.collections import listing, model_files, published
from core.search import export
from core.store.keys import Scope
from core.store.kinds import Queue
from service.access import needs
from service.context import Ctx, Reading
from service.paging import AfterId, Limit, answer
from service.schemas.datasets import DatasetBody
from service.schemas.models import CurrentModel, MapBody, ModelBody, ModelPage, ModelRow

router = APIRouter(tags=["models"])


@router.get("/models")
@needs(Scope.READ)
def list_models(
    session: Reading,
    dataset_id: str | None = None,
    limit: Limit = 100,
    after: AfterId = None,
) -> ModelPage:
    """All models in the order of their publication, or those of one dataset."""
    return answer(ModelPage, listing.models(session, limit, after, dataset_id), ModelRow.of)


@router.get("/models/{model_id}")
@needs(Scope.READ)
def get_model(model_id: str, session: Reading, context: Ctx) -> ModelBody:
    """One model with its manifest: configuration, preprocessing, index, evaluation, and the hash of every file."""
    row = ModelRow.of(published.get(session, model_id))
    manifest = model_files.read_manifest(context.db, context.settings, model_id)
    return ModelBody.model_validate({**row.model_dump(), "manifest": manifest})


@router.get(
    "/models/{model_id}/files/{name}",
    response_class=FileResponse,
    responses={304: {"description": "The file is the one that If-None-Match names"}},
)
@needs(Scope.READ)
def get_model_file(model_id: str, name: str, context: Ctx, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """One of the files that the manifest names, or ``manifest.json`` itself. Its ``ETag`` is its SHA-256: compaction writes
    some files of a model anew."""
    opened = model_files.open_file(context.db, context.settings, model_id, name)
    sha256 = opened.sha256()
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if if_none_match is not None and (sha256 in if_none_match or if_none_match.strip() == "*"):
        opened.file.close()
        return Response(status_code=304, headers=headers)
    return _sent(opened.file, name, headers)


@router.get(
    "/models/{model_id}/embeddings",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}, "text/csv": {}}, "description": "NPZ or CSV"}},
)
@needs(Scope.READ)
def export_embeddings(model_id: str, context: Ctx, format: Annotated[Literal["npz", "csv"], Query()] = "npz") -> Response:
    """All embeddings with the ids, paths and labels of their images, in the order of the ids."""
    view = context.searcher.view(model_id=model_id)
    snapshot = view.snapshot
    if format == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{model_id}.csv"'}
        return StreamingResponse(export.csv_lines(snapshot), media_type="text/csv", headers=headers)
    file = tempfile.TemporaryFile(dir=context.settings.layout.uploads)  # noqa: SIM115 -- closed when it was sent
    export.write_npz(snapshot, file)
    file.seek(0)
    return _sent(file, f"{model_id}.npz", {"ETag": f'"{model_id}-{view.generation}"', "Cache-Control": "private, no-cache"})


@router.get("/models/{model_id}/map", response_model=MapBody)
@needs(Scope.READ)
def get_map(model_id: str, context: Ctx) -> Response:
    """Where all images lie in two dimensions, with their labels and how they were learned: what a page draws and filters."""
    view = context.searcher.view(model_id=model_id)
    body = {"model_id": view.model_id, "dataset_id": view.dataset_id, **export.map_of(view.snapshot)}
    return Response(to_json(body, inf_nan_mode="null"), media_type="application/json")  # as it is: of a million images it is long


@router.put("/datasets/{dataset_id}/model")
@needs(Scope.WRITE)
def set_current_model(dataset_id: str, wanted: CurrentModel, context: Ctx) -> DatasetBody:
    """Answer from another of the dataset's models, a newer or an older one, from the next request on."""
    with context.db.write() as session:
        body = DatasetBody.of(published.make_current(session, dataset_id, wanted.model_id))
    context.bell.ring(Queue.TASKS)
    return body


@router.delete("/models/{model_id}", status_code=204)
@needs(Scope.ADMIN)
def delete_model(model_id: str, context: Ctx) -> None:
    """Delete a model and its files; 409 for a dataset's current one and for one that a job needs."""
    published.remove(context.db, context.settings, model_id)


def _sent(file: IO[bytes], name: str, headers: dict[str, str] | None = None) -> FileResponse:
    """An open file, which can be sent even if it was deleted."""
    close = BackgroundTask(file.close)
    path = f"/dev/fd/{file.fileno()}"
    return FileResponse(path, filename=name, media_type="application/octet-stream", headers=headers, background=close)
