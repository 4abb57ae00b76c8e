"""What a scenario can do in a turn, whichever mode the turn is in."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cursorpipe_core.demo_agent.knobs import Knobs
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.store import Exchange
from cursorpipe_core.demo_agent.tool_plan import Call, Result


class TurnCancelledError(Exception):
    """The client has told the turn to stop."""


class TurnFailedError(Exception):
    """The backend has failed: ``in_band`` says so in an ACP answer, ``stderr`` in print mode.

    ``split``: the answer's text comes in small pieces.
    """

    def __init__(self, in_band: str, stderr: str, *, split: bool = False) -> None:
        super().__init__(in_band)
        self.in_band = in_band
        self.stderr = stderr
        self.split = split


class NotSignedInError(Exception):
    """The backend wants a login."""


class Stage(ABC):
    """One turn: the question, what was said before it, and the ways to answer.

    ``lingers``, ``ignores_cancel`` and ``late_texts`` are for scenarios to set: the turn is never
    reported as finished; it goes on when it is cancelled; it says more after it was cancelled.
    ``usage``, by the names of print mode, replaces the figures that the text would give.

    ``transcript`` is what the prompt has behind the directive that decided the turn.
    """

    def __init__(
        self, process: Process, question: str, history: list[Exchange], images: list[str], knobs: Knobs
    ) -> None:
        self.process = process
        self.question = question
        self.history = history
        self.images = images
        self.answer: list[str] = []
        self.cancelled = threading.Event()
        self.lingers = False
        self.ignores_cancel = False
        self.late_texts: list[str] = []
        self.usage: dict[str, int] = {}
        self.transcript = ""
        self._first_delay = knobs.first_ms / 1000
        self._delay = knobs.chunk_ms / 1000

    @abstractmethod
    def think(self, text: str) -> None:
        """Send a piece of a thought."""

    @abstractmethod
    def use_tool(self, call_id: str, command: str, output: str, *, repeated: bool = False) -> None:
        """Run a command, or rather seem to; ``repeated``: it is announced twice, plain and enriched."""

    @abstractmethod
    def ask_permission(self, command: str) -> str:
        """Ask whether a command may be run, run it if so, and return what was decided."""

    @abstractmethod
    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send one of Cursor's own requests and return its result."""

    @abstractmethod
    def write_garbage(self) -> None:
        """Write to standard output what is no part of the protocol."""

    @abstractmethod
    def _send(self, text: str, *, torn: bool) -> None:
        """Send a piece of the answer."""

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools that the client offers, as its server describes them."""
        return []

    def call_tools(self, calls: Sequence[Call], say: Callable[[], None]) -> list[Result]:
        """Call tools of the client's as one step, in which something is said first."""
        say()
        return [Result(f"There is no tool {call.name}.", failed=True) for call in calls]

    def say(self, text: str, *, torn: bool = False) -> None:
        """Send a piece of the answer, after the delays that the environment asks for."""
        delay = self._delay if self.answer else self._first_delay
        if delay:
            self.pause(delay)
        else:
            self.check_cancelled()
        self.answer.append(text)
        self._send(text, torn=torn)

    def pause(self, seconds: float) -> None:
        """Wait, as long as the turn is not cancelled."""
        if self.ignores_cancel:
            threading.Event().wait(seconds)
        else:
            self.cancelled.wait(seconds)
            self.check_cancelled()

    def stay_silent(self) -> NoReturn:
        """Say nothing more; being cancelled ends it, if anything does."""
        if self.ignores_cancel:
            self.process.hang()
        self.cancelled.wait()
        raise TurnCancelledError

    def check_cancelled(self) -> None:
        """Stop here if the turn was cancelled."""
        if self.cancelled.is_set() and not self.ignores_cancel:
            raise TurnCancelledError
