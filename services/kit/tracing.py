"""Traces over OTLP, from submit to delivery, in every service. Off, and free, unless an endpoint is set.

A span's parent is what our own records say (`traceparent` of a task or a job), never what a sandbox sends: that may
only be linked to. Names and attributes come from closed sets: nothing that a tenant wrote is in a trace.
Source: W3C Trace Context, "traceparent"; docs/observability.md.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from services.kit.environment import environment

T = TypeVar("T")

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_OFF: AbstractContextManager[None] = contextlib.nullcontext()
Value = str | int | float | bool


def is_on() -> bool:
    """Say whether this process traces."""
    return _tracer() is not None


def span(
    name: str, *, parent: str | None = None, link: str = "", **attributes: Value
) -> AbstractContextManager[None]:
    """Frame a piece of work as a span, which is the current one inside.

    `parent` is a traceparent of our own records; None for the current span, or a new trace without one; with an empty
    one nothing is traced, as with what was submitted before tracing was on. `link` is a traceparent that is claimed.
    """
    tracer = _tracer()
    return _OFF if tracer is None or parent == "" else _span(tracer, name, parent, link, attributes)


def note(**attributes: Value) -> None:
    """Add attributes to the current span."""
    if _tracer() is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(attributes)


def traceparent() -> str:
    """Return the current span as a traceparent, to be written down with what follows from it; empty without one."""
    if _tracer() is None:
        return ""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def carried(call: Callable[[], T]) -> Callable[[], T]:
    """Return the call as one that has the current span in whatever thread it runs."""
    return call if _tracer() is None else functools.partial(contextvars.copy_context().run, call)


def flush() -> None:
    """Send what is not sent yet; for tests and the ends of processes."""
    if _tracer() is not None:
        _provider().force_flush()


@functools.cache
def _tracer() -> Any:
    return _provider().get_tracer("slipway") if environment().otlp_endpoint else None


@functools.cache
def _provider() -> Any:
    # A provider of our own and not the global one, so that libraries with spans of their own stay silent.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    env = environment()
    resource = Resource.create(
        {
            "service.name": _service_name(),
            "service.namespace": "slipway",
            "service.instance.id": f"{env.host_name}:{os.getpid()}",
            "deployment.environment.name": env.env,
        }
    )
    exporter = OTLPSpanExporter(endpoint=f"{(env.otlp_endpoint or '').rstrip('/')}/v1/traces", timeout=5)
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1_000))
    return provider


def _service_name() -> str:
    """Return the service that this process is of, as its Django settings say; the relay has none."""
    given = os.environ.get("OTEL_SERVICE_NAME")
    parts = os.environ.get("DJANGO_SETTINGS_MODULE", "").split(".")
    return given or (f"slipway-{parts[1]}" if len(parts) == 3 else "slipway-relay")


@contextlib.contextmanager
def _span(
    tracer: Any, name: str, parent: str | None, link: str, attributes: dict[str, Value]
) -> Iterator[None]:
    from opentelemetry import context as contexts
    from opentelemetry import trace

    context = None
    if parent is not None:
        known = _context_of(parent)
        context = (
            trace.set_span_in_context(trace.NonRecordingSpan(known), contexts.Context()) if known else None
        )
        context = context or contexts.Context()
    claimed = _context_of(link)
    links = [trace.Link(claimed)] if claimed else None
    with tracer.start_as_current_span(
        name,
        context,
        links=links,
        attributes=attributes,
        # An exception's message may hold what a tenant wrote.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(trace.StatusCode.ERROR)
            raise


def _context_of(text: str) -> Any:
    """Return the span that a traceparent names; None for one that is none."""
    if not TRACEPARENT.fullmatch(text):
        return None
    from opentelemetry import trace

    _, trace_id, span_id, flags = text.split("-")
    return trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(int(flags, 16))
    )
