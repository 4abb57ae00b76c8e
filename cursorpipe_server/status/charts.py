"""The last half hour as two small pictures, drawn here: no script, no style but the page's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cursorpipe_server.recent import BUCKET_S, Totals
from cursorpipe_server.status.words import count, duration, span

#: The height of a picture in its own units; its width is one unit a moment.
HEIGHT = 40
#: The part of a moment's width that its bar takes.
_BAR = 0.75


def requests_chart(moments: Sequence[Totals]) -> str:
    """Return the requests of each moment as bars, with those that failed at their feet."""
    requests = [moment.requests for moment in moments]
    failed = [moment.failed for moment in moments]
    top = _nice(max(requests, default=0), least=4)
    fine = [total - bad for total, bad in zip(requests, failed, strict=True)]
    about = f"{count(sum(requests), 'request')}, {sum(failed)} of them failed."
    marks = (
        f'<path class="fine" d="{_bars(fine, top, failed)}"/><path class="failed" d="{_bars(failed, top)}"/>'
    )
    name = f"<b>Requests</b>, each {BUCKET_S} s"
    return _figure(name, about, f"{top:g}" if any(requests) else "none yet", marks, width=len(moments))


def first_text_chart(moments: Sequence[Totals]) -> str:
    """Return the median time to the first text of each moment as a line, broken where there was none."""
    times = [moment.first_text_s for moment in moments]
    slowest = max((seconds for seconds in times if seconds is not None), default=None)
    top = _nice(slowest or 0.0, least=0.001)
    about = "No text yet." if slowest is None else f"Up to {duration(slowest)}."
    marks = f'<path class="line" d="{_line(times, top)}"/>'
    name = f"<b>Time to the first text</b>, median of {BUCKET_S} s"
    return _figure(name, about, "none yet" if slowest is None else duration(top), marks, width=len(moments))


def _figure(name: str, about: str, top: str, marks: str, *, width: int) -> str:
    # Every text in here is ours or a number: there is nothing to escape.
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<div class="plot"><svg role="img" aria-label="{about}" viewBox="0 0 {width} {HEIGHT}"'
        f' preserveAspectRatio="none"><title>{about}</title>'
        f'<path class="grid" d="M0 0H{width}M0 {HEIGHT // 2}H{width}M0 {HEIGHT}H{width}"/>{marks}</svg>'
        f'<small class="top">{top}</small></div>'
        f'<div class="axis"><small>{span(width * BUCKET_S)} ago</small><small>now</small></div></figure>'
    )


def _bars(values: Sequence[int], top: float, feet: Sequence[int] | None = None) -> str:
    parts = []
    for x, value in enumerate(values):
        if value:
            foot = HEIGHT * (1 - (feet[x] if feet else 0) / top)
            parts.append(f"M{x} {foot:.2f}v-{HEIGHT * value / top:.2f}h{_BAR}V{foot:.2f}z")
    return "".join(parts)


def _line(values: Sequence[float | None], top: float) -> str:
    """Return lines through neighbours; what has none is a dot, which a round cap makes of no length."""
    parts = []
    before: float | None = None
    for x, value in enumerate(values):
        if value is not None:
            y = HEIGHT * (1 - value / top)
            parts.append(f"M{x + 0.5} {y:.2f}h0" if before is None else f"L{x + 0.5} {y:.2f}")
        before = value
    return "".join(parts)


def _nice(value: float, *, least: float) -> float:
    """Return a round number that is not below ``value``: the top of a scale."""
    value = max(value, least)
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 4, 5, 10, 20) if step * magnitude >= value * (1 - 1e-9))
