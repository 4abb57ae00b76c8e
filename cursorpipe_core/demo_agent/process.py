"""The process as the operating system sees it: how it ends, what it ignores, what it leaves behind."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

from cursorpipe_core.demo_agent.output import complain
from cursorpipe_core.demo_agent.record import Record


class Process:
    """Ends itself with the CLI's statuses and words, and notes its end in the record.

    Turns run in threads that may be stuck in a write, so every end skips what Python does at exit;
    nothing is buffered that could be lost.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        #: Whether the process outlives SIGTERM and the end of its input; any thread may say so.
        self.stubborn = False

    def handle_signals(self) -> None:
        """End at SIGINT and SIGTERM as the CLI does: 130 and 143 (CLI contract §5.4)."""
        signal.signal(signal.SIGINT, self._abort)
        signal.signal(signal.SIGTERM, self._abort)

    def leave(self, status: int) -> NoReturn:
        """End with an exit status."""
        self.record.add("exit", status=status)
        os._exit(status)

    def die(self, signum: int) -> NoReturn:
        """End by a signal that this program does not handle, as if the system had sent it."""
        self.record.add("exit", status=-signum, signal=signum)
        os.kill(os.getpid(), signum)
        self.hang()

    def fail(self, text: str, status: int = 1) -> NoReturn:
        """End with a text on standard error and an exit status that is not 0."""
        complain(text)
        self.leave(status)

    def hang(self) -> NoReturn:
        """Do nothing for ever; signals still end the process."""
        while True:
            threading.Event().wait()

    def ignore_sigterm(self) -> None:
        """Outlive SIGTERM and the end of the input from now on; any thread may say so."""
        self.stubborn = True

    def leave_grandchild(self, seconds: float, *, detached: bool = False) -> None:
        """Start a child that keeps our standard output and error open, whatever becomes of us.

        It ends by itself in the end, should nobody look after it. ``detached``: it leads a process group
        of its own, so that ending ours does not end it.
        """
        grandchild = os.posix_spawnp(
            "sleep",
            ["sleep", str(seconds)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setpgroup=0 if detached else os.getpgrp(),
        )
        self.record.add("grandchild", grandchild=grandchild)

    def _abort(self, signum: int, frame: FrameType | None) -> None:
        del frame
        if self.stubborn and signum == signal.SIGTERM:
            return
        complain("Aborting operation...")
        self.leave(128 + signum)
