"""The reader of stream-json. Processes are the integration tests' subject."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cursorpipe_core.completion import CompletionEvent, Finish, TextDelta, ThoughtDelta, ToolEvent, Usage
from cursorpipe_core.errors import NetworkError, SessionError
from cursorpipe_core.stream_json import MAX_COMPLAINT, StreamReader
from cursorpipe_core.turn import Clocks, Turn

CLOCKS = Clocks(first_event_s=5, idle_s=5, total_s=5)
USAGE = {"inputTokens": 740, "outputTokens": 307, "cacheReadTokens": 28160, "cacheWriteTokens": 0}


class Run:
    """A reader with its turn."""

    def __init__(self) -> None:
        self.turn = Turn(prompt_bytes=4, clocks=CLOCKS, left_s=5)
        self.over = asyncio.Event()
        self.reader = StreamReader(self.turn, self.over)

    def feed(self, *events: Any) -> None:
        self.reader.feed(b"".join(orjson.dumps(event) + b"\n" for event in events))

    async def events(self) -> list[CompletionEvent]:
        events: list[CompletionEvent] = []
        while batch := await self.turn.read():
            events += batch
        return events

    async def text(self) -> str:
        return "".join(event.text for event in await self.events() if isinstance(event, TextDelta))


@pytest.fixture
async def run() -> Run:
    return Run()


@pytest.fixture(autouse=True)
def closed(run: Run) -> Iterator[None]:
    yield
    run.turn.close()


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "assistant",
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
        **fields,
    }


def delta(text: str) -> dict[str, Any]:
    return said(text, timestamp_ms=1)


def repeat(text: str) -> dict[str, Any]:
    return said(text, timestamp_ms=1, model_call_id="M")


def result(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text, **fields}


async def test_text_is_taken_once_although_it_comes_three_times(run: Run) -> None:
    run.feed(
        delta("Hel"), delta("lo. "), repeat("Hello. "), delta("Bye"), said("Hello. Bye"), result("Hello. Bye")
    )
    assert await run.text() == "Hello. Bye"
    assert run.over.is_set()


async def test_equal_deltas_are_not_taken_for_repeats(run: Run) -> None:
    run.feed(delta("ha"), delta("ha"), said("haha"), result("haha"))
    assert await run.text() == "haha"


async def test_a_build_without_deltas_is_read_by_its_segments(run: Run) -> None:
    run.feed(repeat("First. "), said("Second."), result("First. Second."))
    assert await run.text() == "First. Second."


async def test_the_result_is_the_answer_when_nothing_else_was(run: Run) -> None:
    run.feed(result("All of it"))
    assert await run.text() == "All of it"


async def test_the_result_completes_an_answer_whose_end_was_lost(run: Run) -> None:
    run.feed(delta("Hel"), result("Hello"))
    assert await run.text() == "Hello"


async def test_a_character_that_came_in_halves_is_no_difference(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    for half in ("\\ud83d", "\\ude00"):
        run.reader.feed(orjson.dumps(delta("HALF")).replace(b"HALF", half.encode()) + b"\n")
    run.feed(result("😀"))
    assert await run.text() == "😀"
    assert not caplog.records


async def test_an_answer_begun_anew_after_a_part_of_it_was_sent_is_a_failure(run: Run) -> None:
    run.feed(delta("Hel"), {"type": "retry", "subtype": "starting"}, delta("Hello"), result("Hello"))
    with pytest.raises(SessionError, match="anew"):
        await run.events()


async def test_a_retry_before_any_text_does_no_harm(run: Run) -> None:
    run.feed({"type": "retry", "subtype": "starting"}, delta("Hello"), result("Hello"))
    assert await run.text() == "Hello"


async def test_thoughts_tools_and_usage_are_told(run: Run) -> None:
    run.feed(
        {"type": "system", "subtype": "init"},
        {"type": "thinking", "subtype": "delta", "text": "hm"},
        {"type": "thinking", "subtype": "completed"},
        {"type": "tool_call", "subtype": "started", "call_id": "C", "tool_call": {"readToolCall": {}}},
        delta("x"),
        result("x", usage=USAGE),
    )
    events = await run.events()
    assert events[:2] == [ThoughtDelta(["hm"]), ToolEvent("C", "readToolCall", "started")]
    assert events[-2] == Usage(28900, 307, 28160, reasoning_tokens=1)
    assert isinstance(events[-1], Finish)


async def test_a_result_that_is_an_error_fails_the_turn(run: Run) -> None:
    run.feed(result("Error: ConnectError: [unavailable] x", is_error=True))
    with pytest.raises(NetworkError):
        await run.events()


async def test_what_is_no_event_is_kept_for_the_judge(run: Run) -> None:
    run.reader.feed(b"Workspace Trust Required\n[1]\n\n")
    run.feed({"type": "unknown"}, {"type": "assistant"}, {"type": "assistant", "message": {"content": "x"}})
    run.reader.feed(b"no line end")
    run.reader.feed(b"")
    assert run.reader.complaint.split() == ["Workspace", "Trust", "Required", "[1]", "no", "line", "end"]
    assert run.over.is_set()


async def test_of_a_long_complaint_its_beginning_is_kept(run: Run) -> None:
    for _ in range(1000):
        run.reader.feed(b"word " * 100 + b"\n" + b"x" * MAX_COMPLAINT + b"\n")
    assert run.reader.complaint.startswith("word word")
    assert len(run.reader.complaint) <= 2 * MAX_COMPLAINT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 50))
async def test_the_answer_is_the_same_however_the_bytes_are_cut(pieces: list[str], step: int) -> None:
    run = Run()
    whole = "A" + "".join(pieces)
    events = [delta("A"), *map(delta, pieces), said(whole), result(whole)]
    data = b"".join(orjson.dumps(event) + b"\n" for event in events)
    for at in range(0, len(data), step):
        run.reader.feed(data[at : at + step])
    assert await run.text() == whole
