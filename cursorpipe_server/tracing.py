"""Requests as spans of OpenTelemetry, for those who collect them (`cursorpipe[otel]`).

Spans are made when a request is over, with the times that were noted on its way: until then it costs nothing.
Semantic conventions for HTTP and for generative AI name what they tell.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from cursorpipe_core import __version__
from cursorpipe_server.errors import FAILURES
from cursorpipe_server.keys import CHOICES, MODEL, STARTED
from cursorpipe_server.outcomes import OK
from cursorpipe_server.routes import template_of
from cursorpipe_server.trace_context import TRACE, TraceContext

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

#: Seconds in which the last spans have to be sent when the server stops.
CLOSE_TIMEOUT_S = 2.0
#: Says that spans are wanted, and where they go (OpenTelemetry's own variables).
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing:
    """Tells a collector of every request, and of its `queue`, `session`, `first text` and `stream`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("cursorpipe", __version__)

    def tell(self, request: web.Request, status: int | None, outcome: str, took_s: float) -> None:
        """Tell of a request that is over."""
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 — an extra

        started = request[STARTED]
        at = _Clock()
        span = self._tracer.start_span(
            f"{request.method} {template_of(request)}",
            context=_parent(TRACE.get()),
            kind=SpanKind.SERVER,
            start_time=at.ns(started),
            attributes={
                "http.request.method": request.method,
                "http.route": template_of(request),
                "url.path": request.rel_url.raw_path,
                **({} if status is None else {"http.response.status_code": status}),
            },
        )
        if outcome != OK:
            span.set_attribute("error.type", outcome)
        if outcome in FAILURES:
            span.set_status(Status(StatusCode.ERROR, outcome))
        if CHOICES in request:
            self._tell_stages(request, span, at, started, started + took_s)
        span.end(at.ns(started + took_s))

    async def close(self) -> None:
        """Send what has not been sent, within a bound: a collector that is gone holds up no stop."""
        # Nothing waits for a daemon's thread at the end of the program; the exporter's tries take longer.
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_TIMEOUT_S)
        if closing.is_alive():
            logger.warning("the collector has not taken the last spans within %.0fs", CLOSE_TIMEOUT_S)

    def _tell_stages(
        self, request: web.Request, span: Span, at: _Clock, started: float, ended: float
    ) -> None:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 — an extra

        choices = request[CHOICES]
        course = choices.course
        span.set_attribute("gen_ai.request.model", request[MODEL])
        if choices.backend is not None:
            span.set_attribute("cursorpipe.backend", choices.backend)
        if choices.usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", choices.usage.input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", choices.usage.output_tokens)
        prompted = ended if course.prompted_s is None else min(ended, started + course.prompted_s)
        placed = prompted if course.queued_s is None else min(prompted, started + course.queued_s)
        first_at = max(prompted, choices.first_text_at or ended)
        stages = (
            ("queue", started, placed),
            ("session", placed, prompted),
            ("first text", prompted, first_at),
            ("stream", first_at, ended),
        )
        inside = set_span_in_context(span)
        for name, begin, end in stages:
            if end > begin:
                self._tracer.start_span(name, context=inside, start_time=at.ns(begin)).end(at.ns(end))


class _Clock:
    """The times of `time.perf_counter` as those of the calendar, in nanoseconds."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - round(time.perf_counter() * 1e9)

    def ns(self, moment: float) -> int:
        return self._offset_ns + round(moment * 1e9)


def _parent(trace: TraceContext | None) -> Context | None:
    if trace is None:
        return None
    from opentelemetry.trace import (  # noqa: PLC0415 — an extra
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    context = SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context))


def tracing_from_environment(environ: Mapping[str, str]) -> Tracing | None:
    """Return what tells the collector that the environment names; None if it names none.

    Raises ImportError if the extra is not installed.
    """
    if not any(environ.get(name) for name in ENDPOINTS):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 — an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 — an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 — an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 — an extra

    resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME") or "cursorpipe"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
