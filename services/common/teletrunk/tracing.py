"""Traces by OpenTelemetry: one call, one trace, whichever service saw it.

The trace's id is made from the call's id, so nothing has to be handed from service to service, and a call's id finds
its trace. Off until OTEL_EXPORTER_OTLP_ENDPOINT names a collector; without it a span costs next to nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

_tracer = trace.get_tracer("teletrunk")


def configure_tracing(service: str) -> None:
    """Sends spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names (OTLP over gRPC), if it does."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    # Imported here: without a collector nobody waits for them.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"teletrunk-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1_000))
    trace.set_tracer_provider(provider)


def trace_id(call_id: str) -> int:
    """128 bits of a hash: call ids are not secret, but they are longer."""
    return int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:16], "big")


def start_call_span(name: str, call_id: str) -> Span:
    """A span of the call's trace, for where a `with` does not fit (a generator). Must be ended."""
    root = SpanContext(
        trace_id(call_id), _root_span(call_id), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    context = trace.set_span_in_context(NonRecordingSpan(root))
    return _tracer.start_span(name, context=context, attributes={"call.id": call_id})


@contextlib.contextmanager
def call_span(name: str, call_id: str) -> Iterator[Span]:
    """A span of the call's trace, from here to the end of the block. An exception is noted in it, and raised on."""
    with trace.use_span(start_call_span(name, call_id), end_on_exit=True) as span:
        yield span


def _root_span(call_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"root {call_id}".encode()).digest()[:8], "big") or 1
