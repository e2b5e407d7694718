"""Neighbours and classes of an image."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import Field
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.datastructures import UploadFile as FormFile

from core.errors import BadQuery, TooLarge
from core.search.searcher import View
from core.search.snapshots import Neighbour
from core.search.votes import MIN_LABELS, Classification, classify
from service.context import Context, Ctx
from service.dispositions import NamedFiles
from service.schemas.common import MAX_ID, Text
from service.schemas.queries import (
    MAX_K,
    BatchBody,
    BatchRequest,
    ClassifyBody,
    FileQuery,
    ImageQuery,
    LeaveOneOutBody,
    NeighboursBody,
    QueryBody,
    query_parameters,
)
from service.uploads import json_value, media_type, validated

router = APIRouter(tags=["search"], route_class=NamedFiles)
ImageId = Annotated[int, Query(ge=0, le=MAX_ID)]
Voters = Annotated[int, Field(ge=1, le=MAX_K, description="Number of voters; lowered to the labelled images.")]
Temperature = Annotated[float, Field(ge=0.001, le=10)]
MinLabels = Annotated[
    int, Field(ge=1, le=100, description="Labelled images that each of two classes must have, or the vote abstains.")
]
_MAX_QUERY_BYTES = 16 << 20
_BATCH = BatchRequest.model_json_schema()
_BATCH["properties"]["queries"]["items"] = _BATCH.pop("$defs")["OneQuery"]  # OpenAPI resolves no references in here
_QUERY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [QueryBody.model_json_schema(), _BATCH]},
                "examples": {
                    "examples": {"value": {"positive": [3, 17], "negative": [5], "k": 10}},
                    "batch": {"value": {"queries": [{"image_ids": [3]}, {"image_ids": [4], "unlabelled": True}]}},
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **FileQuery.model_json_schema()["properties"],
                    },
                }
            },
        },
    }
}
Confidence = Annotated[float, Field(ge=0, le=1, description="Below it the label is null.")]


def _given(fields: ImmutableMultiDict[str, Any]) -> dict[str, Any]:
    """The fields of a query or a form but for the file; only ``label`` may be there more than once."""
    given = {name: value for name, value in fields.items() if name != "file"}
    if "label" in given:
        given["label"] = fields.getlist("label")
    return given


@router.get("/neighbours", response_model=NeighboursBody, openapi_extra={"parameters": query_parameters(ImageQuery)})
def find_neighbours(request: Request) -> Response:
    """The images most similar to a stored one, best first, without itself."""
    started = time.perf_counter()
    # Of the request itself: FastAPI's resolving of dependencies and parameters takes longer than the search.
    context: Context = request.app.state.context
    asked = validated(ImageQuery, _given(request.query_params), "query")
    view = context.searcher.view(image_id=asked.image_id, dataset_id=asked.dataset_id, model_id=asked.model_id)
    found = context.searcher.query(view, asked.query())
    body = _body(view, started, found)
    return Response(to_json(body), media_type="application/json")  # what was built here needs no second look


@router.post("/neighbours", response_model=NeighboursBody | BatchBody, openapi_extra=_QUERY)
async def query_neighbours(request: Request, context: Ctx) -> NeighboursBody | BatchBody:
    """The images most similar to an uploaded image (multipart), or to what a JSON query names: ``image_ids``, a ``vector``,
    or ``positive`` and ``negative`` examples. ``{"queries": [...]}`` asks up to 256 at once, all of one model at one moment."""
    kind = media_type(request)
    if kind == "application/json":
        body = await _json(request)
        return await run_in_threadpool(_answer, context, body)
    if kind != "multipart/form-data":
        raise BadQuery(f"Content-Type: {kind or 'none'} is not application/json or multipart/form-data")
    async with request.form(max_files=1, max_fields=20) as form:
        file = form.get("file")
        if not isinstance(file, FormFile):
            raise BadQuery("file: an image file is required")
        asked = validated(FileQuery, _given(form))
        return await run_in_threadpool(_answer_file, context, asked, file)


async def _json(request: Request) -> QueryBody | BatchRequest:
    given = await json_value(request, _MAX_QUERY_BYTES)
    if isinstance(given, dict) and "queries" in given:
        return validated(BatchRequest, given)
    return validated(QueryBody, given)


def _answer(context: Context, body: QueryBody | BatchRequest) -> NeighboursBody | BatchBody:
    started = time.perf_counter()
    asked = body.queries if isinstance(body, BatchRequest) else [body]
    named = next((id_ for query in asked for id_ in (query.image_ids or query.positive or [])), None)
    view = context.searcher.view(image_id=named, dataset_id=body.dataset_id, model_id=body.model_id)
    answers = [context.searcher.query(view, query.query()) for query in asked]
    if isinstance(body, QueryBody):
        return _neighbours(view, started, answers[0])
    results = [[vars(neighbour) for neighbour in found] for found in answers]
    return BatchBody.model_validate({"model_id": view.model_id, "took_ms": _took(started), "results": results})


def _answer_file(context: Context, asked: FileQuery, file: FormFile) -> NeighboursBody:
    started = time.perf_counter()
    view = context.searcher.view(dataset_id=asked.dataset_id, model_id=asked.model_id)
    vector = context.searcher.vector_of_file(view, _read(context, file))
    return _neighbours(view, started, context.searcher.query(view, asked.query(vector)))


@router.get("/classify")
def classify_image(
    image_id: ImageId,
    context: Ctx,
    k: Annotated[Voters, Query()] = 200,
    temperature: Annotated[Temperature, Query()] = 0.1,
    min_confidence: Annotated[Confidence, Query()] = 0.0,
    min_labels: Annotated[MinLabels, Query()] = MIN_LABELS,
    dataset_id: str | None = None,
    model_id: str | None = None,
) -> ClassifyBody:
    """The class of a stored image by a kNN vote of the labelled ones; it does not vote on itself."""
    started = time.perf_counter()
    view = context.searcher.view(image_id=image_id, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of(view, image_id)
    result = classify(view.snapshot, vector, k, temperature, min_confidence, min_labels, leave_out=image_id)
    return _classified(view, started, result)


@router.post("/classify")
def classify_file(
    file: Annotated[UploadFile, File(description="An image.")],
    context: Ctx,
    k: Annotated[Voters, Form()] = 200,
    temperature: Annotated[Temperature, Form()] = 0.1,
    min_confidence: Annotated[Confidence, Form()] = 0.0,
    min_labels: Annotated[MinLabels, Form()] = MIN_LABELS,
    dataset_id: Annotated[Text | None, Form()] = None,
    model_id: Annotated[Text | None, Form()] = None,
) -> ClassifyBody:
    """The class of an uploaded image by a kNN vote of the labelled ones."""
    started = time.perf_counter()
    view = context.searcher.view(dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of_file(view, _read(context, file))
    return _classified(view, started, classify(view.snapshot, vector, k, temperature, min_confidence, min_labels))


@router.get("/datasets/{dataset_id}/leave-one-out")
def judge_labels(
    dataset_id: str,
    context: Ctx,
    k: Annotated[Voters | None, Query(description="Number of voters; by default the most accurate of several.")] = None,
    temperature: Annotated[Temperature, Query()] = 0.1,
    min_labels: Annotated[MinLabels, Query()] = MIN_LABELS,
    model_id: str | None = None,
) -> LeaveOneOutBody:
    """Accuracy and confusion of the labels given so far: every labelled image is classified by the others. Without ``k`` the
    most accurate of 1, 3, 5, 10, 20, 50, 100 and 200 voters is chosen, of equally accurate ones the largest."""
    view = context.searcher.view(dataset_id=dataset_id, model_id=model_id)
    found = context.searcher.leave_one_out(view, k, temperature, min_labels)
    by_k = [{"k": tried, "accuracy": accuracy} for tried, accuracy in found.by_k.items()]
    given = {**vars(found), "model_id": view.model_id, "confusion": found.confusion.tolist(), "by_k": by_k}
    return LeaveOneOutBody.model_validate(given)


def _read(context: Context, file: FormFile) -> bytes:
    limit = context.settings.max_image_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"file: more than {limit:,} bytes, which is the most allowed")
    return data


def _took(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _neighbours(view: View, started: float, found: list[Neighbour]) -> NeighboursBody:
    return NeighboursBody.model_validate(_body(view, started, found))


def _body(view: View, started: float, found: list[Neighbour]) -> dict[str, Any]:
    return {"model_id": view.model_id, "took_ms": _took(started), "neighbours": [vars(neighbour) for neighbour in found]}


def _classified(view: View, started: float, result: Classification) -> ClassifyBody:
    return ClassifyBody.model_validate(
        {
            "model_id": view.model_id,
            "took_ms": _took(started),
            "label": result.label,
            "confidence": result.confidence,
            "classes": [{"label": label, "probability": probability} for label, probability in result.classes],
            "voters": [{"image_id": v.image_id, "score": v.score, "label": v.label} for v in result.voters],
            "abstained": result.abstained,
        }
    )
