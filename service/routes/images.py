"""Images: their rows and their bytes."""

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from core.collections import compaction, datasets, deletions, images, listing
from core.errors import ImageNotFound
from core.ground.pictures import imaging
from core.ground.pictures.depths import Depths
from core.store.keys import Scope
from core.store.kinds import Queue
from core.store.tables import Image
from core.untrusted.decoding import Decoders
from service.access import Body, needs
from service.context import Context, Ctx, ImageId, Reading
from service.paging import After, Limit, answer
from service.schemas.images import DeletedBody, Deletions, ImageBody, ImagePage

router = APIRouter(tags=["images"])
_PART = 1 << 20  # bytes of a file that are in memory
IfNoneMatch = Annotated[str | None, Header()]
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is what the ETag in If-None-Match names"}}


@router.get("/datasets/{dataset_id}/images")
@needs(Scope.READ)
def list_images(
    dataset_id: str,
    session: Reading,
    limit: Limit = 100,
    after: After = 0,
    label: Annotated[list[str] | None, Query(description="Any of these labels; may be repeated.")] = None,
    unlabelled: Annotated[bool, Query(description="Images without a label, beside those of label.")] = False,
    order: Literal["oldest", "newest"] = "oldest",
) -> ImagePage:
    """A dataset's images by id, perhaps only those of some labels."""
    page = listing.images(session, dataset_id, limit, after, labels=label, unlabelled=unlabelled, newest_first=order == "newest")
    return answer(ImagePage, page, lambda row: ImageBody.of(*row))


@router.get("/images/{image_id}")
@needs(Scope.READ)
def get_image(image_id: ImageId, context: Ctx) -> ImageBody:
    """One image, with how the dataset's current model learned it."""
    with context.db.read() as session:
        image = images.get(session, image_id)
        label, model_id = images.label_and_model(session, image)
    provenance = context.searcher.view(model_id=model_id).snapshot.provenance(image_id) if model_id else None
    return ImageBody.of(image, label, provenance)


@router.get(
    "/images/{image_id}/file",
    response_class=Response,
    responses={
        200: {"content": {each.media_type: {} for each in imaging.FORMATS}, "description": "The uploaded file"},
        **_UNCHANGED,
    },
)
@needs(Scope.READ)
def get_image_file(image_id: ImageId, request: Request, context: Ctx, if_none_match: IfNoneMatch = None) -> Response:
    """The file as it was uploaded."""
    image = images.find(context.db, image_id)
    if _names(if_none_match, image.sha256):
        return Response(status_code=304, headers=_headers(image.sha256))
    headers = {**_headers(image.sha256), "Content-Length": str(image.length)}
    if request.method == "HEAD":  # its length is known without reading it
        return Response(media_type=image.media_type, headers=headers)
    file = images.open_file(context.db, context.settings, image)
    if image.length > _PART:
        return StreamingResponse(_parts(file), media_type=image.media_type, headers=headers)
    with file:
        return Response(file.read(), media_type=image.media_type, headers=headers)


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "A small copy of the image"}, **_UNCHANGED},
)
@needs(Scope.READ)
def get_thumbnail(
    image_id: ImageId,
    context: Ctx,
    size: Annotated[int, Query(ge=16, le=512)] = 128,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The whole image, upright, its longer side ``size`` pixels or as it is where that is less."""
    image, depths, tag = _to_show(context, image_id, size)
    if _names(if_none_match, tag):
        return Response(status_code=304, headers=_headers(tag))
    made = context.thumbnails.read(image.dataset_id, image_id, tag)
    if made is None:
        made = _drawn(context, context.thumbnailers, image, depths, size)
        context.thumbnails.write(image.dataset_id, image_id, tag, made)
        try:
            images.find(context.db, image_id)
        except ImageNotFound:  # it was deleted meanwhile
            context.thumbnails.forget(image.dataset_id, [image_id])
            raise
    return Response(made, media_type="image/webp", headers=_headers(tag))


@router.get(
    "/images/{image_id}/rendering",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "The image as any browser shows it"}, **_UNCHANGED},
)
@needs(Scope.READ)
def get_rendering(image_id: ImageId, context: Ctx, if_none_match: IfNoneMatch = None) -> Response:
    """The image as any browser shows it, whatever its format: upright, in sRGB, deep greys as training sees them, its longer side
    at most 4,096 pixels."""
    image, depths, tag = _to_show(context, image_id, imaging.RENDERING_SIDE)
    if _names(if_none_match, tag):
        return Response(status_code=304, headers=_headers(tag))
    made = _drawn(context, context.searcher.decoders, image, depths, imaging.RENDERING_SIDE)
    return Response(made, media_type="image/webp", headers=_headers(tag))


def _to_show(context: Context, image_id: int, size: int) -> tuple[Image, Depths, str]:
    """An image, the scale of its dataset's depths, and what names all that a picture of it depends on."""
    with context.db.read() as session:
        image = images.get(session, image_id)
        depths = datasets.get(session, image.dataset_id).depths
    scale = "".join(f"-{kind[0]}{black:g}-{white:g}" for kind, (black, white) in sorted(depths.items()))
    return image, depths, f"{image.sha256}-{size}{scale}"


def _drawn(context: Context, decoders: Decoders, image: Image, depths: Depths, size: int) -> bytes:
    with images.open_file(context.db, context.settings, image) as file:
        return decoders.thumbnail(file, size, max(context.settings.max_pixels, image.width * image.height), depths)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART):
            yield part


@router.delete("/images/{image_id}", status_code=204)
@needs(Scope.WRITE)
def delete_image(image_id: ImageId, context: Ctx) -> None:
    """Take an image out of every answer at once; compaction takes it out of the files later."""
    _delete(context, images.find(context.db, image_id).dataset_id, [image_id])


@router.post("/datasets/{dataset_id}/deletions")
@needs(Scope.WRITE, Body.LIST)
def delete_images(dataset_id: str, request: Deletions, context: Ctx) -> DeletedBody:
    """Delete many images, all of them or none: 422 where one is not in the dataset, 409 while its upload is being validated."""
    return DeletedBody(deleted=_delete(context, dataset_id, request.image_ids))


def _delete(context: Context, dataset_id: str, image_ids: list[int]) -> int:
    deleted = deletions.delete_images(context.db, dataset_id, image_ids)
    context.thumbnails.forget(dataset_id, image_ids)
    if compaction.request_if_due(context.db, context.settings, dataset_id):
        context.bell.ring(Queue.TASKS)
    return deleted


def _names(if_none_match: str | None, tag: str) -> bool:
    return if_none_match is not None and (f'"{tag}"' in if_none_match or if_none_match.strip() == "*")


def _headers(tag: str) -> dict[str, str]:
    """A client may keep an image, but asks each time whether it is still there: a deleted one is shown no more."""
    return {"X-Content-Type-Options": "nosniff", "ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
