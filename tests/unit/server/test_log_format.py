"""What a line of the log looks like."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from cursorpipe_server.access_line import AccessLine
from cursorpipe_server.config import LogFormat
from cursorpipe_server.log_format import JsonFormatter, LineFormatter, formatter_for

LINE = AccessLine(
    method="POST",
    path="/v1/chat/completions",
    status=200,
    took_s=1.5,
    client="ann",
    model="auto",
    backend="acp",
    first_s=0.25,
    tokens=(12, 34),
    estimated=True,
    tools="resumed",
    outcome="ok",
)
BARE = AccessLine(
    method="GET",
    path="/health",
    status=None,
    took_s=0.001,
    client="-",
    model=None,
    backend=None,
    first_s=None,
    tokens=None,
    estimated=False,
    tools=None,
    outcome="client_left",
)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def record(message: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("cursorpipe_server.x", level, __file__, 1, message, (), None)
    made.created, made.msecs = 1_790_000_000.25, 250.0
    made.request_id, made.trace_id = "req_1", None
    return made


def test_a_request_is_one_line_for_people() -> None:
    assert str(LINE) == (
        "POST /v1/chat/completions 200 1500.0ms client=ann model=auto backend=acp first=250.0ms"
        " tokens=~12+34 tools=resumed"
    )
    assert str(BARE) == "GET /health - 1.0ms client=- model=- backend=- (client_left)"


def test_a_line_has_its_time_level_and_request() -> None:
    text = LineFormatter().format(record("hello"))
    assert text.endswith(",250 INFO    req_1 cursorpipe_server.x: hello")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("status", "outcome", "colour"),
    [
        (200, "ok", "\x1b[32m"),
        (404, "unknown_url", "\x1b[33m"),
        (502, "network_error", "\x1b[31m"),
        (200, "agent_crash", "\x1b[31m"),
        (200, "client_left", "\x1b[33m"),
        (None, "client_left", "\x1b[33m"),
    ],
)
def test_on_a_terminal_a_request_has_the_colour_of_its_end(
    status: int | None, outcome: str, colour: str
) -> None:
    text = LineFormatter(colours=True).format(record(LINE._replace(status=status, outcome=outcome)))
    assert f"{colour}INFO" in text
    assert text.count("\x1b[0m") == 2


@pytest.mark.parametrize("colours", [False, True])
def test_for_people_a_line_ends_with_the_trace_it_belongs_to(colours: bool) -> None:
    traced = record(LINE)
    traced.__dict__["trace_id"] = "4bf92f3577b34da6a3ce929d0e0e4736"
    text = LineFormatter(colours=colours).format(traced)
    assert text.endswith(f"{LINE} trace=4bf92f3577b34da6a3ce929d0e0e4736")


def test_for_machines_a_line_is_one_object() -> None:
    found = json.loads(JsonFormatter().format(record(LINE)))
    assert found == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "info",
        "logger": "cursorpipe_server.x",
        "request_id": "req_1",
        "message": str(LINE),
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "total_ms": 1500.0,
        "client": "ann",
        "model": "auto",
        "backend": "acp",
        "first_text_ms": 250.0,
        "tools": "resumed",
        "outcome": "ok",
        "input_tokens": 12,
        "output_tokens": 34,
        "tokens_estimated": True,
    }


def test_what_is_not_known_is_left_out() -> None:
    found = json.loads(JsonFormatter().format(record(BARE)))
    assert not {"status", "model", "backend", "first_text_ms", "input_tokens", "tools"} & set(found)
    assert found["outcome"] == "client_left"


def test_a_line_break_cannot_forge_a_line() -> None:
    line = JsonFormatter().format(record("a\nb \ud800"))
    assert "\n" not in line
    assert json.loads(line)["message"].startswith("a\nb")


def test_a_traceback_is_in_the_line() -> None:
    try:
        int("oh")
    except ValueError:
        failed = record("it failed", logging.ERROR)
        failed.exc_info = sys.exc_info()
    found = json.loads(JsonFormatter().format(failed))
    assert found["level"] == "error"
    assert "ValueError: invalid literal" in found["exception"]


@pytest.mark.parametrize(
    ("wanted", "terminal", "kind"),
    [
        (LogFormat.AUTO, True, LineFormatter),
        (LogFormat.AUTO, False, JsonFormatter),
        (LogFormat.TEXT, False, LineFormatter),
        (LogFormat.JSON, True, JsonFormatter),
    ],
)
def test_the_form_is_the_one_that_is_set_or_fits_who_reads(
    wanted: LogFormat, terminal: bool, kind: type[logging.Formatter]
) -> None:
    assert isinstance(formatter_for(wanted, Screen() if terminal else io.StringIO()), kind)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_done_without(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in formatter_for(LogFormat.AUTO, Screen()).format(record(LINE))
    monkeypatch.setenv(name, value)
    assert "\x1b[" not in formatter_for(LogFormat.AUTO, Screen()).format(record(LINE))
