"""Whether a LiteLLM proxy can be reached.

Source: LiteLLM, "Health Checks": `/health/liveliness` says that it is alive and `/health/readiness` more,
both to anybody.
"""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
from yarl import URL

from cursorpipe_core import Finding, Remedy, broken, fine

UNREACHABLE = Remedy(
    "litellm_unreachable",
    "Start the proxy, or correct the host and port of --litellm; see the firewall.",
)
SILENT = Remedy(
    "litellm_silent", "Something takes the connection and says nothing: look into the log of the proxy."
)
NO_LITELLM = Remedy(
    "litellm_unknown", "Give --litellm the address of the proxy itself, such as http://localhost:4000."
)
NOT_READY = Remedy(
    "litellm_not_ready", "The proxy runs and refuses: its log says what it waits for, often its database."
)
BAD_CERTIFICATE = Remedy(
    "litellm_certificate", "Have the proxy present a certificate that this machine trusts, or use http://."
)

#: Seconds the proxy may take for each of the two answers.
ANSWER_WITHIN_S = 5.0
#: What it says of itself while it lives.
ALIVE = "alive"


async def check_litellm(address: str) -> Finding:
    """Ask the proxy whether it lives, and what it is."""
    base = _base(address)
    # Whoever has put a password into the address does not want to see it again.
    shown = str(base.with_user(None))
    started_at = time.monotonic()
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            status, text = await _get(session, base / "health" / "liveliness")
            ready_status, readiness = await _get(session, base / "health" / "readiness")
    except aiohttp.ClientSSLError:
        return broken("litellm", f"{shown} speaks no TLS that this machine trusts.", BAD_CERTIFICATE)
    except TimeoutError:
        return broken("litellm", f"{shown} does not answer within {ANSWER_WITHIN_S:g}s.", SILENT)
    except (aiohttp.ClientError, OSError, UnicodeError) as exc:  # the last: a name that cannot be one
        words = getattr(exc, "strerror", None) or type(exc).__name__
        return broken("litellm", f"{shown} cannot be reached: {words}.", UNREACHABLE)
    seconds = time.monotonic() - started_at
    if status < 500 and (status != 200 or ALIVE not in text):
        return broken("litellm", f"{shown} is no LiteLLM proxy.", NO_LITELLM, seconds=seconds)
    if (worst := max(status, ready_status)) >= 500:
        return broken("litellm", f"{shown} answers with {worst}.", NOT_READY, seconds=seconds)
    return fine("litellm", f"{shown} is alive{_version(readiness)}", seconds=seconds)


async def _get(session: aiohttp.ClientSession, url: URL) -> tuple[int, str]:
    async with asyncio.timeout(ANSWER_WITHIN_S), session.get(url, allow_redirects=False) as response:
        return response.status, await response.text(errors="replace")


def _base(address: str) -> URL:
    """Return where the proxy is; what clients are given ends in `/v1`."""
    return URL(address.rstrip("/").removesuffix("/v1")).with_query(None).with_fragment(None)


def _version(readiness: str) -> str:
    try:
        version = json.loads(readiness).get("litellm_version")
    except (ValueError, AttributeError):
        return ""
    return f", version {version}" if isinstance(version, str) else ""
