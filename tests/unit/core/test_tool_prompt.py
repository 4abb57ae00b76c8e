"""Tools without MCP: what the agent is told, and what of its answers are calls."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence

import pytest

from cursorpipe_core.attempt import Attempt
from cursorpipe_core.completion import (
    Backend,
    Began,
    Calls,
    CompletionEvent,
    CompletionRequest,
    Course,
    Finish,
    FinishReason,
    TextDelta,
    ToolUse,
    ToolWay,
    Usage,
)
from cursorpipe_core.errors import ToolChoiceError
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.tool_prompt import describe, with_tools_by_prompt
from cursorpipe_core.tools import Tool, ToolSet
from cursorpipe_core.turn import Clocks, Turn

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = ToolSet([Tool("get_weather", "Look it up.", CITY), Tool("get_time")])
USAGE = Usage(1, 1)


def block(tool: str, **arguments: object) -> str:
    return f"```tool_call\n{json.dumps({'tool': tool, 'arguments': arguments})}\n```"


PARIS = block("get_weather", city="Paris")


class Conversation:
    """A kept session that answers corrections from a script."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.closed = 0

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        self.asked.append(prompt.text)
        turn.begin()
        turn.text(self.answers.pop(0))
        turn.finish(FinishReason.STOP, USAGE)

    def close(self) -> None:
        self.closed += 1


async def said(
    answer: str, *corrected: str, required: bool = False, parallel: bool = True
) -> tuple[list[CompletionEvent], Conversation]:
    """Return the events that come of an answer, and the session in which it may have been corrected."""
    talk = Conversation(corrected)
    attempt = Attempt(
        Backend.ACP,
        None,
        Prompt("hi"),
        CompletionRequest([]),
        course=Course(),
        clocks=Clocks(9, 9, 9),
        keep=True,
    )
    attempt.dialogue = talk

    async def events() -> AsyncGenerator[list[CompletionEvent], None]:
        attempt.begun = True
        yield [Began(Backend.ACP, None), TextDelta([answer[:5]])]
        yield [TextDelta([answer[5:]]), USAGE, Finish(FinishReason.STOP)]

    use = ToolUse(TOOLS, required=required, parallel=parallel)
    found = [event async for batch in with_tools_by_prompt(attempt, use, events()) for event in batch]
    assert talk.closed == 1
    return found, talk


def calls_of(events: Sequence[CompletionEvent]) -> list[tuple[str, str]]:
    return [(one.name, one.arguments) for event in events if isinstance(event, Calls) for one in event.calls]


def text_of(events: Sequence[CompletionEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_agent_is_told_every_tool_with_its_schema() -> None:
    told = describe(ToolUse(TOOLS, required=True)).text
    for part in ("get_weather", "Look it up.", json.dumps(CITY), "get_time", "```tool_call", "have to call"):
        assert part in told
    assert "several blocks" in told
    assert "several blocks" not in describe(ToolUse(TOOLS, parallel=False)).text


async def test_an_answer_without_a_block_is_an_answer() -> None:
    events, _ = await said("It is noon. ```json\n{}\n```")
    assert events[0] == Began(Backend.ACP, None, ToolWay.PROMPT)
    assert text_of(events) == "It is noon. ```json\n{}\n```"
    assert events[-1] == Finish(FinishReason.STOP)


async def test_a_block_is_a_call_and_what_stands_before_it_its_words() -> None:
    events, talk = await said(f"Let me see.\n\n{PARIS}")
    assert calls_of(events) == [("get_weather", '{"city":"Paris"}')]
    assert text_of(events) == "Let me see."
    assert events[-2:] == [USAGE, Finish(FinishReason.TOOL_CALLS)]
    assert not talk.asked


@pytest.mark.parametrize("parallel", [True, False])
async def test_several_blocks_are_calls_together_where_that_is_wanted(parallel: bool) -> None:
    events, _ = await said(f"{PARIS}\n{block('get_time')}", parallel=parallel)
    assert [name for name, _ in calls_of(events)] == ["get_weather", "get_time"][: 1 + parallel]
    assert text_of(events) == ""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("```tool_call\n{'tool'}\n```", "not JSON"),
        ('```tool_call\n{"tool": "get_time"}\n```', "'arguments'"),
        (block("get_moon"), "no tool 'get_moon'"),
        (block("get_weather", town="Paris"), "'city' is a required property"),
    ],
)
async def test_a_wrong_call_is_corrected_in_the_same_session(wrong: str, told: str) -> None:
    events, talk = await said(wrong, PARIS)
    assert told in talk.asked[0]
    assert calls_of(events) == [("get_weather", '{"city":"Paris"}')]
    usage = next(event for event in events if isinstance(event, Usage))
    assert (usage.input_tokens, usage.output_tokens) == (2, 2), "both turns are counted"


async def test_a_call_that_stays_wrong_is_plain_text() -> None:
    wrong = block("get_moon")
    events, _ = await said(wrong, wrong)
    assert calls_of(events) == []
    assert text_of(events) == wrong
    assert events[-1] == Finish(FinishReason.STOP)


async def test_a_call_that_has_to_be_made_is_asked_for_once() -> None:
    events, talk = await said("I would rather not.", PARIS, required=True)
    assert "has to be called" in talk.asked[0]
    assert calls_of(events) == [("get_weather", '{"city":"Paris"}')]
    with pytest.raises(ToolChoiceError) as caught:
        await said("I would rather not.", "No.", required=True)
    assert caught.value.begun


async def test_every_call_has_an_id_of_its_own() -> None:
    events, _ = await said(f"{PARIS}\n{PARIS}")
    (calls,) = (event.calls for event in events if isinstance(event, Calls))
    assert len({one.id for one in calls}) == 2
    assert all(one.id.startswith("call_") and len(one.id) == 29 for one in calls)
