"""Training parameters looked at before anything is uploaded for them."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from core.collections import training
from core.ground import parameters
from service.context import Context, Ctx
from service.schemas.jobs import CheckedParams, ParamsCheck
from service.schemas.parameters import Params
from service.uploads import json_value, validated

router = APIRouter(tags=["jobs"])
_MAX_REQUEST_BYTES = 1 << 20
_SCHEMA = ParamsCheck.model_json_schema()
_SCHEMA["properties"]["params"] = _SCHEMA.pop("$defs")["Params"]  # in OpenAPI a reference starts at the document's root
_REQUEST: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}


@router.post("/jobs/check", openapi_extra=_REQUEST, response_model_exclude_none=True)
async def check_job(request: Request, context: Ctx) -> CheckedParams:
    """Whether ``POST /jobs`` would take these parameters, before anything is uploaded for them. It answers with them as it
    understood them; of an unknown one it names the nearest that there is. Where the weights of `init: imagenet` are not
    installed it says how to install them."""
    asked = validated(ParamsCheck, await json_value(request, _MAX_REQUEST_BYTES), where=None)
    return await run_in_threadpool(_checked, context, asked.params)


def _checked(context: Context, params: Params) -> CheckedParams:
    given = params.given()
    with context.db.read() as session:
        backbone = training.backbone_of(session, context.settings, given.get("init"))
        training.require_init(session, given, backbone, "params.")
    missing = parameters.WEIGHTS_MISSING if parameters.weights_file() is None else None
    return CheckedParams(params=params, pretrained_missing=missing)
