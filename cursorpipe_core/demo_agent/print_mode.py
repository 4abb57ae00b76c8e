"""Print mode: one turn, one process (CLI contract §5)."""

from __future__ import annotations

import sys
import time
from typing import Any, NoReturn

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.chats import ChatError, is_trusted, open_chat
from cursorpipe_core.demo_agent.context import Context
from cursorpipe_core.demo_agent.output import print_text, write_line, write_raw
from cursorpipe_core.demo_agent.prompts import Prompt, perform, read_prompt
from cursorpipe_core.demo_agent.script import crash
from cursorpipe_core.demo_agent.stage import NotSignedInError, Stage, TurnFailedError
from cursorpipe_core.demo_agent.store import Conversation, new_id

Json = dict[str, Any]

#: Tokens of the context that the CLI sends along with every prompt (CLI contract §1).
_BUILT_IN_TOKENS = 13_000

_GARBAGE = b'this is not JSON\n\n   \n[1]\n42\n\xff\xfe{\n{"type":"demo","subtype":"unheard_of"}\n'

_QUERIES = {
    "cursor/ask_question": ("askQuestionInteractionQuery", {"outcome": {"outcome": "skipped"}}),
    "cursor/create_plan": ("createPlanRequestQuery", {"outcome": {"outcome": "accepted"}}),
}


def run_print(context: Context) -> NoReturn:
    """Take the prompt, do the turn, and end; does not return."""
    process, faults = context.process, context.faults
    trust = faults.claim("trust-required") is None and is_trusted(context)
    if not trust:
        process.fail(texts.untrusted(context.cwd))
    if faults.deaf_from_start():
        process.hang()
    text = context.invocation.prompt or sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        process.fail("Error: No prompt provided for print mode")
    if request := faults.claim("crash-before-initialize"):
        crash(process, request)
    if faults.claim("silent-initialize", "silent-session"):
        process.hang()
    slow = faults.claim("slow-session")
    time.sleep((slow.number("ms") if slow else context.knobs.session_ms) / 1000)
    if faults.claim("session-fails-once"):
        process.fail("Error: Failed to initialize session services")
    try:
        chat = open_chat(context)
    except ChatError as exc:
        process.fail(str(exc))
    except OSError as exc:
        process.fail(f"Error: {exc}")
    _run_turn(context, chat, read_prompt(text, _images(context), faults))


def _images(context: Context) -> list[str]:
    return [f"image/{path.rpartition('.')[2].lower()}" for path in context.invocation.get_all("image")]


def _run_turn(context: Context, chat: Conversation, prompt: Prompt) -> NoReturn:
    process = context.process
    turn = PrintStage(context, chat, prompt)
    process.record.add(
        "prompt",
        session=chat.id,
        scenario=prompt.request.name,
        model=context.selection.slug.slug,
        mode=context.invocation.get("mode"),
        text=prompt.text,
    )
    try:
        turn.open(prompt.text)
        perform(turn, prompt)
        chat.add(turn.question, "".join(turn.answer))
        turn.close()
    except TurnFailedError as failure:
        process.fail(failure.stderr)
    except NotSignedInError:
        process.fail(texts.NOT_SIGNED_IN)
    except BrokenPipeError:
        process.leave(1)
    process.record.add("finished", session=chat.id, stop="end_turn")
    if turn.lingers or process.stubborn:
        process.hang()
    process.leave(0)


class PrintStage(Stage):
    """A turn whose text goes to standard output in the format that was asked for.

    The text comes as deltas if partial output was asked for, and then again in segments: one before each
    tool call, the whole at the end (CLI contract §5.3).
    """

    def __init__(self, context: Context, chat: Conversation, prompt: Prompt) -> None:
        super().__init__(context.process, prompt.question, list(chat.turns), prompt.images, context.knobs)
        self._context = context
        self._chat = chat
        self._format = context.invocation.get("output-format", "text")
        self._streams = self._format == "stream-json"
        self._partial = self._streams and context.invocation.has("stream-partial-output")
        self._segment: list[str] = []
        self._thinking = False
        self._began = time.monotonic()
        self._model_call = 0

    def open(self, prompt: str) -> None:
        """Say who answers, and what was asked."""
        self._emit(
            {
                "type": "system",
                "subtype": "init",
                "apiKeySource": self._context.account.source,
                "cwd": str(self._context.cwd),
                "session_id": self._chat.id,
                "model": self._context.selection.slug.name,
                "permissionMode": "default",
            }
        )
        content = [{"type": "text", "text": prompt}]
        message = {"role": "user", "content": content}
        self._emit({"type": "user", "message": message, "session_id": self._chat.id})

    def close(self) -> None:
        """Give the whole answer, and the figures."""
        self._end_thought()
        answer = "".join(self.answer)
        segment = "".join(self._segment)
        if self._format == "text":
            print_text(segment)
            return
        if last := answer if self._partial else segment:
            self._emit(_assistant(last, self._chat.id))
        milliseconds = int((time.monotonic() - self._began) * 1000)
        write_line(
            {
                "type": "result",
                "subtype": "success",
                "is_error": False,
                "duration_ms": milliseconds,
                "duration_api_ms": milliseconds,
                "result": answer,
                "session_id": self._chat.id,
                "request_id": new_id(),
                "usage": self.usage
                or {
                    "inputTokens": len(self.question) // 4 + 1,
                    "outputTokens": len(answer) // 4 + 1,
                    "cacheReadTokens": _BUILT_IN_TOKENS,
                    "cacheWriteTokens": 0,
                },
            }
        )

    def think(self, text: str) -> None:
        """Send a piece of a thought."""
        self._thinking = True
        self._stamped({"type": "thinking", "subtype": "delta", "text": text})

    def use_tool(self, call_id: str, command: str, output: str, *, repeated: bool = False) -> None:
        """Seem to run a command; it is announced once, however often ACP does so."""
        del repeated
        result = {"success": {"command": command, "exitCode": 0, "stdout": output, "stderr": ""}}
        self._call(call_id, "shellToolCall", {"command": command}, result)

    def ask_permission(self, command: str) -> str:
        """Ask nobody: without ``--force`` a command is refused at once (CLI contract §5.1)."""
        allowed = self._context.forced or self._context.unrestricted
        if allowed:
            self.use_tool("call_demo_permission", command, "x\n")
            return "unrestricted"
        rejected = {"rejected": {"command": command, "reason": "Not in allowlist"}}
        self._call("call_demo_permission", "shellToolCall", {"command": command}, rejected)
        return "rejected"

    def ask(self, method: str, params: Json) -> Any:
        """Answer for the user, as the CLI does: the client only watches (CLI contract §5.3)."""
        self._end_thought()
        if method not in _QUERIES:
            self._call(
                params["toolCallId"], "updateTodosToolCall", {"todos": params["todos"]}, {"success": {}}
            )
            return {}
        query, result = _QUERIES[method]
        self._stamped(
            {"type": "interaction_query", "subtype": "request", "query_type": query, "query": params}
        )
        self._stamped(
            {"type": "interaction_query", "subtype": "response", "query_type": query, "response": result}
        )
        return result

    def write_garbage(self) -> None:
        """Write lines that are no events."""
        write_raw(_GARBAGE)

    def _send(self, text: str, *, torn: bool) -> None:
        self._end_thought()
        self._segment.append(text)
        if self._partial:
            write_line({**_assistant(text, self._chat.id), "timestamp_ms": _now()}, torn=torn)

    def _call(self, call_id: str, name: str, args: Json, result: Json) -> None:
        self._end_thought()
        self._model_call += 1
        model_call = f"{self._chat.id}-{self._model_call}"
        if self._segment:
            # The text so far, once more: its two extra fields tell it from a delta (CLI contract §5.3).
            repeat = _assistant("".join(self._segment), self._chat.id)
            self._stamped({**repeat, "model_call_id": model_call})
            self._segment.clear()
        event = {"type": "tool_call", "call_id": call_id, "model_call_id": model_call}
        self._stamped({**event, "subtype": "started", "tool_call": {name: {"args": args}}})
        self._stamped(
            {**event, "subtype": "completed", "tool_call": {name: {"args": args, "result": result}}}
        )

    def _end_thought(self) -> None:
        if self._thinking:
            self._thinking = False
            self._stamped({"type": "thinking", "subtype": "completed"})

    def _stamped(self, event: Json) -> None:
        self._emit({**event, "session_id": self._chat.id, "timestamp_ms": _now()})

    def _emit(self, event: Json) -> None:
        if self._streams:
            write_line(event)


def _assistant(text: str, session_id: str) -> Json:
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "session_id": session_id}


def _now() -> int:
    return time.time_ns() // 1_000_000
