"""What a line of the log looks like: for people, or for machines."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

import orjson

from cursorpipe_server.access_line import AccessLine
from cursorpipe_server.config import LogFormat
from cursorpipe_server.outcomes import CLIENT_LEFT, OK

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_COLOURS = {"DEBUG": _DIM, "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}
_WELL, _ELSEWHERE, _THEIRS, _OURS = "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m"
_BY_STATUS = {2: _WELL, 3: _ELSEWHERE, 4: _THEIRS, 5: _OURS}


class LineFormatter(logging.Formatter):
    """Writes a record as one line, and below it the traceback if it has one; in colours on a terminal."""

    def __init__(self, *, colours: bool = False) -> None:
        self._colours = colours
        name = f"{_DIM}%(request_id)s %(name)s{_RESET}" if colours else "%(request_id)s %(name)s"
        level = "%(colour)s%(levelname)-7s" + _RESET if colours else "%(levelname)-7s"
        super().__init__(f"%(asctime)s {level} {name}: %(message)s")
        self._second = -1
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        if self._colours:
            line = record.msg
            record.colour = (
                _colour(line) if isinstance(line, AccessLine) else _COLOURS.get(record.levelname, "")
            )
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line itself, with the trace that its request belongs to."""
        line = super().formatMessage(record)
        trace_id = record.__dict__.get("trace_id")
        return line if trace_id is None else f"{line} trace={trace_id}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return when it was, to the millisecond; the local time is looked up once a second."""
        second = int(record.created)
        if second != self._second:
            self._time = time.strftime(self.default_time_format, time.localtime(second))
            self._second = second
        return f"{self._time},{int(record.msecs):03}"


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object a line, with the members of a request's line beside its words."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; what is not known is left out."""
        line: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        for name in ("request_id", "trace_id"):
            if (known := record.__dict__.get(name)) is not None:
                line[name] = known
        line["message"] = record.getMessage()
        if isinstance(record.msg, AccessLine):
            line |= record.msg.fields()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half of a surrogate pair, which only escapes can tell
            return json.dumps(line, default=str)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return when it was, in UTC to the millisecond; all but those are put together once a second."""
        second = int(record.created)
        if second != self._second:
            self._time = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
            self._second = second
        return f"{self._time}.{int(record.msecs):03}Z"


def _colour(line: AccessLine) -> str:
    """Return the colour of how a request ended; a stream has its status long before that."""
    if line.outcome == CLIENT_LEFT or line.status is None:
        return _THEIRS
    if line.outcome != OK and line.status < 400:
        return _OURS
    return _BY_STATUS.get(line.status // 100, "")


def formatter_for(wanted: LogFormat, stream: TextIO | None = None) -> logging.Formatter:
    """Return what formats the lines that go to ``stream`` (stderr): for people, if one may be looking."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    if wanted is LogFormat.JSON or (wanted is LogFormat.AUTO and not terminal):
        return JsonFormatter()
    # See https://no-color.org.
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return LineFormatter(colours=colours)
