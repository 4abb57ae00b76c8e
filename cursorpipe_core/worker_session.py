"""A session of a worker in the hands of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cursorpipe_core.prompt import Prompt
from cursorpipe_core.turn import Turn


class SessionOwner(Protocol):
    """The worker that a session is of, as far as the session needs it."""

    def start_turn(self, session_id: str, prompt: Prompt, turn: Turn, on_end: Callable[[], None]) -> None:
        """Begin a turn in a session; ``on_end`` is called when it is free again."""

    def abandon(self, session_id: str) -> None:
        """Stop the turn of a session."""

    def end_session(self, session_id: str) -> None:
        """Take a session back, with the place of its turns."""

    def park(self) -> None:
        """Take the place back while its turn waits for its caller."""

    def unpark(self) -> None:
        """Give the place again."""


class WorkerSession:
    """A session of a worker in the hands of one request."""

    def __init__(self, worker: SessionOwner, session_id: str, *, keep: bool) -> None:
        self._worker = worker
        self._id = session_id
        self._keep = keep
        self._busy = False
        self._over = False
        self._parked = False

    def go_on(self, prompt: Prompt, turn: Turn) -> None:
        """Begin another turn once the last has ended; all that happens goes to ``turn``."""
        self._busy = True
        turn.on_abandoned = self._abandon
        self._worker.start_turn(self._id, prompt, turn, self._turn_ended)

    def close(self) -> None:
        """Give the session back, after the turn that may be running. Idempotent."""
        self._keep = False
        self.unpark()
        if not self._busy:
            self.give_back()

    def park(self) -> None:
        """Give the place back for a while. Idempotent."""
        if not (self._parked or self._over):
            self._parked = True
            self._worker.park()

    def unpark(self) -> None:
        """Take the place again. Idempotent."""
        if self._parked:
            self._parked = False
            self._worker.unpark()

    def give_back(self) -> None:
        """Give the session back, in which nothing goes on. Idempotent."""
        self.unpark()
        if not self._over:
            self._over = True
            self._worker.end_session(self._id)

    def _abandon(self) -> None:
        self._keep = False
        self._worker.abandon(self._id)

    def _turn_ended(self) -> None:
        self._busy = False
        if not self._keep:
            self.give_back()
