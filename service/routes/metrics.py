"""Figures for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from core.store.keys import Scope
from service.access import needs
from service.context import Ctx
from service.stored_metrics import StoredMetrics

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
@needs(Scope.READ)
def get_metrics(context: Ctx) -> Response:
    """Requests, queues, jobs, training and indexes in Prometheus' text format; docs/operations.md lists the metrics."""
    figures = context.metrics.text(StoredMetrics(context.settings, context.db))
    return Response(figures, media_type=CONTENT_TYPE_PLAIN_0_0_4)
