"""Where the encoders of a model's rounds look in its images: compute, list, show."""

import io
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from core.collections import images, listing
from core.errors import AttentionNotFound
from core.ground.pictures import imaging
from core.jobs import idempotency
from core.search import attention
from core.store.keys import Scope
from service.accepted import IdempotencyKey, accepted
from service.access import needs
from service.context import Ctx, ImageId, Reading
from service.paging import After, Limit, answer
from service.schemas.attention import AttentionBody, AttentionPage, AttentionRequest, AttentionRound, AttentionRow
from service.schemas.common import MAX_ID
from service.schemas.job_bodies import JobBody

router = APIRouter(tags=["attention"])
Round = Annotated[int, Path(ge=0, le=MAX_ID)]
ModelId = Annotated[str | None, Query(description="Default: the current model of the image's dataset.")]
_SIDE = 224  # pixels of a picture


@router.post("/models/{model_id}/attention", status_code=202)
@needs(Scope.WRITE)
def compute_attention(
    model_id: str, request: AttentionRequest, response: Response, context: Ctx, idempotency_key: IdempotencyKey = None
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
@needs(Scope.READ)
def list_attention(model_id: str, session: Reading, limit: Limit = 100, after: After = 0) -> AttentionPage:
    """The images that have maps under a model, by id."""
    return answer(AttentionPage, listing.attention(session, model_id, limit, after), AttentionRow.of)


@router.get("/images/{image_id}/attention")
@needs(Scope.READ)
def get_attention(image_id: ImageId, context: Ctx, model_id: ModelId = None) -> AttentionBody:
    """The rounds whose maps there are of an image, and the neighbour that they are about."""
    _, row = attention.find(context.db, image_id, model_id)
    maps = attention.read(context.settings, row)
    return AttentionBody(
        model_id=row.model_id,
        image_id=image_id,
        neighbour_id=row.neighbour_id,
        rounds=[
            AttentionRound(round=number, similarity=similarity)
            for number, similarity in zip(maps.rounds, maps.similarities, strict=True)
        ],
    )


@router.get(
    "/images/{image_id}/attention/{round}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The image under its map"}},
)
@needs(Scope.READ)
def get_attention_map(image_id: ImageId, round: Round, context: Ctx, model_id: ModelId = None) -> Response:
    """What the encoder sees of an image, 224 x 224 pixels, under the map of a round: red where it looks most, blue where it
    does not."""
    image, row = attention.find(context.db, image_id, model_id)
    maps = attention.read(context.settings, row)
    if round not in maps.rounds:
        known = ", ".join(map(str, maps.rounds))
        raise AttentionNotFound(f"of image {image_id} and round {round}; {row.model_id} has the rounds {known}")
    largest = max(context.settings.max_pixels, image.width * image.height)
    with images.open_file(context.db, context.settings, image) as file:
        pixels = context.searcher.decoders.pixels(file, _SIDE, largest)
    picture = imaging.heat_over(pixels, maps.maps[maps.rounds.index(round)])
    drawn = io.BytesIO()
    picture.save(drawn, "PNG")
    return Response(drawn.getvalue(), media_type="image/png", headers={"Cache-Control": "private, no-cache"})
