"""Neighbours and classes of an image."""

import time
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, UploadFile
from pydantic import Field

from core.errors import TooLarge
from core.search import Classification, Neighbour, View
from service.context import Context, Ctx, Reading
from service.schemas import MAX_ID, ClassifyBody, NeighboursBody

router = APIRouter(tags=["search"])
MAX_K = 1000
K = Annotated[int, Query(ge=1, le=MAX_K, description="Number of neighbours.")]
ImageId = Annotated[int, Query(ge=0, le=MAX_ID)]
KForm = Annotated[int, Form(ge=1, le=MAX_K)]
Voters = Annotated[int, Field(ge=1, le=MAX_K, description="Number of voters; lowered to the labelled images.")]
Temperature = Annotated[float, Field(ge=0.001, le=10)]
Confidence = Annotated[float, Field(ge=0, le=1, description="Below it the label is null.")]


@router.get("/neighbours")
def neighbours_of_image(
    image_id: ImageId, session: Reading, context: Ctx, k: K = 10, dataset_id: str | None = None, model_id: str | None = None
) -> NeighboursBody:
    """The images most similar to a stored one, best first, without itself."""
    started = time.perf_counter()
    view = context.searcher.view(session, image_id=image_id, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of(session, view, image_id)
    return _neighbours(view, started, context.searcher.neighbours(session, view, vector, k, leave_out=image_id))


@router.post("/neighbours")
def neighbours_of_file(
    file: Annotated[UploadFile, File(description="An image.")],
    session: Reading,
    context: Ctx,
    k: KForm = 10,
    dataset_id: Annotated[str | None, Form()] = None,
    model_id: Annotated[str | None, Form()] = None,
) -> NeighboursBody:
    """The images most similar to an uploaded one."""
    started = time.perf_counter()
    view = context.searcher.view(session, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of_file(view, _read(context, file))
    return _neighbours(view, started, context.searcher.neighbours(session, view, vector, k))


@router.get("/classify")
def classify_image(
    image_id: ImageId,
    session: Reading,
    context: Ctx,
    k: Annotated[Voters, Query()] = 200,
    temperature: Annotated[Temperature, Query()] = 0.1,
    min_confidence: Annotated[Confidence, Query()] = 0.0,
    dataset_id: str | None = None,
    model_id: str | None = None,
) -> ClassifyBody:
    """The class of a stored image by a kNN vote of the labelled ones; it does not vote on itself."""
    started = time.perf_counter()
    view = context.searcher.view(session, image_id=image_id, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of(session, view, image_id)
    result = context.searcher.classify(session, view, vector, k, temperature, min_confidence, leave_out=image_id)
    return _classified(view, started, result)


@router.post("/classify")
def classify_file(
    file: Annotated[UploadFile, File(description="An image.")],
    session: Reading,
    context: Ctx,
    k: Annotated[Voters, Form()] = 200,
    temperature: Annotated[Temperature, Form()] = 0.1,
    min_confidence: Annotated[Confidence, Form()] = 0.0,
    dataset_id: Annotated[str | None, Form()] = None,
    model_id: Annotated[str | None, Form()] = None,
) -> ClassifyBody:
    """The class of an uploaded image by a kNN vote of the labelled ones."""
    started = time.perf_counter()
    view = context.searcher.view(session, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of_file(view, _read(context, file))
    return _classified(view, started, context.searcher.classify(session, view, vector, k, temperature, min_confidence))


def _read(context: Context, file: UploadFile) -> bytes:
    limit = context.settings.max_image_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"file: more than {limit:,} bytes, which is the most allowed")
    return data


def _took(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _neighbours(view: View, started: float, found: list[Neighbour]) -> NeighboursBody:
    body = {"model_id": view.model_id, "took_ms": _took(started), "neighbours": [vars(neighbour) for neighbour in found]}
    return NeighboursBody.model_validate(body)


def _classified(view: View, started: float, result: Classification) -> ClassifyBody:
    return ClassifyBody.model_validate(
        {
            "model_id": view.model_id,
            "took_ms": _took(started),
            "label": result.label,
            "confidence": result.confidence,
            "classes": [{"label": label, "probability": probability} for label, probability in result.classes],
            "voters": [{"image_id": v.image_id, "score": v.score, "label": v.label} for v in result.voters],
        }
    )
