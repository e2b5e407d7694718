"""Images: their rows and their bytes."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.collections import compaction, datasets, deletions, images
from core.errors import ImageNotFound
from core.ground import imaging
from core.ground.label_text import label_text
from core.store.kinds import Queue
from core.store.tables import Dataset, Image, Label
from service.context import Context, Ctx, Reading
from service.paging import After
from service.schemas.common import MAX_ID, DeletedBody, Deletions, ImageBody, ImagePage

router = APIRouter(tags=["images"])
ImageId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get("/datasets/{dataset_id}/images")
def list_images(
    dataset_id: str,
    session: Reading,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: After = 0,
    label: Annotated[list[str] | None, Query(description="Any of these labels; may be repeated.")] = None,
    unlabelled: Annotated[bool, Query(description="Images without a label, beside those of label.")] = False,
    order: Literal["oldest", "newest"] = "oldest",
) -> ImagePage:
    """A dataset's images by id, perhaps only those of some labels."""
    datasets.get(session, dataset_id)
    wanted = select(Image, Label.label).outerjoin(Label, Label.image_id == Image.id).where(Image.dataset_id == dataset_id)
    if order == "oldest":
        wanted = wanted.where(Image.id > after).order_by(Image.id)
    else:
        wanted = wanted.where(Image.id < (after or MAX_ID)).order_by(Image.id.desc())
    if label is not None or unlabelled:
        chosen = Label.label.in_([text for each in label or [] if (text := label_text(each))])
        wanted = wanted.where(chosen | Label.label.is_(None) if unlabelled else chosen)
    wanted = wanted.limit(limit + 1)
    rows = session.execute(wanted).all()
    return ImagePage(
        data=[_body(image, label, None) for image, label in rows[:limit]],
        next=str(rows[limit - 1][0].id) if len(rows) > limit else None,
    )


@router.get("/images/{image_id}")
def get_image(image_id: ImageId, context: Ctx) -> ImageBody:
    """One image, with how the dataset's current model learned it."""
    with context.db.read() as session:
        image = _get(session, image_id)
        label = session.get(Label, image_id)
        model_id = session.get_one(Dataset, image.dataset_id).model_id
    provenance = context.searcher.view(model_id=model_id).snapshot.provenance(image_id) if model_id else None
    return _body(image, label.label if label else None, provenance)


@router.get(
    "/images/{image_id}/file",
    response_class=Response,
    responses={200: {"content": {each.media_type: {} for each in imaging.FORMATS}, "description": "The uploaded file"}},
)
def get_image_file(image_id: ImageId, request: Request, context: Ctx) -> Response:
    """The file as it was uploaded."""
    if request.method == "HEAD":  # its length is known without reading it
        with context.db.read() as session:
            image = _get(session, image_id)
        length = {"Content-Length": str(image.length)}
        return Response(media_type=image.media_type, headers={**_headers(image.sha256), **length})
    image, data = _read(context, image_id)
    return Response(data, media_type=image.media_type, headers=_headers(image.sha256))


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "A small copy of the image"}},
)
def get_thumbnail(image_id: ImageId, context: Ctx, size: Annotated[int, Query(ge=16, le=512)] = 128) -> Response:
    """The whole image, upright, its longer side ``size`` pixels or as it is where that is less."""
    return _shown(context, image_id, size)


@router.get(
    "/images/{image_id}/rendering",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "The image as any browser shows it"}},
)
def get_rendering(image_id: ImageId, context: Ctx) -> Response:
    """The image as any browser shows it, whatever its format: upright, in sRGB, deep greys as training sees them, its longer side
    at most 4,096 pixels."""
    return _shown(context, image_id, imaging.RENDERING_SIDE)


def _shown(context: Context, image_id: int, size: int) -> Response:
    image, data = _read(context, image_id)
    with context.db.read() as session:
        depths = datasets.get(session, image.dataset_id).depths
    largest = max(context.settings.max_pixels, image.width * image.height)
    made = context.searcher.decoders.thumbnail(data, size, largest, depths)
    scale = "".join(f"-{kind[0]}{black:g}-{white:g}" for kind, (black, white) in sorted(depths.items()))
    return Response(made, media_type="image/webp", headers=_headers(f"{image.sha256}-{size}{scale}"))


@router.delete("/images/{image_id}", status_code=204)
def delete_image(image_id: ImageId, context: Ctx) -> None:
    """Take an image out of every answer at once; compaction takes it out of the files later."""
    with context.db.read() as session:
        dataset_id = _get(session, image_id).dataset_id
    _delete(context, dataset_id, [image_id])


@router.post("/datasets/{dataset_id}/deletions")
def delete_images(dataset_id: str, request: Deletions, context: Ctx) -> DeletedBody:
    """Delete many images, all of them or none: 422 where one is not in the dataset, 409 while its upload is being validated."""
    return DeletedBody(deleted=_delete(context, dataset_id, request.image_ids))


def _delete(context: Context, dataset_id: str, image_ids: list[int]) -> int:
    deleted = deletions.delete_images(context.db, dataset_id, image_ids)
    if compaction.request_if_due(context.db, context.settings, dataset_id):
        context.bell.ring(Queue.TASKS)
    return deleted


def _headers(tag: str) -> dict[str, str]:
    return {"X-Content-Type-Options": "nosniff", "ETag": f'"{tag}"', "Cache-Control": "private, max-age=31536000"}


def _read(context: Context, image_id: int) -> tuple[Image, bytes]:
    with context.db.read() as session:
        image = _get(session, image_id)
    return image, images.read(context.db, context.settings, image)


def _get(session: Session, image_id: int) -> Image:
    image = session.get(Image, image_id)
    if image is None:
        raise ImageNotFound(image_id)
    return image


def _body(image: Image, label: str | None, provenance: Any) -> ImageBody:
    columns = {name: getattr(image, name) for name in ("id", "dataset_id", "path", "width", "height", "media_type")}
    return ImageBody.model_validate({**columns, "label": label, "provenance": provenance})
