"""What a conversation says of its caller's tools: to the agent, and to whoever goes on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cursorpipe_core.completion import CompletionRequest, Message, Role, ToolResult, ToolUse

#: What an agent is told that has to call a tool and has not.
CALL_ONE = (
    "You have not called any of the tools that the user offers you, but one has to be called. "
    "Call the one that fits best now, and write nothing else."
)
#: What an agent is told of a conversation in which tools were called before.
_MADE_BEFORE = (
    "The calls of tools in this conversation were made, and what they gave stands behind them. Do not make "
    "them again; go on from there."
)
_REQUIRED = "You have to call one of the tools that the user offers you; do not answer without a call."


def with_notes(request: CompletionRequest, use: ToolUse) -> list[Message]:
    """Return the conversation with what the agent must know of its caller's tools."""
    notes = []
    if use.required:
        notes.append(_REQUIRED)
    if any(message.calls for message in request.messages):
        notes.append(_MADE_BEFORE)
    # What is the same for every request of a program comes first, where a provider's cache finds it.
    return [
        Message(Role.SYSTEM, use.tools.told()),
        *request.messages,
        *(Message(Role.SYSTEM, note) for note in notes),
    ]


def open_results(messages: Sequence[Message]) -> Mapping[str, ToolResult]:
    """Return the results that nobody has gone on from yet, by the ids of their calls.

    They end the conversation, but for what the user or the system may say behind them.
    """
    results: dict[str, ToolResult] = {}
    for message in reversed(messages):
        if message.role is Role.TOOL:
            results[message.call_id or ""] = ToolResult(message.text, message.images)
        elif results or message.role is Role.ASSISTANT:
            break
    return results
