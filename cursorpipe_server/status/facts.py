"""The facts of the status, gathered once for the page and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from cursorpipe_core import Snapshot, __version__
from cursorpipe_server.agent_build import Build
from cursorpipe_server.keys import AGENT_BUILD, IN_FLIGHT, RECENT, SETTINGS
from cursorpipe_server.ops import current_snapshot, readiness
from cursorpipe_server.recent import Failure, Totals

#: The windows over which requests are told, in seconds.
WINDOWS_S = (60, 300, 1800)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server and its agents do at one moment, and what requests have come to lately.

    ``in_flight`` counts requests to the server but the one that asks; ``windows`` end now, as do ``moments``,
    the spans of ten seconds of the last half hour.
    """

    version: str
    at: datetime
    started_at: datetime
    demo: bool
    agent: Build
    snapshot: Snapshot
    in_flight: int
    windows: Sequence[Totals]
    moments: Sequence[Totals]
    errors: Sequence[Failure]


async def gather(app: web.Application) -> Facts:
    """Return the facts as of now; waits for nothing but, now and then and briefly, the agent's version."""
    agent = await app[AGENT_BUILD].get()
    recent, now = app[RECENT], datetime.now(UTC)
    return Facts(
        version=__version__,
        at=now,
        started_at=now - timedelta(seconds=recent.age_s),
        demo=bool(app[SETTINGS].settings.agent.stand_in),
        agent=agent,
        snapshot=current_snapshot(app),
        in_flight=app[IN_FLIGHT].others,
        windows=[recent.window(seconds) for seconds in WINDOWS_S],
        moments=recent.moments(),
        errors=recent.failures,
    )


def as_json(facts: Facts) -> dict[str, Any]:
    """Return the facts as `/status` sends them: what `/ready` tells, and more."""
    return {
        **readiness(facts.snapshot),
        "at": _timestamp(facts.at),
        "started_at": _timestamp(facts.started_at),
        "demo": facts.demo,
        "agent": asdict(facts.agent),
        "in_flight": facts.in_flight,
        "windows": [_rounded(totals) for totals in facts.windows],
        "moments": [_rounded(totals) for totals in facts.moments],
        "errors": [{**asdict(failure), "at": _timestamp(failure.at)} for failure in facts.errors],
    }


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(totals: Totals) -> dict[str, Any]:
    first_text_s = None if totals.first_text_s is None else round(totals.first_text_s, 4)
    return {**asdict(totals), "seconds": round(totals.seconds, 3), "first_text_s": first_text_s}
