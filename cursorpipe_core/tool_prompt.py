"""Tools for agents that take none: they are described in the prompt, and a call is a block of the answer.

The last resort. A model may take it for an attempt to mislead it, nothing is shown before the answer is
whole, and every result is a conversation begun anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NoReturn

from cursorpipe_core.arguments import violations_of
from cursorpipe_core.attempt import Attempt
from cursorpipe_core.call_ids import new_call_id, new_turn_key
from cursorpipe_core.completion import (
    Began,
    Calls,
    CompletionEvent,
    Finish,
    FinishReason,
    Message,
    Role,
    TextDelta,
    ToolCall,
    ToolUse,
    ToolWay,
)
from cursorpipe_core.errors import AgentError, ToolChoiceError
from cursorpipe_core.gathered import Gathered
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.tools import Tool, canonical_arguments

logger = logging.getLogger(__name__)

#: Calls of one answer that are looked at.
MAX_CALLS = 32

_BLOCK = re.compile(r"```tool_call[ \t]*\r?\n(.*?)\r?\n[ \t]*```", re.DOTALL)
_FORM = """\
To call a tool, end your answer with a block of exactly this form, and write nothing after it:

```tool_call
{"tool": "<name>", "arguments": {…}}
```

The user runs the tool and comes back with what it gave. Never guess what a tool would give."""


def describe(use: ToolUse) -> Message:
    """Return what the agent is told of its caller's tools."""
    told = ["The user offers you these tools, each with the JSON schema of its arguments:"]
    told += [
        f"- {tool.name}: {tool.description}\n  {json.dumps(tool.schema or {}, ensure_ascii=False)}"
        for tool in use.tools.tools
    ]
    told.append(_FORM)
    if use.parallel:
        told.append("For several calls at once, write several blocks.")
    if use.required:
        told.append("You have to call a tool; do not answer without a call.")
    return Message(Role.SYSTEM, "\n".join(told))


class _Answer:
    """What an answer turns out to be: text, calls, or calls that are not as they should be."""

    def __init__(self, text: str, use: ToolUse) -> None:
        self.text = text
        self.calls: list[ToolCall] = []
        self.wrong: list[str] = []
        key = new_turn_key()
        blocks = list(_BLOCK.finditer(text))[: MAX_CALLS if use.parallel else 1]
        tools = {tool.name: tool for tool in use.tools.tools}
        for block in blocks:
            called = _called(block[1], tools)
            if isinstance(called, str):
                self.wrong.append(called)
            else:
                self.calls.append(ToolCall(new_call_id(key), *called))
        if blocks and not self.wrong:
            self.text = text[: blocks[0].start()].rstrip()
        elif use.required and not blocks:
            self.wrong.append("There is no call, but a tool has to be called.")


async def with_tools_by_prompt(
    attempt: Attempt, use: ToolUse, events: AsyncGenerator[list[CompletionEvent], None]
) -> AsyncGenerator[list[CompletionEvent], None]:
    """Yield the events of an answer in which blocks are calls, when it is whole.

    One whose calls are not as they should be is corrected once, in the same session, and then taken for
    plain text. Raises ToolChoiceError where there has to be a call and still is none.
    """
    gathered = Gathered()
    try:
        async with aclosing(events) as batches:
            async for batch in batches:
                if passed := _named(gathered.take(batch)):
                    yield passed
        answer = await attempt.in_time(asyncio.to_thread(_Answer, gathered.text(), use))
        if answer.wrong and gathered.reason is FinishReason.STOP and attempt.dialogue is not None:
            logger.info("the calls in the answer are corrected: %d faults", len(answer.wrong))
            async with aclosing(attempt.another_turn(Prompt(_correction(answer.wrong)))) as batches:
                async for batch in batches:
                    if passed := gathered.take(batch):
                        yield passed
            answer = await attempt.in_time(asyncio.to_thread(_Answer, gathered.text(), use))
        if use.required and not answer.calls:
            raise ToolChoiceError
    except AgentError as exc:
        raise exc.of_request(begun=attempt.begun) from exc
    finally:
        attempt.end_dialogue()
    text = [TextDelta([answer.text])] if answer.text or not answer.calls else []
    if answer.calls and not answer.wrong:
        yield [*text, Calls(answer.calls), gathered.usage, Finish(FinishReason.TOOL_CALLS)]
    else:
        yield [*text, gathered.usage, Finish(gathered.reason)]


def _named(batch: Sequence[CompletionEvent]) -> list[CompletionEvent]:
    """Return events of which the first says by which way the tools are offered."""
    return [replace(event, tools=ToolWay.PROMPT) if isinstance(event, Began) else event for event in batch]


def _called(block: str, tools: dict[str, Tool]) -> tuple[str, str] | str:
    """Return the name and the arguments of a call, or what is wrong with it."""
    try:
        call = json.loads(block, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        return f"The block is not JSON: {exc}."
    if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict):
        return "The block is not an object with 'tool' and 'arguments'."
    tool = tools.get(str(call.get("tool")))
    if tool is None:
        return f"There is no tool '{str(call.get('tool'))[:100]}'."
    wrong = violations_of(tool, call["arguments"])
    if wrong:
        return f"The arguments for '{tool.name}' are not valid: {' '.join(wrong)}"
    return tool.name, canonical_arguments(tool, call["arguments"])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _correction(wrong: Sequence[str]) -> str:
    return "Your answer cannot be used:\n" + "".join(f"- {fault}\n" for fault in wrong) + f"\n{_FORM}"
