"""Neighbours and classes of an image."""

import time
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import Field
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.datastructures import UploadFile as FormFile

from core.errors import BadQuery, TooLarge
from core.search.votes import MIN_LABELS, classify
from core.store.keys import Scope
from service.access import Body, needs
from service.bodies import QUERY_BYTES, json_value, media_type, validated
from service.context import Context, Ctx
from service.dispositions import NamedFiles
from service.schemas import forms
from service.schemas.answers import BatchBody, ClassifyBody, LeaveOneOutBody, NeighboursBody, neighbours_of
from service.schemas.common import MAX_ID, Text
from service.schemas.queries import MAX_K, BatchRequest, FileQuery, ImageQuery, QueryBody, query_parameters

router = APIRouter(tags=["search"], route_class=NamedFiles)
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
    body = neighbours_of(view, started, neighbours)
    return Response(to_json(body), media_type="application/json")  # what was built here needs no second look


@router.post("/neighbours", response_model=NeighboursBody | BatchBody, openapi_extra=forms.QUERY)
@needs(Scope.READ, Body.IMAGE)
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
        params = validated(FileQuery, _field_values(form))
        return await run_in_threadpool(_answer_file, context, params, file)


async def _json(request: Request) -> QueryBody | BatchRequest:
    value = await json_value(request, QUERY_BYTES)
    if isinstance(value, dict) and "queries" in value:
        return validated(BatchRequest, value)
    return validated(QueryBody, value)


def _answer(context: Context, body: QueryBody | BatchRequest) -> NeighboursBody | BatchBody:
    started = time.perf_counter()
    queries = body.queries if isinstance(body, BatchRequest) else [body]
    named = next((id_ for query in queries for id_ in (query.image_ids or query.positive or [])), None)
    view = context.searcher.view(image_id=named, dataset_id=body.dataset_id, model_id=body.model_id)
    answers = [context.searcher.query(view, query.query()) for query in queries]
    if isinstance(body, QueryBody):
        return NeighboursBody.of(view, started, answers[0])
    return BatchBody.of(view, started, answers)


def _answer_file(context: Context, params: FileQuery, file: FormFile) -> NeighboursBody:
    started = time.perf_counter()
    view = context.searcher.view(dataset_id=params.dataset_id, model_id=params.model_id)
    vector = context.searcher.vector_of_file(view, _read(context, file))
    return NeighboursBody.of(view, started, context.searcher.query(view, params.query(vector)))


@router.get("/classify")
@needs(Scope.READ)
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
    return ClassifyBody.of(view, started, result)


@router.post("/classify")
@needs(Scope.READ, Body.IMAGE)
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
    return ClassifyBody.of(view, started, classify(view.snapshot, vector, k, temperature, min_confidence, min_labels))


@router.get("/datasets/{dataset_id}/leave-one-out")
@needs(Scope.READ)
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
    return LeaveOneOutBody.of(view, context.searcher.leave_one_out(view, k, temperature, min_labels))


def _field_values(fields: ImmutableMultiDict[str, str | FormFile] | ImmutableMultiDict[str, str]) -> dict[str, object]:
    """The fields of a query or a form but for the file; only ``label`` may be there more than once."""
    values: dict[str, object] = {name: value for name, value in fields.items() if name != "file"}
    if "label" in values:
        values["label"] = fields.getlist("label")
    return values


def _read(context: Context, file: FormFile) -> bytes:
    limit = context.settings.max_image_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"file: more than {limit:,} bytes, which is the most allowed")
    return data
