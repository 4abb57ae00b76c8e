"""What the program logs, for people and for machines."""

from __future__ import annotations

import json

import aiohttp
import pytest

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
