"""Images: their rows and their bytes."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from core.collections import compaction, datasets, deletions, images, listing
from core.ground.pictures import imaging
from core.store.keys import Scope
from core.store.kinds import Queue
from service.access import needs
from service.context import Context, Ctx, ImageId, Reading
from service.paging import After, Limit, answer
from service.schemas.images import DeletedBody, Deletions, ImageBody, ImagePage

router = APIRouter(tags=["images"])


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
    responses={200: {"content": {each.media_type: {} for each in imaging.FORMATS}, "description": "The uploaded file"}},
)
@needs(Scope.READ)
def get_image_file(image_id: ImageId, request: Request, context: Ctx) -> Response:
    """The file as it was uploaded."""
    if request.method == "HEAD":  # its length is known without reading it
        image = images.find(context.db, image_id)
        length = {"Content-Length": str(image.length)}
        return Response(media_type=image.media_type, headers={**_headers(image.sha256), **length})
    image = images.find(context.db, image_id)
    data = images.read(context.db, context.settings, image)
    return Response(data, media_type=image.media_type, headers=_headers(image.sha256))


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "A small copy of the image"}},
)
@needs(Scope.READ)
def get_thumbnail(image_id: ImageId, context: Ctx, size: Annotated[int, Query(ge=16, le=512)] = 128) -> Response:
    """The whole image, upright, its longer side ``size`` pixels or as it is where that is less."""
    return _shown(context, image_id, size)


@router.get(
    "/images/{image_id}/rendering",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}, "description": "The image as any browser shows it"}},
)
@needs(Scope.READ)
def get_rendering(image_id: ImageId, context: Ctx) -> Response:
    """The image as any browser shows it, whatever its format: upright, in sRGB, deep greys as training sees them, its longer side
    at most 4,096 pixels."""
    return _shown(context, image_id, imaging.RENDERING_SIDE)


def _shown(context: Context, image_id: int, size: int) -> Response:
    image = images.find(context.db, image_id)
    data = images.read(context.db, context.settings, image)
    with context.db.read() as session:
        depths = datasets.get(session, image.dataset_id).depths
    largest = max(context.settings.max_pixels, image.width * image.height)
    made = context.searcher.decoders.thumbnail(data, size, largest, depths)
    scale = "".join(f"-{kind[0]}{black:g}-{white:g}" for kind, (black, white) in sorted(depths.items()))
    return Response(made, media_type="image/webp", headers=_headers(f"{image.sha256}-{size}{scale}"))


@router.delete("/images/{image_id}", status_code=204)
@needs(Scope.WRITE)
def delete_image(image_id: ImageId, context: Ctx) -> None:
    """Take an image out of every answer at once; compaction takes it out of the files later."""
    _delete(context, images.find(context.db, image_id).dataset_id, [image_id])


@router.post("/datasets/{dataset_id}/deletions")
@needs(Scope.WRITE)
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
