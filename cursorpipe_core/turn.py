"""One turn of an agent: what a backend hears on one side, batches of events on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from cursorpipe_core.completion import (
    CompletionEvent,
    Finish,
    FinishReason,
    TextDelta,
    ThoughtDelta,
    ToolEvent,
    Usage,
    estimate_tokens,
    estimated_usage,
    utf8_length,
    well_formed,
)
from cursorpipe_core.errors import AgentTimeoutError, BacklogError, CursorpipeError, SessionError
from cursorpipe_core.outcome import HoldBack
from cursorpipe_core.prompt import Prompt

#: Characters that may wait for a slow reader before its turn is ended. The pipe that feeds them is
#: shared, so it must never be stopped for one reader.
MAX_BACKLOG = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Clocks:
    """The bounds of a turn in seconds: to its first event, between two events, and of the request in all."""

    first_event_s: float
    idle_s: float
    total_s: float


class EmptyAnswerError(SessionError):
    """The agent ended its turn properly but said nothing."""


class Turn:
    """The meeting point of a backend, which calls ``text`` … ``finish`` or ``fail``, and one reader.

    The backend's side never waits. The reader is woken once for all that came in one round of the event
    loop. ``on_abandoned`` is called once if the reader closes the turn, or a bound ends it, while the
    agent is still at work; the backend then stops the agent, and late events go nowhere.
    """

    def __init__(self, *, prompt_bytes: int, clocks: Clocks, left_s: float) -> None:
        """Prepare a turn; ``left_s`` is what is left of the time that the request has in all."""
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._prompt_bytes = prompt_bytes
        self._answer_bytes = 0
        self._thought_bytes = 0
        self._words_seen = False
        self._events: list[CompletionEvent] = []
        self._weighed = 0
        # The pieces that the last event has so far, and its type: a burst is one event, not many.
        self._pieces: list[str] = []
        self._open: type[TextDelta | ThoughtDelta] | None = None
        self._backlog = 0
        self._waiter: asyncio.Future[None] | None = None
        self._hold_back = HoldBack()
        self._half_pair = ""
        self._error: CursorpipeError | None = None
        self._ended = False
        self._agent_done = False
        self._clocks = clocks
        self._begun = False
        self._seen = False
        self._seen_at = self._now()
        self._deadline = self._seen_at + left_s
        self._timer = self._loop.call_at(self._next_look(), self._look)
        self.on_abandoned: Callable[[], None] = _nothing
        #: Called when the answer is decided.
        self.on_ended: Callable[[], None] = _nothing
        #: The agent's ids of the uses of tools that it has told of.
        self.announced: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether the answer is decided, by the agent or by a bound."""
        return self._ended

    def begin(self) -> None:
        """Start the clock for the first event: the agent has the prompt now."""
        self._begun = True
        self._seen_at = self._now()

    def text(self, text: str) -> None:
        """Take the next piece of the answer."""
        self._mark()
        if self._half_pair or not (text.isascii() or not "\ud800" <= text[-1] <= "\udbff"):
            text = self._join_pair(text)
        shown = self._hold_back.feed(text)
        if shown:
            self._say(TextDelta, shown)

    def thought(self, text: str) -> None:
        """Take the next piece of the reasoning."""
        self._mark()
        self._say(ThoughtDelta, text)

    def tool(self, event: ToolEvent) -> None:
        """Take the news of a tool that the agent uses, one of its own or one of its caller's."""
        self._mark()
        self.announced.add(event.call_id)
        self._put(event)

    def finish(self, reason: FinishReason, usage: Usage | None = None) -> None:
        """End the turn: whole, or with the error that its text turns out to be.

        ``usage`` is what the agent reported; without it the tokens are estimated from the text.
        """
        self._agent_done = True
        if self._ended:
            return
        error = self._hold_back.verdict()
        if error is not None:
            self._end(error)
            return
        rest = self._hold_back.rest() + self._half_pair
        if rest:
            self._say(TextDelta, rest)
        self._weigh()
        if not self._words_seen and reason is not FinishReason.REFUSAL:
            self._end(EmptyAnswerError("The agent ended its turn without an answer."))
            return
        self._put(self._complete(usage) if usage else self._estimate())
        self._put(Finish(reason))
        self._end(None)

    def fail(self, error: CursorpipeError) -> None:
        """End the turn with an error; what was shown before it still reaches the reader."""
        self._agent_done = True
        if not self._ended:
            self._end(self._hold_back.verdict() or error)

    async def read(self) -> list[CompletionEvent]:
        """Return the events that are ready, waiting for some; an empty list after the last.

        For one reader. Raises the error of a turn that failed, once what came before it is read.
        """
        while (batch := self._ready()) is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        return batch

    async def read_within(self, seconds: float) -> list[CompletionEvent] | None:
        """Return what ``read`` returns; None after so many seconds of silence, or at a call."""
        if (batch := self._ready()) is None:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
            batch = self._ready()
        return batch

    def pause(self) -> None:
        """Stop the clocks: from here on the agent waits for its caller."""
        self._timer.cancel()

    def go_on(self, *, left_s: float, prompt_bytes: int) -> None:
        """Start the clocks anew: the agent has what it waited for, and its caller waits ``left_s`` at most.

        What is said from here on is counted by itself, with ``prompt_bytes`` as what was asked.
        """
        self._prompt_bytes = prompt_bytes
        self._answer_bytes = self._thought_bytes = 0
        self._seen_at = self._now()
        self._deadline = self._seen_at + left_s
        if not self._ended:
            self._timer = self._loop.call_at(self._next_look(), self._look)

    def called(self) -> None:
        """Take the news that the agent calls a tool of the caller's: what it said before is no error."""
        self._mark()
        self._words_seen = True
        if rest := self._hold_back.rest():
            self._say(TextDelta, rest)
        self._wake()

    def usage_so_far(self) -> Usage:
        """Return the estimated usage since the beginning, or since it last went on."""
        self._weigh()
        return self._estimate()

    def close(self) -> None:
        """Leave: no more is read. Tells the backend if the agent is still at work. Idempotent."""
        self._events.clear()
        self.stop(None)

    def _ready(self) -> list[CompletionEvent] | None:
        """Return what can be read now, and None if the reader has to wait."""
        if self._events:
            self._weigh()
            batch, self._events = self._events, []
            self._weighed = self._backlog = 0
            self._open = None
            return batch
        if self._error is not None:
            raise self._error
        return [] if self._ended else None

    def _say(self, kind: type[TextDelta | ThoughtDelta], text: str) -> None:
        if self._ended:
            return
        if self._backlog > MAX_BACKLOG:
            self._events.clear()
            self._weighed = 0
            self.stop(BacklogError("The answer was not read for too long; its turn was ended."))
            return
        self._backlog += len(text)
        if kind is self._open:
            self._pieces.append(text)
            return
        pieces = [text]
        self._put(kind(pieces))
        self._open, self._pieces = kind, pieces

    def _put(self, event: CompletionEvent) -> None:
        if self._ended:
            return
        self._open = None
        self._events.append(event)
        self._wake()

    def _weigh(self) -> None:
        """Count what was said since the last time; what is no well-formed text becomes so here."""
        for event in self._events[self._weighed :]:
            if isinstance(event, TextDelta):
                text, size = _weigh(event)
                self._answer_bytes += size
                if not self._words_seen:
                    self._words_seen = not text.isspace()
            elif isinstance(event, ThoughtDelta):
                self._thought_bytes += _weigh(event)[1]
        self._weighed = len(self._events)

    def _end(self, error: CursorpipeError | None) -> None:
        self._ended = True
        self._error = error
        self._timer.cancel()
        self._wake()
        self.on_ended()

    def stop(self, error: CursorpipeError | None) -> None:
        """End the turn before the agent has, and tell the backend."""
        if not self._ended:
            self._end(error)
        if not self._agent_done:
            self._agent_done = True
            self.on_abandoned()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _mark(self) -> None:
        self._seen = True
        self._seen_at = self._now()

    def _look(self) -> None:
        """End the turn if one of its clocks has run out, else look again when the next one may have."""
        clocks, now = self._clocks, self._now()
        patience, phase = (
            (clocks.idle_s, "next sign of work")
            if self._seen
            else (clocks.first_event_s, "first sign of work")
        )
        if now >= self._deadline:
            self.stop(AgentTimeoutError("request", clocks.total_s))
        elif self._begun and now >= self._seen_at + patience:
            self.stop(AgentTimeoutError(phase, patience))
        else:
            self._timer = self._loop.call_at(self._next_look(), self._look)

    def _next_look(self) -> float:
        """Return a time before which no clock can run out, whatever happens until then."""
        clocks = self._clocks
        if self._seen:
            due = self._seen_at + clocks.idle_s
        elif self._begun:
            due = min(self._seen_at + clocks.first_event_s, self._now() + clocks.idle_s)
        else:
            due = self._now() + min(clocks.first_event_s, clocks.idle_s)
        return min(due, self._deadline)

    def _estimate(self) -> Usage:
        return estimated_usage(self._prompt_bytes, self._answer_bytes, self._thought_bytes)

    def _complete(self, reported: Usage) -> Usage:
        """Add what no agent reports: how much of the output were thoughts."""
        if not self._thought_bytes or reported.reasoning_tokens:
            return reported
        thoughts = min(estimate_tokens(self._thought_bytes), reported.output_tokens)
        return replace(reported, reasoning_tokens=thoughts)

    def _join_pair(self, text: str) -> str:
        # JavaScript cuts texts between UTF-16 units: the halves of one character meet here again.
        text = self._half_pair + text
        self._half_pair = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return well_formed(text.removesuffix(self._half_pair))


class Dialogue(Protocol):
    """An agent's session in the hands of one request, which may give it turn after turn."""

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        """Begin another turn once the last has ended; all that happens goes to ``turn``."""

    def close(self) -> None:
        """Give the session back, after the turn that may be running. Idempotent."""


class ToolDialogue(Dialogue, Protocol):
    """A dialogue that can wait for its caller, without the place that it has while it is at work."""

    def park(self) -> None:
        """Give the place back for a while. Idempotent."""

    def unpark(self) -> None:
        """Take the place again. Idempotent."""


def _weigh(event: TextDelta | ThoughtDelta) -> tuple[str, int]:
    """Return the text of an event and its size in UTF-8, its pieces made well formed if they are not."""
    text = event.text
    try:
        return text, utf8_length(text)
    except UnicodeEncodeError:  # the half of a pair whose other half never came
        event.pieces[:] = map(well_formed, event.pieces)
        return _weigh(event)


def _nothing() -> None:
    """Stand in for a backend that has nothing to stop."""
