"""What is logged: one line a request, and the id of the request in every line it causes."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from cursorpipe_server.config import LogLevel

logger = logging.getLogger(__name__)

#: The id of the request that the running code serves.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


_FORMAT = "%(asctime)s %(levelname)-7s %(request_id)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """Writes a record as one line, and below it the traceback if it has one."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)
        self._second = -1
        self._time = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return when it was, to the millisecond; the local time is looked up once a second."""
        second = int(record.created)
        if second != self._second:
            self._time = time.strftime(self.default_time_format, time.localtime(second))
            self._second = second
        return f"{self._time},{int(record.msecs):03}"


class LineHandler(logging.Handler):
    """Writes lines to stderr: those of one turn of the event loop together, anything bad at once.

    A write to a terminal, a file or the journal costs as much as a third of a short request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self.setFormatter(LineFormatter())
        self.addFilter(_add_request_id)

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


def configure_logging(level: LogLevel) -> None:
    """Send this program's log lines to stderr, from ``level`` on; other libraries' from warning on."""
    # No line tells these, and to find them out is half of what a record costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.WARNING, handlers=[LineHandler()], force=True)
    set_log_level(level)


def set_log_level(level: LogLevel) -> None:
    """Log this program's lines from ``level`` on."""
    for package in ("cursorpipe_core", "cursorpipe_server"):
        logging.getLogger(package).setLevel(level.upper())


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
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
