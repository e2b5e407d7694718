"""Training parameters looked at before anything is uploaded for them."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from core.collections import submission
from core.ground import parameters
from core.store.keys import Scope
from service.access import needs
from service.bodies import FIELD_BYTES, json_value, validated
from service.context import Ctx
from service.schemas import forms
from service.schemas.jobs import CheckedParams, ParamsCheck

router = APIRouter(tags=["jobs"])


@router.post("/jobs/check", openapi_extra=forms.PARAMETERS, response_model_exclude_none=True)
@needs(Scope.WRITE)
async def check_job(request: Request, context: Ctx) -> CheckedParams:
    """Whether ``POST /jobs`` would take these parameters, before anything is uploaded for them. It answers with them as it
    understood them; of an unknown one it names the nearest that there is. Where the weights of `init: imagenet` are not
    installed it says how to install them."""
    body = validated(ParamsCheck, await json_value(request, FIELD_BYTES), where=None)
    await run_in_threadpool(submission.check, context.db, context.settings, body.params.explicit())
    missing = parameters.WEIGHTS_MISSING if parameters.weights_file() is None else None
    return CheckedParams(params=body.params, pretrained_missing=missing)
