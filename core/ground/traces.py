"""Traces and metrics for an OpenTelemetry collector: off unless the standard variable ``OTEL_EXPORTER_OTLP_ENDPOINT`` names one.

A trace begins with an HTTP request, or with the client's own ``traceparent`` (W3C), and goes on in the jobs that the request
makes and in their training processes. Spans name routes, ids and statuses, never labels or queries.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)
TRACEPARENT = "TRACEPARENT"  # the variable by which a process is told what it is a part of
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
Attributes = dict[str, str | int]

_tracer: "Tracer | None" = None
_seconds: "Histogram | None" = None


def configure(name: str) -> None:
    """Send what this process does to the collector, if one is named. Called after any fork, since it starts threads.

    Args:
        name: of the service; ``OTEL_SERVICE_NAME`` comes first.
    """
    global _tracer, _seconds
    if not os.environ.get(_ENDPOINT) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("%s is set, and nothing is sent there: %s; install the extra [otel]", _ENDPOINT, error)
        return
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", name)})
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    figures = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    _tracer = spans.get_tracer("anchorhood")
    _seconds = figures.get_meter("anchorhood").create_histogram("anchorhood.duration", "s", "How long requests and jobs take.")


@contextmanager
def span(name: str, parent: str | None = None, **attributes: str | int) -> Iterator[Attributes]:
    """What is done within the block.

    Args:
        parent: the ``traceparent`` of what it is a part of; without it that of the current context, if there is one.

    Yields:
        Attributes that are known only at its end; ``name`` among them is its name.
    """
    later: Attributes = {}
    if _tracer is None or _seconds is None:
        yield later
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    began = time.perf_counter()
    # An exception's text may hold anything.
    with _tracer.start_as_current_span(
        name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as started:
        try:
            yield later
        finally:
            name = str(later.pop("name", name))
            started.update_name(name)
            started.set_attributes(later)
            _seconds.record(time.perf_counter() - began, {"name": name})


def current() -> str | None:
    """The ``traceparent`` of what is being done."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
