"""How does a test get a collector of traces? The OpenTelemetry Collector itself, or, where a collector has to fail or
tell what it was sent, an HTTP server on loopback, which reads by the official schema.

The JSON of OTLP is that of protobuf but for ids, which are hex and not base64; everything else is parsed strictly.
"""

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.ports import free_port
from tests.harness.clients import program
from tests.harness.waiting import until

WAIT_SECONDS_MAX = 30.0
_IDS = ("traceId", "spanId", "parentSpanId")


class Seen(NamedTuple):
    """One span."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    status: int
    state: str
    facts: dict[str, Any]
    resource: dict[str, Any]


def decoded(body: bytes) -> list[Seen]:
    """The spans of an ExportTraceServiceRequest in JSON. Raises ParseError where it is none."""
    told = json.loads(body)
    for resource in told["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in _IDS:
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    found = []
    for one in ParseDict(told, ExportTraceServiceRequest()).resource_spans:
        resource = _facts(one.resource.attributes)
        for span in (span for scope in one.scope_spans for span in scope.spans):
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
            found.append(
                Seen(
                    span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
                    span.status.code, span.trace_state, _facts(span.attributes), resource,
                )
            )  # fmt: skip
    return found


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector:
    """`status` is what it answers with; `raw` are the bodies, `headers` those of the last request."""

    def __init__(self) -> None:
        self.status = 200
        self.raw: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.seen: list[Seen] = []
        self._news = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.took(body, {name.lower(): value for name, value in self.headers.items()})
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def took(self, body: bytes, headers: dict[str, str]) -> None:
        with self._news:
            self.raw.append(body)
            self.headers = headers
            if self.status == 200:
                self.seen += decoded(body)
            self._news.notify_all()

    def until(self, enough: Callable[[list[Seen]], bool]) -> list[Seen]:
        """The spans, once they are enough."""
        end_s = time.monotonic() + WAIT_SECONDS_MAX
        with self._news:
            while not enough(self.seen):
                assert self._news.wait(max(0.0, end_s - time.monotonic())), self.seen
            return list(self.seen)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


CONFIGURATION = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
processors: {{batch: {{timeout: 100ms}}}}
exporters: {{file: {{path: "{told}", flush_interval: 100ms}}}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [file]}}}}
"""


class OtelCollector:
    """The OpenTelemetry Collector (tests/harness/otelcol), which writes what it took into a file, as JSON."""

    def __init__(self, folder: Path) -> None:
        """Skips, or fails in CI, where it is not there."""
        self._program = program("otelcol")
        self._told, self._log = folder / "otelcol.jsonl", folder / "otelcol.log"
        self._configuration = folder / "otelcol.yaml"
        self._port = free_port()
        self._configuration.write_text(CONFIGURATION.format(port=self._port, told=self._told))
        self.url = f"http://127.0.0.1:{self._port}/v1/traces"

    @property
    def raw(self) -> bytes:
        """All that it wrote."""
        return self._told.read_bytes() if self._told.exists() else b""

    @property
    def words(self) -> str:
        """What it complains of."""
        return self._log.read_text()

    def seen(self) -> list[Seen]:
        return [span for line in self.raw.splitlines(keepends=True) if line.endswith(b"\n") for span in decoded(line)]

    def until(self, enough: Callable[[list[Seen]], bool]) -> list[Seen]:
        """The spans, once they are enough."""
        until(lambda: enough(self.seen()), "the collector has the spans")
        return self.seen()

    def __enter__(self) -> "OtelCollector":
        with self._log.open("wb") as log:
            command = [self._program, "--config", str(self._configuration)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._listens, "the collector listens")
        return self

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.words
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
