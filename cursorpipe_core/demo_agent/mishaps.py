"""What befalls calls of tools while they wait: they lose their connection, or the agent its life."""

from __future__ import annotations

import signal
import threading
from typing import Any, NoReturn, Protocol

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
        #: Set at the next signal. Who is to watch for it has to know it before the call is made, because
        #: the server may ask for the signal as soon as it sees the call.
        self.next_signal = threading.Event()
        if ON_SIGNAL in {habits.drop, habits.die}:
            # A handler would run in the main thread alone, and not before that has read its next line.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            _in_thread(self._listen)

    def threaten(self, pending: Pending, connection: Droppable, signalled: threading.Event) -> None:
        """Watch a call that has just begun; ``signalled`` was the next signal's event before that."""
        if self._habits.drop:
            _in_thread(self._drop, pending, connection, signalled)
        if self._habits.die:
            _in_thread(self._die, pending, signalled)

    def _drop(self, pending: Pending, connection: Droppable, signalled: threading.Event) -> None:
        if _comes(self._habits.drop, pending, signalled):
            connection.drop(pending.id)

    def _die(self, pending: Pending, signalled: threading.Event) -> None:
        if _comes(self._habits.die, pending, signalled):
            self._process.die(signal.SIGKILL)

    def _listen(self) -> NoReturn:
        while True:
            signal.sigwait({signal.SIGUSR1})
            # Calls that begin later wait for the signal after this one.
            signalled, self.next_signal = self.next_signal, threading.Event()
            signalled.set()


def _comes(moment: str, pending: Pending, signalled: threading.Event) -> bool:
    """Wait for the moment; False: the call was over before."""
    if moment == ON_SIGNAL:
        signalled.wait()
    else:
        pending.settled.wait(float(moment) / 1000)
    return not pending.settled.is_set()


def _in_thread(function: Any, *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
