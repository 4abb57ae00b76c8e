"""The limits of an answer, kept while it passes: its stop texts and its length."""

from __future__ import annotations

from collections.abc import Iterable

from cursorpipe_core.completion import (
    BYTES_PER_TOKEN,
    Calls,
    CompletionEvent,
    Finish,
    FinishReason,
    Limits,
    TextDelta,
    ThoughtDelta,
    Usage,
    estimated_usage,
    utf8_length,
)


class Limiter:
    """Passes the events of one answer on, until a limit is met; then ``over`` is set.

    Text is held back only while it may be the beginning of a stop text, and nothing of a stop text ever
    leaves. An answer that was cut ends with an estimated Usage and a Finish, as if the agent had ended it.
    """

    def __init__(self, limits: Limits, *, prompt_bytes: int) -> None:
        self._stops = tuple(limits.stop)
        self._bytes_left = None if limits.max_tokens is None else limits.max_tokens * BYTES_PER_TOKEN
        self._prompt_bytes = prompt_bytes
        self._held = ""
        self._shown_bytes = 0
        self._thought_bytes = 0
        self.over = False

    def apply(self, events: Iterable[CompletionEvent]) -> list[CompletionEvent]:
        """Return what of the events is to be passed on."""
        passed: list[CompletionEvent] = []
        for event in events:
            if isinstance(event, TextDelta):
                self._take(event, passed)
            elif isinstance(event, Calls | Usage):
                self._show(self._held, passed)
                self._held = ""
                if not self.over:
                    passed.append(event)
            else:
                if isinstance(event, ThoughtDelta):
                    self._thought_bytes += utf8_length(event.text)
                passed.append(event)
            if self.over:
                break
        return passed

    def _take(self, event: TextDelta, passed: list[CompletionEvent]) -> None:
        for piece in event.pieces:
            text = self._held + piece
            found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
            if found:
                self._show(text[: min(found)], passed)
                self._end(FinishReason.STOP, passed)
                return
            keep = max((_overlap(text, stop) for stop in self._stops), default=0)
            self._held = text[len(text) - keep :]
            self._show(text[: len(text) - keep], passed)
            if self.over:
                return

    def _show(self, text: str, passed: list[CompletionEvent]) -> None:
        """Pass text on, as much of it as there is room for."""
        size = utf8_length(text)
        cut = self._bytes_left is not None and size > self._bytes_left
        if cut:
            text = text.encode()[: self._bytes_left].decode(errors="ignore")
            size = utf8_length(text)
        if text:
            passed.append(TextDelta([text]))
            self._shown_bytes += size
            if self._bytes_left is not None:
                self._bytes_left -= size
        if cut:
            self._end(FinishReason.LENGTH, passed)

    def _end(self, reason: FinishReason, passed: list[CompletionEvent]) -> None:
        if not self.over:
            self.over = True
            passed += (
                estimated_usage(self._prompt_bytes, self._shown_bytes, self._thought_bytes),
                Finish(reason),
            )


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` are the beginning of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
