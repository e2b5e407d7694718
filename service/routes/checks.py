"""Training parameters looked at before anything is uploaded for them."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from core import training
from service.context import Context, Ctx
from service.job_schemas import ParamsCheck
from service.uploads import json_value, validated

router = APIRouter(tags=["jobs"])
_MAX_REQUEST_BYTES = 1 << 20
_SCHEMA = ParamsCheck.model_json_schema()
_SCHEMA["properties"]["params"] = _SCHEMA.pop("$defs")["Params"]  # in OpenAPI a reference starts at the document's root
_REQUEST: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}


@router.post("/jobs/check", openapi_extra=_REQUEST, response_model_exclude_none=True)
async def check_job(request: Request, context: Ctx) -> ParamsCheck:
    """Whether ``POST /jobs`` would take these parameters, before anything is uploaded for them. It answers with them as it
    understood them; of an unknown one it names the nearest that there is."""
    asked = validated(ParamsCheck, await json_value(request, _MAX_REQUEST_BYTES), where=None)
    await run_in_threadpool(_require_init, context, asked.params.init)
    return asked


def _require_init(context: Context, init: str | None) -> None:
    with context.db.read() as session:
        training.require_init(session, init, "params.init")
