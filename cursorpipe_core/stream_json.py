"""What the CLI prints in print mode, read as the events of a turn."""

from __future__ import annotations

import asyncio
import logging
import re

from cursorpipe_core.completion import FinishReason, ToolEvent, Usage, well_formed
from cursorpipe_core.errors import AgentCrashError, SessionError
from cursorpipe_core.jsonrpc import Json, LineSplitter, decode
from cursorpipe_core.outcome import classify
from cursorpipe_core.process import plain_text
from cursorpipe_core.turn import Turn

logger = logging.getLogger(__name__)

#: Characters kept of what is printed on stdout but is not an event: a complaint, most likely.
MAX_COMPLAINT = 4096
#: What can be the id of a chat, which goes onto a command line.
_CHAT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class StreamReader:
    """Turns the lines of stream-json into the events of a turn (CLI contract §5.2, §5.3).

    Text comes up to three times: as deltas, again before a tool call, and again at the end. Which of
    them an event is, its own fields say. ``over`` is set at the result, or at the end of the output.
    """

    def __init__(self, turn: Turn, over: asyncio.Event) -> None:
        self._turn = turn
        self._over = over
        self._splitter = LineSplitter()
        self._shown: list[str] = []
        self._deltas_seen = False
        self._restarted = False
        self.complaint = ""
        self.chat_id: str | None = None
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes of stdout; ``b""`` is their end."""
        try:
            lines = self._splitter.feed(data) if data else [self._splitter.rest()]
        except AgentCrashError as exc:
            self._turn.fail(exc)
            self._over.set()
            return
        for line in lines:
            event = decode(line)
            if isinstance(event, dict):
                self._take(event)
            elif len(self.complaint) < MAX_COMPLAINT:
                self.complaint += plain_text(line[:MAX_COMPLAINT]) + "\n"
        if not data:
            self.ended = True
            self._over.set()

    def _take(self, event: dict[str, Json]) -> None:
        kind = event.get("type")
        if kind == "assistant":
            self._take_text(event)
        elif kind == "thinking":
            if event.get("subtype") == "delta" and isinstance(text := event.get("text"), str):
                self._turn.thought(text)
        elif kind == "tool_call":
            names = event.get("tool_call")
            title = next(iter(names), "") if isinstance(names, dict) else ""
            self._turn.tool(ToolEvent(str(event.get("call_id")), title, str(event.get("subtype"))))
        elif kind == "retry":
            self._restarted = bool(self._shown)
        elif kind == "result":
            self._take_result(event)

    def _take_text(self, event: dict[str, Json]) -> None:
        is_delta = "timestamp_ms" in event and "model_call_id" not in event
        if is_delta:
            self._deltas_seen = True
        elif self._deltas_seen:
            return  # a repeat, before a tool call or at the end
        self._show(_message_text(event))

    def _take_result(self, event: dict[str, Json]) -> None:
        result = event.get("result")
        result = result if isinstance(result, str) else ""
        if event.get("is_error") is True:
            self._turn.fail(classify(result))
        else:
            self._compare(result)
            chat_id = event.get("session_id")
            self.chat_id = chat_id if isinstance(chat_id, str) and _CHAT_ID.fullmatch(chat_id) else None
            self._turn.finish(FinishReason.STOP, _usage(event.get("usage")))
        self.ended = True
        self._over.set()

    def _compare(self, result: str) -> None:
        """Hold the text that was shown against the result, and mend what can be mended."""
        # A character may have come in two halves.
        shown = well_formed("".join(self._shown))
        if shown == result or not result:
            return
        if result.startswith(shown):
            self._show(result[len(shown) :])
        elif self._restarted:
            self._turn.fail(SessionError("The agent began its answer anew after a part of it was sent."))
        else:
            logger.warning(
                "the result differs from the deltas: %d and %d characters", len(result), len(shown)
            )

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self._turn.text(text)


def _message_text(event: dict[str, Json]) -> str:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return "".join(
        part["text"]
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _usage(reported: Json) -> Usage | None:
    """Read `result.usage`, whose input tokens do not include the cached ones (CLI contract §5.2)."""
    if not isinstance(reported, dict):
        return None
    names = ("inputTokens", "cacheReadTokens", "cacheWriteTokens", "outputTokens")
    counts = [count if isinstance(count := reported.get(name), int) else 0 for name in names]
    sent, cached, written, received = counts
    return Usage(sent + cached + written, received, cached) if any(counts) else None
