"""What the program tells of its requests: people and machines in its log, collectors in spans."""

from __future__ import annotations

import gzip
import json

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pytest_aiohttp.plugin import AiohttpServer

from tests.integration.conftest import ask
from tests.integration.program import Start
from tests.waiting import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def asked(url: str) -> None:
    headers = {"x-request-id": "mine", "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/v1/chat/completions", json=ask("a secret")) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize("prompts", ["", "true"])
async def test_where_nobody_looks_every_line_is_an_object(start: Start, prompts: str) -> None:
    program = await start(
        "--demo", "--port", "0", CURSORPIPE_LOG_FORMAT="auto", CURSORPIPE_LOG_PROMPTS=prompts
    )
    await asked(await program.url())
    await until(lambda: '"first_text_ms"' in program.complaint)
    lines = [json.loads(line) for line in program.complaint.splitlines()]
    (access,) = (line for line in lines if "status" in line)
    assert access["request_id"] == "mine"
    assert access["trace_id"] == TRACE_ID
    assert (access["backend"], access["tokens_estimated"]) == ("acp", True)
    assert 0 < access["first_text_ms"] <= access["total_ms"]
    assert any("is ready" in line["message"] for line in lines), "the life of the workers is told"
    assert ("a secret" in program.complaint) is bool(prompts)


async def test_text_can_be_had_anywhere(start: Start) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_LOG_FORMAT="text")
    await asked(await program.url())
    await until(lambda: " first=" in program.complaint)
    (line,) = (line for line in program.complaint.splitlines() if "/v1/chat" in line)
    assert " INFO    mine cursorpipe_server.access: POST /v1/chat/completions 200 " in line
    assert "\x1b" not in line


async def test_a_collector_gets_every_span_before_the_program_ends(
    start: Start, aiohttp_server: AiohttpServer
) -> None:
    spans: list[Span] = []

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert any(each.key == "service.name" for each in resource.resource.attributes)
            spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    collector = await aiohttp_server(app)
    program = await start(
        "--demo", "--port", "0", OTEL_EXPORTER_OTLP_ENDPOINT=str(collector.make_url("/")).rstrip("/")
    )
    await asked(await program.url())
    program.process.terminate()
    assert await program.exit_status() == 0
    (request,) = (span for span in spans if span.name == "POST /v1/chat/completions")
    assert request.trace_id.hex() == TRACE_ID
    assert {span.name for span in spans if span.parent_span_id == request.span_id} >= {"queue", "first text"}
