"""How are Spans told to a collector? As the JSON of opentelemetry-proto (trace/v1): ids in hex, large numbers as text.

msgspec writes it: the SDK with its exporter would bring requests, protobuf, a thread a process and global state.
"""

from collections.abc import Sequence

import msgspec

from storage.spans import Attribute, Span

ERROR = 2


def encoded(spans: Sequence[Span], resource: dict[str, Attribute]) -> bytes:
    """An ExportTraceServiceRequest."""
    scope = {"scope": {"name": "entrepot"}, "spans": [_span(one) for one in spans]}
    told = {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}]}
    return msgspec.json.encode(told)


def _span(span: Span) -> dict[str, object]:
    told: dict[str, object] = {
        "traceId": span.trace.id,
        "spanId": span.id,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }
    if span.parent:
        told["parentSpanId"] = span.parent
    if span.trace.state:
        told["traceState"] = span.trace.state
    if span.failed:
        told["status"] = {"code": ERROR, "message": span.failed}
    return told


def _attributes(attributes: dict[str, Attribute]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Attribute) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
