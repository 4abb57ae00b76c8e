"""The status as a page; whatever is not written here goes through `escape`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape

from cursorpipe_core import SlotState, Snapshot, WorkerSnapshot
from cursorpipe_server.recent import BUCKET_S, Failure, Totals
from cursorpipe_server.status import words
from cursorpipe_server.status.charts import first_text_chart, requests_chart
from cursorpipe_server.status.facts import WINDOWS_S, Facts
from cursorpipe_server.status.look import RENEW_S, SCRIPT, STYLE

_TONES = {
    SlotState.READY: "good",
    SlotState.STARTING: "wait",
    SlotState.BACKOFF: "wait",
    SlotState.TRIPPED: "bad",
    SlotState.STOPPED: "wait",
}

#: A disc: green while a request would be served.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Ccircle cx='4' cy='4' r='3.5' fill='{colour}'/%3E%3C/svg%3E"
)
_ICON_COLOURS = {"good": "%2317a05c", "wait": "%23c98a00", "bad": "%23d33a2f"}

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="{renew_s}"></noscript>
<title>{title}</title>
<link rel="icon" href="{icon}">
<style>{style}</style>
</head>
<body>
<p id="silent" role="alert" hidden></p>
{main}
<footer>
<a href="/docs">API</a> <a href="/redoc">reference</a> <a href="/openapi.json">OpenAPI</a>
<a href="/metrics">metrics</a> <a href="/ready">readiness</a> <a href="/status">this as JSON</a>
</footer>
<script>{script}</script>
</body>
</html>
"""


def render(facts: Facts) -> str:
    """Return the page."""
    name, tone = _standing(facts.snapshot)
    return _PAGE.format(
        renew_s=RENEW_S,
        title=f"cursorpipe: {name}",
        icon=_ICON.format(colour=_ICON_COLOURS[tone]),
        style=STYLE,
        main=_main(facts),
        script=SCRIPT,
    )


def _main(facts: Facts) -> str:
    return "\n".join(
        (
            "<main>",
            _header(facts),
            _section("Served", _served(facts)),
            _section("Requests", _live(facts) + _windows(facts.windows)),
            _section("The last half hour", _charts(facts.moments), wide=True),
            _section("Workers", _workers(facts), wide=True),
            _section("Recent errors", _errors(facts.errors, facts.at), wide=True),
            "</main>",
        )
    )


def _header(facts: Facts) -> str:
    snapshot = facts.snapshot
    state = _state(*_standing(snapshot))
    demo = '<span class="demo wait">demo: answers are not from Cursor</span>' if facts.demo else ""
    reason = f'<p class="reason">{escape(snapshot.reason)}</p>' if snapshot.reason else ""
    as_of = f"<small>as of {_time(facts.at, f'{facts.at:%H:%M:%S} UTC')}</small>"
    return f"<header><h1>cursorpipe</h1> {state} {demo} {as_of}{reason}</header>"


def _standing(snapshot: Snapshot) -> tuple[str, str]:
    """Return in a word how the server is, and the tone of it."""
    if not snapshot.ready:
        return "not ready", "bad"
    return ("ready", "good") if snapshot.reason is None else ("ready without workers", "wait")


def _served(facts: Facts) -> str:
    agent = facts.agent
    build = escape(agent.version or "")
    if agent.path is not None:
        build += f"{'<br>' if build else ''}<small>{escape(agent.path)}</small>"
    if agent.reason is not None:
        build += f"{'<br>' if build else ''}{_reason(agent.reason, facts)}"
    up = words.span((facts.at - facts.started_at).total_seconds())
    return _list(
        {
            "Version": escape(facts.version),
            "Up for": _time(facts.started_at, up),
            "Strategy": escape(words.strategy(facts.snapshot.strategy)),
            "Agent": build,
            "Tools": escape(words.tools(facts.snapshot.tools)),
        }
    )


def _live(facts: Facts) -> str:
    snapshot = facts.snapshot
    numbers = {
        "in flight": facts.in_flight,
        "in the queue": snapshot.waiting,
        "wait for tools": snapshot.tools.parked,
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{number:,}</dd></div>" for name, number in numbers.items())
    return f'<dl class="live">{items}</dl>'


def _windows(windows: Sequence[Totals]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("ended in the last", "requests", "failed", "first text"))
    rows = "".join(
        f"<tr><td>{words.span(seconds)}</td><td>{totals.requests:,}{_rate(totals)}</td>"
        f"<td>{_failed(totals.failed)}</td><td>{_first_text(totals.first_text_s)}</td></tr>"
        for seconds, totals in zip(WINDOWS_S, windows, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _rate(totals: Totals) -> str:
    if not totals.requests or totals.seconds < BUCKET_S:
        return ""
    rate = totals.requests / totals.seconds
    shown = f"{rate:.1f}/s" if rate >= 0.95 else f"{rate * 60:.1f}/min"
    return f" <small>{shown}</small>"


def _failed(number: int) -> str:
    return f'<span class="bad">{number:,}</span>' if number else "0"


def _first_text(seconds: float | None) -> str:
    return "–" if seconds is None else words.duration(seconds)


def _charts(moments: Sequence[Totals]) -> str:
    return f'<div class="charts">{requests_chart(moments)}{first_text_chart(moments)}</div>'


def _workers(facts: Facts) -> str:
    snapshot = facts.snapshot
    lines = [_worker(worker, facts) for worker in snapshot.workers]
    if snapshot.draining:
        draining = words.count(snapshot.draining, "worker")
        lines.append(f"{draining} replaced, ending what is open")
    if snapshot.subprocesses:
        running = words.count(snapshot.subprocesses, "process", "processes")
        lines.append(f"{running} for one request each")
    return _items(lines) or '<p class="soft">None is kept: each request gets a process of its own.</p>'


def _worker(worker: WorkerSnapshot, facts: Facts) -> str:
    model = "" if worker.model is None else f" for <b>{escape(worker.model)}</b>"
    about = [words.worker(worker)]
    if worker.pid is not None:
        about.append(f"process {worker.pid}")
    if worker.rss_bytes:
        about.append(words.size(worker.rss_bytes))
    if worker.restarts:
        about.append(f"started again {words.count(worker.restarts, 'time')}")
    if worker.permissions_refused:
        about.append(f"{words.count(worker.permissions_refused, 'permission')} refused")
    said = [escape(note) for note in worker.notes]
    if worker.reason:
        said.insert(0, _reason(worker.reason, facts))
    return (
        f"Worker {worker.slot}{model} {_state(worker.state.value, _TONES[worker.state])}"
        f' <span class="soft">{escape(" · ".join(about))}</span>' + "".join(f"<p>{text}</p>" for text in said)
    )


def _reason(reason: str, facts: Facts) -> str:
    """Return a reason; not again the one at the top of the page."""
    top = facts.snapshot.reason
    told = top is not None and top.endswith(reason)
    return '<span class="soft">see above</span>' if told else escape(reason)


def _errors(errors: Sequence[Failure], now: datetime) -> str:
    return _items(_error(error, now) for error in errors) or '<p class="soft">None since the start.</p>'


def _error(error: Failure, now: datetime) -> str:
    ago = words.span(max(0.0, (now - error.at).total_seconds()))
    times = f" · {words.count(error.count, 'time')}" if error.count > 1 else ""
    return (
        f'<b>{escape(error.code)}</b> <span class="soft">{escape(error.route)} · '
        f"{_time(error.at, f'{ago} ago')}{times} · <code>{escape(error.request_id)}</code></span>"
        f"<p>{escape(error.message)}</p>"
    )


def _section(title: str, content: str, *, wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    return f"<section{kind}><h2>{title}</h2>{content}</section>"


def _list(entries: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in entries.items())}</dl>"


def _items(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _state(name: str, tone: str) -> str:
    return f'<span class="state {tone}">{escape(name)}</span>'


def _time(at: datetime, shown: str) -> str:
    exact = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}" title="{exact}">{shown}</time>'
