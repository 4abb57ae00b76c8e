"""What befalls calls of tools while they wait: they lose their connection, or the agent its life."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Protocol

from cursorpipe_core.demo_agent.habits import ON_SIGNAL, Habits
from cursorpipe_core.demo_agent.pending import Pending
from cursorpipe_core.demo_agent.process import Process


class Droppable(Protocol):
    """Something that has a connection for each request."""

    def drop(self, request_id: Any) -> None:
        """Break the connection of a request."""


class Mishaps:
    """Watches each call for the moment at which the habits have it end badly."""

    def __init__(self, habits: Habits, process: Process) -> None:
        self._habits = habits
        self._process = process
        self._signalled = threading.Event()
        if ON_SIGNAL in {habits.drop, habits.die}:
            signal.signal(signal.SIGUSR1, self._on_signal)

    def threaten(self, pending: Pending, connection: Droppable) -> None:
        """Watch a call that has just begun."""
        if self._habits.drop:
            _in_thread(self._drop, pending, connection)
        if self._habits.die:
            _in_thread(self._die, pending)

    def _drop(self, pending: Pending, connection: Droppable) -> None:
        if self._comes(self._habits.drop, pending):
            connection.drop(pending.id)

    def _die(self, pending: Pending) -> None:
        if self._comes(self._habits.die, pending):
            self._process.die(signal.SIGKILL)

    def _comes(self, moment: str, pending: Pending) -> bool:
        """Wait for the moment; False: the call was over before."""
        if moment == ON_SIGNAL:
            self._signalled.wait()
        else:
            pending.settled.wait(float(moment) / 1000)
        return not pending.settled.is_set()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        # Calls that begin later wait for the next signal.
        signalled, self._signalled = self._signalled, threading.Event()
        signalled.set()


def _in_thread(function: Any, *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
