from __future__ import annotations

from cursorpipe_core.completion import (
    Backend,
    Began,
    Calls,
    CompletionEvent,
    Finish,
    FinishReason,
    TextDelta,
    ThoughtDelta,
    ToolCall,
    ToolEvent,
    Usage,
)
from cursorpipe_core.gathered import Gathered


def test_text_is_kept_and_the_rest_is_passed_on() -> None:
    gathered = Gathered()
    passed: list[CompletionEvent] = [
        Began(Backend.ACP, None),
        ThoughtDelta(["hm"]),
        ToolEvent("1", "Grep", "done"),
    ]
    assert gathered.take([*passed, TextDelta(["a", "b"])]) == passed
    assert gathered.take([TextDelta(["c"])]) == []
    assert gathered.text() == "abc"


def test_the_text_is_forgotten_once_it_was_asked_for() -> None:
    gathered = Gathered()
    gathered.take([TextDelta(["first"])])
    gathered.text()
    gathered.take([TextDelta(["second"])])
    assert gathered.text() == "second"


def test_the_usage_of_all_turns_is_added_up() -> None:
    gathered = Gathered()
    gathered.take([Usage(10, 1)])
    gathered.take([Usage(5, 2, estimated=True)])
    assert gathered.usage == Usage(15, 3, estimated=True)


def test_calls_and_the_reason_of_the_last_end_are_known() -> None:
    gathered = Gathered()
    calls = Calls([ToolCall("call_1", "get_weather", "{}")])
    assert gathered.reason is FinishReason.STOP
    assert gathered.take([calls, Finish(FinishReason.TOOL_CALLS)]) == []
    assert (gathered.calls, gathered.reason) == ([calls], FinishReason.TOOL_CALLS)
