"""What is logged: one line a request, and the id of the request in every line it causes."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from cursorpipe_core import Message
from cursorpipe_server.config import LogFormat, LogLevel
from cursorpipe_server.log_format import formatter_for
from cursorpipe_server.trace_context import TRACE

logger = logging.getLogger(__name__)

#: The id of the request that the running code serves.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


class LineHandler(logging.Handler):
    """Writes lines to stderr: those of one turn of the event loop together, anything bad at once.

    A write to a terminal, a file or the journal costs as much as a third of a short request.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._lines: list[str] = []
        self.setFormatter(formatter)
        self.addFilter(_add_ids)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, soon if it is an ordinary one."""
        try:
            self._lines.append(f"{self.format(record)}\n")
            if record.levelno >= logging.WARNING:
                self.flush()
            elif len(self._lines) == 1:
                try:
                    asyncio.get_running_loop().call_soon(self.flush)
                except RuntimeError:  # no loop runs, or it is another thread's
                    self.flush()
        except Exception:  # noqa: BLE001 — as the library's own handlers do
            self.handleError(record)

    def flush(self) -> None:
        """Write what is there; also called at the end of the program."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                sys.stderr.write("".join(lines))


def configure_logging(level: LogLevel, wanted: LogFormat) -> None:
    """Send this program's log lines to stderr, from ``level`` on; other libraries' from warning on."""
    # No line tells these, and to find them out is half of what a record costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.WARNING, handlers=[LineHandler(formatter_for(wanted))], force=True)
    set_log_level(level)


def set_log_level(level: LogLevel) -> None:
    """Log this program's lines from ``level`` on."""
    for package in ("cursorpipe_core", "cursorpipe_server"):
        logging.getLogger(package).setLevel(level.upper())


def _add_ids(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    trace = TRACE.get()
    record.trace_id = trace.trace_id if trace is not None else None
    return True


@contextmanager
def stages(*, enabled: bool) -> Iterator[Callable[[str], None]]:
    """Give a function that marks the stages of a request, and log when each was reached."""
    if not enabled:
        yield _ignore
        return
    started = time.perf_counter()
    reached: list[str] = []
    try:
        yield lambda stage: reached.append(f"{stage} {(time.perf_counter() - started) * 1000:.1f}ms")
    finally:
        total = (time.perf_counter() - started) * 1000
        logger.info("stages: %s, end %.1fms", ", ".join(reached), total)


def _ignore(stage: str) -> None:
    """Take a stage that nobody wants to know of."""


def log_prompt(messages: Iterable[Message]) -> None:
    """Log a conversation word for word; of pictures only how many there are."""
    for message in messages:
        pictures = f" and {len(message.images)} pictures" if message.images else ""
        logger.info("%s%s: %s", message.role, pictures, message.text)
