"""Traces and metrics, as a collector receives them: OTLP over HTTP, read with OpenTelemetry's own messages."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import picture_zip
from tests.live import TINY, Live, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """The address of a collector, and what it has received by now, by path."""
    traces = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    kinds = {"/v1/traces": traces.ExportTraceServiceRequest, "/v1/metrics": metrics.ExportMetricsServiceRequest}
    received: dict[str, list[Any]] = {path: [] for path in kinds}

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            received[self.path].append(kinds[self.path].FromString(data))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spans(received: dict[str, list[Any]]) -> list[tuple[str, str, Any]]:
    """Service, name and message of each span of the trace."""
    found = []
    for request in received["/v1/traces"]:
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                found += [(named["service.name"], span.name, span) for span in scope.spans if span.trace_id.hex() == TRACE]
    return found


@pytest.mark.slow
def test_a_trace_goes_from_the_request_through_the_job_to_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        live = Live(tmp_path / "data").start()
        try:
            dataset = live.upload(picture_zip(tmp_path / "pictures.zip", 16))
            request = {"dataset_id": dataset, "params": TINY}
            headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            job = live.client.post("/jobs?secret=label", json=request, headers=headers).json()["id"]
            assert live.finished(job, 400)["status"] == "succeeded"
            wait_for(lambda: any(name == "train job" for _, name, _ in spans(received)), "the job's span", 60)
        finally:
            live.close()
    by_name = {(service, name): span for service, name, span in spans(received)}
    asked, done = by_name["anchorhood-api", "POST /jobs"], by_name["anchorhood-worker", "train job"]
    trained = [span for service, name, span in spans(received) if (service, name) == ("anchorhood-trainer", "trainer")]
    assert asked.parent_span_id.hex() == "b7ad6b7169203331"
    assert done.parent_span_id == asked.span_id
    assert len(trained) >= 2 and {span.parent_span_id for span in trained} == {done.span_id}
    assert {each.key: each.value.string_value for each in done.attributes}["job_id"] == job
    assert "secret" not in str(received)
    assert "anchorhood.duration" in str(received["/v1/metrics"])


def test_nothing_is_sent_where_no_collector_is_named() -> None:
    code = (  # redis brings the SDK in where it is installed
        "import sys, service.app, worker.tasks\n"
        "from core.ground import traces\n"
        "traces.configure('x')\n"
        "with traces.span('a'): assert traces.current() is None\n"
        "assert 'opentelemetry.exporter.otlp.proto.http.trace_exporter' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
