"""Requests as spans, and the traces that they are part of."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_core import (
    AgentCrashError,
    AgentSettings,
    AgentTimeoutError,
    Backend,
    Began,
    Finish,
    FinishReason,
    Router,
    SupervisorSettings,
    TextDelta,
    Usage,
)
from cursorpipe_server.app import create_app
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.trace_context import TraceContext, read_traceparent
from cursorpipe_server.tracing import ENDPOINTS, Tracing, tracing_from_environment
from tests.server import own_client
from tests.unit.server.conftest import Client, ScriptedRouter, ask
from tests.waiting import until

CHAT = "/v1/chat/completions"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """A server whose spans are kept."""

    def __init__(self, client: Client, exporter: InMemorySpanExporter) -> None:
        self.client = client
        self._exporter = exporter

    async def spans(self, count: int) -> Sequence[ReadableSpan]:
        await until(lambda: len(self._exporter.get_finished_spans()) >= count)
        return self._exporter.get_finished_spans()


@pytest.fixture
async def traced(router: ScriptedRouter, aiohttp_client: AiohttpClient) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = Settings(server=ServerSettings(), agent=AgentSettings(), supervision=SupervisorSettings())
    tracing = Tracing(provider)
    app = create_app(LiveSettings(settings), _as_router(router), tracing=tracing)
    yield Traced(await own_client(aiohttp_client, app), exporter)
    await tracing.close()


def _as_router(router: ScriptedRouter) -> Router:
    found: object = router
    assert isinstance(found, object)
    return found  # type: ignore[return-value] # it has what the server uses


async def test_a_request_is_a_span_with_its_stages(traced: Traced, router: ScriptedRouter) -> None:
    gate = asyncio.Event()
    router.waited_s = 1e-6, 2e-6
    router.script = [
        [Began(Backend.ACP, None)],
        gate,
        [TextDelta(["Hi"])],
        [Usage(3, 2, estimated=True), Finish(FinishReason.STOP)],
    ]
    asked = asyncio.ensure_future(traced.client.post(CHAT, json=ask(model="m")))
    await until(lambda: router.open == 1)
    opened_at = time.time_ns()
    gate.set()
    async with await asked as response:
        assert response.status == 200
    *stages, whole = await traced.spans(5)
    assert [span.name for span in stages] == ["queue", "session", "first text", "stream"]
    assert whole.name == f"POST {CHAT}"
    assert whole.parent is None
    attributes = whole.attributes or {}
    assert attributes["http.response.status_code"] == 200
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["cursorpipe.backend"] == "acp"
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (3, 2)
    assert whole.status.status_code is StatusCode.UNSET
    ends = [span.end_time for span in stages]
    assert [span.start_time for span in stages] == [whole.start_time, *ends[:-1]]
    assert ends[-1] == whole.end_time
    for span in stages:
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
    assert (stages[2].start_time or 0) <= opened_at <= (stages[2].end_time or 0), "the wait is in its stage"


@pytest.mark.parametrize(
    ("waited_s", "stages"),
    [
        ((None, None), ["queue"]),
        ((1e-6, None), ["queue", "session"]),
        ((1e-6, 2e-6), ["queue", "session", "first text"]),
    ],
)
async def test_a_request_that_fails_has_the_stages_it_came_to(
    traced: Traced,
    router: ScriptedRouter,
    waited_s: tuple[float | None, float | None],
    stages: list[str],
) -> None:
    router.waited_s = waited_s
    router.script = [AgentTimeoutError("first event", 60)]
    async with traced.client.post(CHAT, json=ask()) as response:
        assert response.status == 504
    *told, whole = await traced.spans(len(stages) + 1)
    assert [span.name for span in told] == stages
    assert told[-1].end_time == whole.end_time
    assert (whole.attributes or {})["cursorpipe.backend"] == "acp"


async def test_what_its_client_did_wrong_is_no_error_of_the_server(traced: Traced) -> None:
    async with traced.client.post(CHAT, json={"messages": []}) as response:
        assert response.status == 400
    (span,) = await traced.spans(1)
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["error.type"] == "invalid_value"


async def test_a_span_belongs_to_the_callers_trace(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    async with traced.client.get("/health", headers=headers):
        pass
    (span,) = await traced.spans(1)
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID


async def test_a_trace_that_its_caller_does_not_keep_is_not_kept(traced: Traced) -> None:
    async with traced.client.get("/health", headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"}):
        pass
    async with traced.client.get("/health"):
        pass
    (span,) = await traced.spans(1)
    assert f"{span.context.trace_id:032x}" != TRACE_ID


async def test_a_failure_is_told_as_one(traced: Traced, router: ScriptedRouter) -> None:
    router.script = [AgentCrashError("It died.")]
    async with traced.client.post(CHAT, json=ask()) as response:
        assert response.status == 500
    span = (await traced.spans(1))[-1]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "agent_crash"


async def test_nothing_of_what_is_asked_or_answered_is_told(traced: Traced, router: ScriptedRouter) -> None:
    router.script = [
        [Began(Backend.ACP, None), TextDelta(["an answer"])],
        [Usage(1, 1), Finish(FinishReason.STOP)],
    ]
    async with traced.client.post(CHAT, json=ask("a secret")):
        pass
    told = " ".join(span.to_json() for span in await traced.spans(2))
    assert "a secret" not in told
    assert "an answer" not in told


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", TraceContext(TRACE_ID, SPAN_ID, sampled=True)),
        (f" 00-{TRACE_ID}-{SPAN_ID}-00 ", TraceContext(TRACE_ID, SPAN_ID, sampled=False)),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later", TraceContext(TRACE_ID, SPAN_ID, sampled=True)),
        (f"00-{TRACE_ID}-{SPAN_ID}-01-more", None),
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID.upper()}-{SPAN_ID}-01", None),
        (f"00-{'0' * 32}-{SPAN_ID}-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID}-{SPAN_ID}", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_a_traceparent_is_read_as_the_recommendation_says(header: str, expected: TraceContext | None) -> None:
    assert read_traceparent(header) == expected


def test_without_a_collector_nothing_is_traced() -> None:
    assert tracing_from_environment({}) is None
    assert tracing_from_environment({ENDPOINTS[0]: ""}) is None


async def test_a_collector_that_is_gone_holds_up_no_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cursorpipe_server.tracing.CLOSE_TIMEOUT_S", 0.05)
    provider, gone = TracerProvider(), threading.Event()
    monkeypatch.setattr(provider, "shutdown", gone.wait)
    try:
        await Tracing(provider).close()
    finally:
        gone.set()
    assert "has not taken the last spans" in caplog.text
