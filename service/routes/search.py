"""Neighbours and classes of an image."""

import time
from collections.abc import Sequence
from typing import Annotated, BinaryIO

from anyio import to_thread
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import Field
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.datastructures import UploadFile as FormFile

from core.errors import BadQuery, TooLarge
from core.search.searcher import View
from core.search.votes import MIN_CONFIDENCE, MIN_LABELS, TEMPERATURE, K, classify
from core.store.keys import Scope
from service.access import Body, needs
from service.bodies import QUERY_BYTES, json_value, media_type, validated
from service.context import Context, Ctx
from service.dispositions import NamedFiles
from service.middleware.shares import SHARE, Share
from service.paging import Limit
from service.schemas import forms
from service.schemas.answers import BatchBody, ClassifyBody, LeaveOneOutBody, NeighboursBody, classified, neighbours_of, took
from service.schemas.common import MAX_ID, Text
from service.schemas.queries import (
    MAX_K,
    MAX_OFFSET,
    BatchRequest,
    FileQuery,
    ImageQuery,
    OneQuery,
    QueryBody,
    query_parameters,
)

router = APIRouter(tags=["search"], route_class=NamedFiles)
_AT_A_TIME = 8  # queries of a batch
ImageId = Annotated[int, Query(ge=0, le=MAX_ID)]
Voters = Annotated[int, Field(ge=1, le=MAX_K, description="Number of voters; lowered to the labelled images.")]
Temperature = Annotated[float, Field(ge=0.001, le=10)]
MinLabels = Annotated[
    int, Field(ge=1, le=100, description="Labelled images that each of two classes must have, or the vote abstains.")
]
Confidence = Annotated[float, Field(ge=0, le=1, description="Below it the label is null.")]


@router.get("/neighbours", response_model=NeighboursBody, openapi_extra={"parameters": query_parameters(ImageQuery)})
@needs(Scope.READ)
def find_neighbours(request: Request) -> Response:
    """The images most similar to a stored one, best first, without itself."""
    started = time.perf_counter()
    # Of the request itself: FastAPI's resolving of dependencies and parameters takes longer than the search.
    context: Context = request.app.state.context
    params = validated(ImageQuery, _field_values(request.query_params), "query")
    view = context.searcher.view(image_id=params.image_id, dataset_id=params.dataset_id, model_id=params.model_id)
    neighbours = context.searcher.query(view, params.query())
    return _json_answer(neighbours_of(view, started, neighbours))


@router.post("/neighbours", response_model=NeighboursBody | BatchBody, openapi_extra=forms.QUERY)
@needs(Scope.READ, Body.IMAGE)
async def query_neighbours(request: Request, context: Ctx) -> Response:
    """The images most similar to an uploaded image (multipart), or to what a JSON query names: ``image_ids``, a ``vector``,
    or ``positive`` and ``negative`` examples. ``{"queries": [...]}`` asks up to 256 at once, all of one model at one moment."""
    kind = media_type(request)
    if kind == "application/json":
        return await _answer(request, context, await _json(request))
    if kind != "multipart/form-data":
        raise BadQuery(f"Content-Type: {kind or 'none'} is not application/json or multipart/form-data")
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, FormFile):
            raise BadQuery("file: an image file is required")
        params = validated(FileQuery, _field_values(form))
        return await run_in_threadpool(_answer_file, context, params, file)


async def _json(request: Request) -> QueryBody | BatchRequest:
    value = await json_value(request, QUERY_BYTES)
    if isinstance(value, dict) and "queries" in value:
        return await run_in_threadpool(validated, BatchRequest, value)
    return await run_in_threadpool(validated, QueryBody, value)


async def _answer(request: Request, context: Context, body: QueryBody | BatchRequest) -> Response:
    """A few queries at a time go to a thread and become bytes there, so that batches of many clients go on side by side, and that
    neither the searches nor the answer hold up the event loop."""
    started = time.perf_counter()
    queries = body.queries if isinstance(body, BatchRequest) else [body]
    named = next((id_ for query in queries for id_ in (query.image_ids or query.positive or [])), None)
    share: Share = request.scope[SHARE]

    def view_of() -> View:
        return context.searcher.view(image_id=named, dataset_id=body.dataset_id, model_id=body.model_id)

    def answered(some: Sequence[OneQuery]) -> list[bytes]:
        return [to_json([vars(found) for found in context.searcher.query(view, query.query())]) for query in some]

    async with share.searches:
        view = await run_in_threadpool(view_of)
        found: list[bytes] = []
        for start in range(0, len(queries), _AT_A_TIME):
            some = queries[start : start + _AT_A_TIME]
            found += await to_thread.run_sync(answered, some, limiter=context.searches)
    head = to_json({"model_id": view.model_id, "took_ms": took(started)})[:-1]
    if isinstance(body, QueryBody):
        return Response(b'%b,"neighbours":%b}' % (head, found[0]), media_type="application/json")
    return Response(b'%b,"results":[%b]}' % (head, b",".join(found)), media_type="application/json")


def _answer_file(context: Context, params: FileQuery, file: FormFile) -> Response:
    started = time.perf_counter()
    view = context.searcher.view(dataset_id=params.dataset_id, model_id=params.model_id)
    vector = context.searcher.vector_of_file(view, _checked(context, file))
    return _json_answer(neighbours_of(view, started, context.searcher.query(view, params.query(vector))))


@router.get("/classify", response_model=ClassifyBody)
@needs(Scope.READ)
def classify_image(
    image_id: ImageId,
    context: Ctx,
    k: Annotated[Voters, Query()] = K,
    temperature: Annotated[Temperature, Query()] = TEMPERATURE,
    min_confidence: Annotated[Confidence, Query()] = MIN_CONFIDENCE,
    min_labels: Annotated[MinLabels, Query()] = MIN_LABELS,
    dataset_id: str | None = None,
    model_id: str | None = None,
) -> Response:
    """The class of a stored image by a kNN vote of the labelled ones; it does not vote on itself."""
    started = time.perf_counter()
    view = context.searcher.view(image_id=image_id, dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of(view, image_id)
    result = classify(view.snapshot, vector, k, temperature, min_confidence, min_labels, leave_out=image_id)
    return _json_answer(classified(view, started, result))


@router.post("/classify", response_model=ClassifyBody)
@needs(Scope.READ, Body.IMAGE)
def classify_file(
    file: Annotated[UploadFile, File(description="An image.")],
    context: Ctx,
    k: Annotated[Voters, Form()] = K,
    temperature: Annotated[Temperature, Form()] = TEMPERATURE,
    min_confidence: Annotated[Confidence, Form()] = MIN_CONFIDENCE,
    min_labels: Annotated[MinLabels, Form()] = MIN_LABELS,
    dataset_id: Annotated[Text | None, Form()] = None,
    model_id: Annotated[Text | None, Form()] = None,
) -> Response:
    """The class of an uploaded image by a kNN vote of the labelled ones."""
    started = time.perf_counter()
    view = context.searcher.view(dataset_id=dataset_id, model_id=model_id)
    vector = context.searcher.vector_of_file(view, _checked(context, file))
    result = classify(view.snapshot, vector, k, temperature, min_confidence, min_labels)
    return _json_answer(classified(view, started, result))


@router.get("/datasets/{dataset_id}/leave-one-out")
@needs(Scope.READ)
def judge_labels(
    dataset_id: str,
    context: Ctx,
    k: Annotated[Voters | None, Query(description="Number of voters; by default the most accurate of several.")] = None,
    temperature: Annotated[Temperature, Query()] = TEMPERATURE,
    min_labels: Annotated[MinLabels, Query()] = MIN_LABELS,
    model_id: str | None = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Classes and confusions to pass over.")] = 0,
) -> LeaveOneOutBody:
    """Accuracy and confusions of the labels given so far: every labelled image is classified by the others. Without ``k`` the
    most accurate of 1, 3, 5, 10, 20, 50, 100 and 200 voters is chosen, of equally accurate ones the largest."""
    view = context.searcher.view(dataset_id=dataset_id, model_id=model_id)
    return LeaveOneOutBody.of(view, context.searcher.leave_one_out(view, k, temperature, min_labels), offset, limit)


def _json_answer(values: dict[str, object]) -> Response:
    """What was made here needs no second look by FastAPI."""
    return Response(to_json(values), media_type="application/json")


def _field_values(fields: ImmutableMultiDict[str, str | FormFile] | ImmutableMultiDict[str, str]) -> dict[str, object]:
    """The fields of a query or a form but for the file; only ``label`` may be there more than once."""
    values: dict[str, object] = {name: value for name, value in fields.items() if name != "file"}
    if "label" in values:
        values["label"] = fields.getlist("label")
    return values


def _checked(context: Context, file: FormFile) -> BinaryIO:
    limit = context.settings.max_image_bytes
    if file.size is None or file.size > limit:
        raise TooLarge(f"file: more than {limit:,} bytes, which is the most allowed")
    return file.file
