"""Where the encoders of a model's rounds look in its images: compute, list, show."""

import io
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import select

from core.collections import images, published
from core.errors import AttentionNotFound, ImageNotFound, NoModel
from core.ground import imaging
from core.jobs import idempotency
from core.search import attention
from core.store.tables import Attention, Dataset, Image
from service.context import Context, Ctx, Reading
from service.paging import After
from service.routes.images import ImageId
from service.routes.jobs import Key, accepted
from service.schemas.attention import AttentionBody, AttentionPage, AttentionRequest, AttentionRound, AttentionRow
from service.schemas.common import MAX_ID
from service.schemas.jobs import JobBody

router = APIRouter(tags=["attention"])
Round = Annotated[int, Path(ge=0, le=MAX_ID)]
ModelId = Annotated[str | None, Query(description="Default: the current model of the image's dataset.")]
_SIDE = 224  # pixels of a picture


@router.post("/models/{model_id}/attention", status_code=202)
def compute_attention(
    model_id: str, request: AttentionRequest, response: Response, context: Ctx, idempotency_key: Key = None
) -> JobBody:
    """See, as a job, where the encoder of each round of a model looks in some images; those that have maps keep them. The same
    ``Idempotency-Key`` again gives the same job."""
    view = context.searcher.view(model_id=model_id)
    same = {"attention": model_id, **request.model_dump()}
    made = idempotency.job_once(
        context.db,
        idempotency_key,
        same,
        lambda session: attention.request(session, context.settings, view, request.image_ids),
    )
    return accepted(context, response, *made)


@router.get("/models/{model_id}/attention")
def list_attention(
    model_id: str, session: Reading, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: After = 0
) -> AttentionPage:
    """The images that have maps under a model, by id."""
    published.get(session, model_id)
    wanted = select(Attention).where(Attention.model_id == model_id, Attention.image_id > after)
    rows = session.scalars(wanted.order_by(Attention.image_id).limit(limit + 1)).all()
    data = [AttentionRow.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return AttentionPage(data=data, next=str(rows[limit - 1].image_id) if len(rows) > limit else None)


@router.get("/images/{image_id}/attention")
def get_attention(image_id: ImageId, context: Ctx, model_id: ModelId = None) -> AttentionBody:
    """The rounds whose maps there are of an image, and the neighbour that they are about."""
    _, row, found = _found(context, image_id, model_id)
    return AttentionBody(
        model_id=row.model_id,
        image_id=image_id,
        neighbour_id=row.neighbour_id,
        rounds=[
            AttentionRound(round=number, similarity=similarity)
            for number, similarity in zip(found.rounds, found.similarities, strict=True)
        ],
    )


@router.get(
    "/images/{image_id}/attention/{round}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The image under its map"}},
)
def get_attention_map(image_id: ImageId, round: Round, context: Ctx, model_id: ModelId = None) -> Response:
    """What the encoder sees of an image, 224 x 224 pixels, under the map of a round: red where it looks most, blue where it
    does not."""
    image, row, found = _found(context, image_id, model_id)
    if round not in found.rounds:
        known = ", ".join(map(str, found.rounds))
        raise AttentionNotFound(f"of image {image_id} and round {round}; {row.model_id} has the rounds {known}")
    data = images.read(context.db, context.settings, image)
    largest = max(context.settings.max_pixels, image.width * image.height)
    seen = context.searcher.decoders.pixels(data, _SIDE, largest)
    picture = imaging.heat_over(seen, found.maps[found.rounds.index(round)])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png", headers={"Cache-Control": "private, no-cache"})


def _found(context: Context, image_id: int, model_id: str | None) -> tuple[Image, Attention, attention.Maps]:
    with context.db.read() as session:
        image = session.get(Image, image_id)
        if image is None:
            raise ImageNotFound(image_id)
        if model_id is None:
            model_id = session.get_one(Dataset, image.dataset_id).model_id
        if model_id is None:
            raise NoModel(f"{image.dataset_id} has no model yet; train one with POST /jobs")
        published.get(session, model_id, image.dataset_id)
        row = attention.get(session, model_id, image_id)
    return image, row, attention.read(context.settings, row)
