"""Published models: look at, download, make current, delete."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select
from starlette.background import BackgroundTask

from core import export, manifest, published
from core.errors import FileNotInModel
from core.models import Model, Queue
from service.context import Context, Ctx, Reading
from service.routes.datasets import body as dataset_body
from service.schemas import CurrentModel, DatasetBody, ModelBody, ModelPage, ModelRow

router = APIRouter(tags=["models"])


@router.get("/models")
def list_models(
    session: Reading,
    dataset_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: str = "",
) -> ModelPage:
    """All models by id, or those of one dataset."""
    wanted = select(Model).where(Model.id > after).order_by(Model.id).limit(limit + 1)
    if dataset_id is not None:
        wanted = wanted.where(Model.dataset_id == dataset_id)
    rows = session.scalars(wanted).all()
    data = [ModelRow.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return ModelPage(data=data, next=rows[limit - 1].id if len(rows) > limit else None)


@router.get("/models/{model_id}")
def get_model(model_id: str, session: Reading, context: Ctx) -> ModelBody:
    """One model with its manifest: configuration, preprocessing, index, evaluation, and the hash of every file."""
    model = published.get(session, model_id)
    columns = ModelRow.model_validate(model, from_attributes=True).model_dump()
    return ModelBody.model_validate({**columns, "manifest": manifest.read(_folder(context, model))})


@router.get("/models/{model_id}/files/{name}", response_class=FileResponse)
def get_model_file(model_id: str, name: str, session: Reading, context: Ctx) -> FileResponse:
    """One of the files that the manifest names, or ``manifest.json`` itself."""
    folder = _folder(context, published.get(session, model_id))
    if name not in {manifest.NAME, *manifest.read(folder)["files"]}:
        raise FileNotInModel(f"{name} of {model_id}")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(folder / name, filename=name, media_type="application/octet-stream", headers=headers)


@router.get(
    "/models/{model_id}/embeddings",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}, "text/csv": {}}, "description": "NPZ or CSV"}},
)
def export_embeddings(model_id: str, context: Ctx, format: Annotated[Literal["npz", "csv"], Query()] = "npz") -> Response:
    """All embeddings with the ids, paths and labels of their images, in the order of the ids."""
    seen = context.searcher.view(model_id=model_id).snapshot
    if format == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{model_id}.csv"'}
        return StreamingResponse(export.csv_lines(seen), media_type="text/csv", headers=headers)
    descriptor, name = tempfile.mkstemp(suffix=".npz", dir=context.settings.folder("uploads"))
    os.close(descriptor)
    path = Path(name)
    try:
        export.write_npz(seen, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(path, filename=f"{model_id}.npz", background=BackgroundTask(path.unlink, missing_ok=True))


@router.put("/datasets/{dataset_id}/model")
def make_model_current(dataset_id: str, wanted: CurrentModel, context: Ctx) -> DatasetBody:
    """Answer from another of the dataset's models, a newer or an older one, from the next request on."""
    with context.db.write() as session:
        body = dataset_body(published.make_current(session, context.settings, dataset_id, wanted.model_id))
    context.bell.ring(Queue.TASKS)
    return body


@router.delete("/models/{model_id}", status_code=204)
def delete_model(model_id: str, context: Ctx) -> None:
    """Delete a model and its files; 409 for a dataset's current one and for one that a job starts from."""
    published.remove(context.db, context.settings, model_id)


def _folder(context: Context, model: Model) -> Path:
    return context.settings.root / "models" / model.directory
