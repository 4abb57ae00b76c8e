from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from cursorpipe_core import AgentCrashError, CompletionEvent, RateLimitError, TextDelta, ToolEvent
from cursorpipe_server import sse
from tests.unit.server.conftest import BEGAN, HELLO, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"


async def test_an_error_before_the_first_text_keeps_its_status(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, ToolEvent("1", "ls", "pending")], RateLimitError("spent")]
    response = await (await make_client()).post(CHAT, json=ask(stream=True))
    assert response.status == 429
    assert (await response.json())["error"]["code"] == "rate_limited"


async def test_an_error_after_it_is_one_frame_and_the_stream_does_not_say_done(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, TextDelta(["half"])], AgentCrashError("gone")]
    response = await (await make_client()).post(CHAT, json=ask(stream=True))
    *_, last, end = (await response.text()).split("\n\n")
    assert response.status == 200
    assert json.loads(last.removeprefix("data: ")) == {
        "error": {"message": "gone", "type": "agent_error", "param": None, "code": "agent_crash"}
    }
    assert end == ""


async def test_an_error_that_cannot_be_told_ends_the_stream_and_is_not_written_into_it(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, TextDelta(["half"])], AgentCrashError("half a pair: \ud83d")]
    text = await (await (await make_client()).post(CHAT, json=ask(stream=True))).text()
    assert "HTTP/1.1" not in text
    assert "[DONE]" not in text


async def test_a_fault_of_ours_in_mid_stream_is_a_frame_that_explains_nothing(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, TextDelta(["half"])], ValueError("secret")]
    text = await (await (await make_client()).post(CHAT, json=ask(stream=True))).text()
    assert '"code":"internal_error"' in text
    assert "secret" not in text


async def test_a_silent_agent_gets_headers_out_and_comments_keep_the_stream_alive(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    thinking = asyncio.Event()
    router.script = [thinking, HELLO]
    client = await make_client(keepalive_s=0.05)
    async with client.post(CHAT, json=ask(stream=True)) as response:
        assert response.status == 200
        assert await response.content.readuntil(b"\n\n") == b": keep-alive\n\n"
        assert (await response.content.readuntil(b"\n\n")).startswith(b":")
        thinking.set()
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    assert '"content":"Hel"' in text


async def test_an_error_after_silence_is_a_frame(make_client: MakeClient, router: ScriptedRouter) -> None:
    thinking = asyncio.Event()
    router.script = [thinking, RateLimitError("spent")]
    client = await make_client(keepalive_s=0.05)
    async with client.post(CHAT, json=ask(stream=True)) as response:
        await response.content.readuntil(b"\n\n")
        thinking.set()
        assert '"code":"rate_limited"' in await response.text()


async def test_chunks_that_are_ready_together_go_out_as_events_of_their_own(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, *(TextDelta([str(n)]) for n in range(50))], HELLO[3:]]
    text = await (await (await make_client()).post(CHAT, json=ask(stream=True))).text()
    assert text.count("data: ") == 53


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_closes_the_answer(
    make_client: MakeClient, router: ScriptedRouter, stream: bool, begun: bool
) -> None:
    never, reached = asyncio.Event(), asyncio.Event()

    class Reached(list[object]):
        """A batch whose sending is noticed."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            reached.set()
            return super().__iter__()

    router.script = [Reached([BEGAN, TextDelta(["x"])] if begun else []), never]  # type: ignore[list-item]
    client = await make_client()
    request = asyncio.create_task(client.post(CHAT, json=ask(stream=stream)))
    await asyncio.wait_for(reached.wait(), 5)
    if begun and stream:
        (await request).close()
    else:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    await asyncio.wait_for(router.closed.wait(), 1)


async def test_a_client_that_leaves_is_noted_and_is_no_error(
    make_client: MakeClient, router: ScriptedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    router.script = [[BEGAN, TextDelta(["x"])], asyncio.Event()]
    client = await make_client()
    (await client.post(CHAT, json=ask(stream=True))).close()
    await asyncio.wait_for(router.closed.wait(), 1)
    await client.close()
    assert "(client_left)" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_client_that_stops_reading_is_cut_off_and_its_answer_closed(
    make_client: MakeClient, router: ScriptedRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_TIMEOUT_S", 0.2)
    more_than_a_connection_holds: list[CompletionEvent] = [
        BEGAN,
        *(TextDelta(["x" * 1_000_000]) for _ in range(32)),
    ]
    router.script = [more_than_a_connection_holds, asyncio.Event()]
    client = await make_client()
    async with client.post(CHAT, json=ask(stream=True)) as response:
        await asyncio.wait_for(router.closed.wait(), 5)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(response.read(), 5)


async def test_a_client_that_takes_a_little_all_the_time_is_never_cut_off(
    make_client: MakeClient, router: ScriptedRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SEND_TIMEOUT_S", 0.2)
    router.script = [[BEGAN, *(TextDelta(["x" * 1_000_000]) for _ in range(24)), *HELLO[1:]]]
    client = await make_client()
    took = 0.0
    async with client.post(CHAT, json=ask(stream=True)) as response:
        text = b""
        while data := await response.content.read(256 * 1024):
            text += data
            await asyncio.sleep(0.02)
            took += 0.02
    assert took > 2 * sse.SEND_TIMEOUT_S
    assert text.endswith(b"data: [DONE]\n\n")
