"""An answer that is judged as a whole before any of its text is passed on."""

from __future__ import annotations

from collections.abc import Sequence

from cursorpipe_core.completion import Calls, CompletionEvent, Finish, FinishReason, TextDelta, Usage


class Gathered:
    """The text of an answer, kept until it is judged, and what else is known of it in the end."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.calls: list[CompletionEvent] = []
        self.usage = Usage(0, 0)
        self.reason = FinishReason.STOP

    def take(self, batch: Sequence[CompletionEvent]) -> list[CompletionEvent]:
        """Keep what is to be judged, and return the rest. The text of another turn replaces the first."""
        passed: list[CompletionEvent] = []
        for event in batch:
            if isinstance(event, TextDelta):
                self._texts += event.pieces
            elif isinstance(event, Calls):
                self.calls.append(event)
            elif isinstance(event, Usage):
                self.usage += event
            elif isinstance(event, Finish):
                self.reason = event.reason
            else:
                passed.append(event)
        return passed

    def text(self) -> str:
        """Return the text so far; it is forgotten with that."""
        text = "".join(self._texts)
        self._texts.clear()
        return text
