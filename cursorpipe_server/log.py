"""What is logged: one line a request, and the id of the request in every line it causes."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from aiohttp import web

from cursorpipe_server.config import LogLevel

logger = logging.getLogger(__name__)

#: The id of the request that the running code serves.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


class Told(Protocol):
    """An answer, as far as the access line tells of it."""

    model: str

    @property
    def backend(self) -> str | None:
        """The backend that serves it, once one does."""


#: What a request's line tells beside HTTP's own: the answer, and how it ended where no status says it.
ANSWER: web.RequestKey[Told] = web.RequestKey("answer", Told)
OUTCOME = web.RequestKey("outcome", str)

_FORMAT = "%(asctime)s %(levelname)-7s %(request_id)s %(name)s: %(message)s"


def configure_logging(level: LogLevel) -> None:
    """Send this program's log lines to stderr, from ``level`` on; other libraries' from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
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
