"""How long a client waits, as far as it says so."""

from __future__ import annotations

import contextlib
import math

from aiohttp import web

#: Sent by OpenAI's own clients: seconds without a byte, or in all, after which they hang up.
_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")


def patience_s(request: web.Request) -> float | None:
    """Return the seconds after which the client of a whole answer has left; None if it does not say."""
    said: list[float] = []
    for name in _HEADERS:
        if (given := request.headers.get(name)) is not None:
            with contextlib.suppress(ValueError):
                said.append(float(given))
    return min((seconds for seconds in said if math.isfinite(seconds) and seconds > 0), default=None)
