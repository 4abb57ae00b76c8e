from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cursorpipe_core import turn as turn_module
from cursorpipe_core.completion import (
    CompletionEvent,
    Finish,
    FinishReason,
    TextDelta,
    ThoughtDelta,
    Usage,
)
from cursorpipe_core.errors import AgentCrashError, AgentTimeoutError, BacklogError, RateLimitError
from cursorpipe_core.turn import Clocks, EmptyAnswerError, Turn

FINISH = Finish(FinishReason.STOP)
CLOCKS = Clocks(first_event_s=5, idle_s=5, total_s=5)


@pytest.fixture
async def turn() -> Turn:
    return Turn(prompt_bytes=40, clocks=CLOCKS, left_s=5)


@pytest.fixture(autouse=True)
def closed(turn: Turn) -> Iterator[None]:
    yield
    turn.close()


async def read_all(turn: Turn) -> list[CompletionEvent]:
    events: list[CompletionEvent] = []
    while batch := await turn.read():
        events += batch
    return events


async def test_what_is_ready_together_is_one_batch(turn: Turn) -> None:
    turn.text("a")
    turn.text("b")
    turn.thought("hm")
    assert await turn.read() == [TextDelta(["a", "b"]), ThoughtDelta(["hm"])]


async def test_a_waiting_reader_is_woken_once_for_all_of_one_round(turn: Turn) -> None:
    reading = asyncio.create_task(turn.read())
    await asyncio.sleep(0)
    turn.text("a")
    turn.text("b")
    assert await reading == [TextDelta(["a", "b"])]


async def test_the_end_is_usage_and_then_finish(turn: Turn) -> None:
    turn.text("12345678")
    turn.finish(FinishReason.STOP)
    assert await read_all(turn) == [TextDelta(["12345678"]), Usage(10, 2, estimated=True), FINISH]


async def test_usage_that_the_agent_reports_is_passed_on(turn: Turn) -> None:
    turn.text("x")
    turn.finish(FinishReason.LENGTH, Usage(7, 3, 2))
    assert (await read_all(turn))[1:] == [Usage(7, 3, 2), Finish(FinishReason.LENGTH)]


async def test_text_before_a_failure_still_reaches_the_reader(turn: Turn) -> None:
    turn.text("half")
    turn.fail(AgentCrashError("gone"))
    assert await turn.read() == [TextDelta(["half"])]
    with pytest.raises(AgentCrashError):
        await turn.read()


async def test_an_error_that_comes_as_text_fails_the_turn(turn: Turn) -> None:
    turn.text("half")
    turn.text("\n\nError: RetriableError: [resource_exhausted] Error")
    turn.finish(FinishReason.STOP)
    with pytest.raises(RateLimitError):
        await read_all(turn)


async def test_an_error_text_explains_a_crash_after_it(turn: Turn) -> None:
    turn.text("Error: RetriableError: [resource_exhausted] Error")
    turn.fail(AgentCrashError("exit status 1"))
    with pytest.raises(RateLimitError):
        await turn.read()


async def test_an_answer_without_words_is_a_failure(turn: Turn) -> None:
    turn.text("")
    turn.finish(FinishReason.STOP)
    with pytest.raises(EmptyAnswerError):
        await turn.read()


async def test_an_emoji_cut_in_half_is_whole_again(turn: Turn) -> None:
    for piece in ("a\ud83d", "\ude00b", "\ud83d", "\ude00", "\ude00!"):
        turn.text(piece)
    turn.finish(FinishReason.STOP)
    texts = [event.text for event in await read_all(turn) if isinstance(event, TextDelta)]
    assert "".join(texts) == "a😀b😀�!"


async def test_half_an_emoji_at_the_end_is_replaced(turn: Turn) -> None:
    turn.text("a\ud83d")
    turn.finish(FinishReason.STOP)
    assert [event for event in await read_all(turn) if isinstance(event, TextDelta)] == [
        TextDelta(["a", "�"])
    ]


async def test_the_bound_on_the_whole_ends_the_turn_and_tells_the_backend() -> None:
    abandoned = asyncio.Event()
    turn = Turn(prompt_bytes=1, clocks=Clocks(300, 300, 300), left_s=0.01)
    turn.on_abandoned = abandoned.set
    with pytest.raises(AgentTimeoutError, match=r"timed out after 300\.0s"):
        await turn.read()
    turn.close()
    assert abandoned.is_set()


def hurried(**clocks: float) -> Turn:
    """Return a turn that has begun, with one clock that runs quickly."""
    bounds = {"first_event_s": 300.0, "idle_s": 300.0, "total_s": 300.0} | clocks
    turn = Turn(prompt_bytes=1, clocks=Clocks(**bounds), left_s=300)
    turn.begin()
    return turn


async def test_an_agent_that_shows_no_sign_of_work_is_not_waited_for() -> None:
    with pytest.raises(AgentTimeoutError, match="first sign of work"):
        await hurried(first_event_s=0.02).read()


async def test_the_first_clock_does_not_run_while_a_request_waits_for_its_turn() -> None:
    turn = Turn(prompt_bytes=1, clocks=Clocks(0.01, 300, 300), left_s=300)
    await asyncio.sleep(0.05)
    assert not turn.ended
    turn.begin()
    with pytest.raises(AgentTimeoutError):
        await turn.read()


async def test_an_agent_that_falls_silent_is_not_waited_for() -> None:
    turn = hurried(first_event_s=0.05, idle_s=0.1)
    turn.text("x")
    assert await turn.read() == [TextDelta(["x"])]
    with pytest.raises(AgentTimeoutError, match="next sign of work"):
        await turn.read()


async def test_every_sign_of_work_starts_the_silence_anew() -> None:
    turn = hurried(first_event_s=0.05, idle_s=0.2)
    for piece in "abcdef":
        turn.thought(piece) if piece in "bd" else turn.text(piece)
        await asyncio.sleep(0.06)
    assert not turn.ended
    turn.close()


async def test_text_that_is_held_back_is_a_sign_of_work_too() -> None:
    turn = hurried(first_event_s=0.05)
    turn.text("Error: RetriableError: ")
    await asyncio.sleep(0.1)
    assert not turn.ended
    turn.close()


async def test_a_reader_that_leaves_tells_the_backend_once(turn: Turn) -> None:
    calls: list[int] = []
    turn.on_abandoned = lambda: calls.append(1)
    turn.close()
    turn.close()
    turn.text("late")
    turn.finish(FinishReason.STOP)
    assert calls == [1]
    assert await turn.read() == []


async def test_a_reader_that_leaves_after_the_end_tells_nobody(turn: Turn) -> None:
    calls: list[int] = []
    turn.on_abandoned = lambda: calls.append(1)
    turn.text("x")
    turn.finish(FinishReason.STOP)
    turn.close()
    assert not calls


async def test_a_reader_too_far_behind_loses_its_turn(turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "MAX_BACKLOG", 10)
    turn.text("x" * 100)
    turn.text("y")
    with pytest.raises(BacklogError):
        await turn.read()


async def test_a_huge_answer_that_ends_before_it_is_read_is_whole(
    turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_module, "MAX_BACKLOG", 10)
    turn.text("x" * 100)
    turn.finish(FinishReason.STOP)
    assert [type(event) for event in await read_all(turn)] == [TextDelta, Usage, Finish]


async def test_the_agent_is_stopped_when_a_bound_is_passed_not_when_the_reader_returns(
    turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_module, "MAX_BACKLOG", 10)
    calls: list[int] = []
    turn.on_abandoned = lambda: calls.append(1)
    turn.text("x" * 100)
    turn.text("y")
    assert calls == [1]
    turn.finish(FinishReason.STOP)
    with pytest.raises(BacklogError):
        await turn.read()


async def test_white_space_alone_is_no_answer(turn: Turn) -> None:
    turn.text("\n\n ")
    turn.finish(FinishReason.STOP)
    with pytest.raises(EmptyAnswerError):
        await read_all(turn)


async def test_a_refusal_needs_no_words(turn: Turn) -> None:
    turn.finish(FinishReason.REFUSAL)
    assert (await read_all(turn))[-1] == Finish(FinishReason.REFUSAL)


async def test_one_huge_piece_is_no_backlog(turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "MAX_BACKLOG", 10)
    turn.text("x" * 100)
    assert await turn.read() == [TextDelta(["x" * 100])]
