"""The time that a text of the CLI names for another try (CLI contract §4.9).

Known are spans ("try again in 1h 20m"), members as servers send them ("Retry-After: 12",
"retryAfterMs: 1500"), and the day on which a plan begins anew ("your monthly cycle ends on 11/17/2025",
cursor/cursor#3703), month first, as the CLI writes it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

#: The longest wait passed on: the cycle in which plans are counted.
MAX_WAIT_S = 31 * 86400.0

_UNIT = r"milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d"
_AMOUNT = re.compile(rf"(\d+(?:\.\d+)?) ?({_UNIT})\b", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_SPAN = re.compile(
    rf"\b(?:again|retry|wait|resets?)\b\D{{0,40}}?((?:\d+(?:\.\d+)? ?(?:{_UNIT})\b(?:,? and |,? ?))+)",
    re.IGNORECASE,
)
_MEMBER = re.compile(
    rf"retry[-_ ]?after[-_ ]?(ms|s|seconds)?[\"']?\s*[:=]\s*[\"']?(\d+(?:\.\d+)?) ?({_UNIT})?\b",
    re.IGNORECASE,
)
_MOMENT = re.compile(
    r"\b(?:resets?|again|until)\b.{0,80}?"
    r"(?:(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})|(?P<iso>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?))",
    re.IGNORECASE | re.DOTALL,
)


def named_wait(text: str, now: datetime | None = None) -> float | None:
    """Return the seconds after which ``text`` says to come back, if it does; ``now`` has a time zone."""
    if found := _MEMBER.search(text):
        wait = _in_seconds(found[2], found[3] or found[1] or "s")
    elif found := _SPAN.search(text):
        wait = sum(_in_seconds(amount, unit) for amount, unit in _AMOUNT.findall(found[1]))
    elif (found := _MOMENT.search(text)) and (moment := _moment(found)):
        wait = (moment - (now or datetime.now(UTC))).total_seconds()
    else:
        return None
    return min(wait, MAX_WAIT_S) if wait > 0 else None


def _in_seconds(amount: str, unit: str) -> float:
    unit = unit.lower()
    return float(amount) * (_SECONDS.get(unit) or _SECONDS.get(unit[:3]) or _SECONDS[unit[0]])


def _moment(found: re.Match[str]) -> datetime | None:
    """Return the moment that was found; a day means its beginning, where the text has no time zone UTC's."""
    try:
        if found["iso"]:
            moment = datetime.fromisoformat(found["iso"])
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime(int(found["year"]), int(found["month"]), int(found["day"]), tzinfo=UTC)
    except ValueError:
        return None
