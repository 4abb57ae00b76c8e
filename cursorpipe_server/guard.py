"""The guard against pages that use somebody's browser to reach this server.

A browser sends what a page asks for to any address, this machine's included; the page cannot read the
answer, but the agent would have worked. It also marks what it sends, with headers that no page can set or
leave out of a POST: `Origin`, and on encrypted and local connections `Sec-Fetch-*`. Only requests with
such marks are judged here; programs send none and are never refused.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cursorpipe_server.errors import CrossOriginError, ForeignHostError
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.origins import (
    FETCH_MARKS,
    AllowedOrigins,
    is_from_browser,
    origin_at,
    parse_host,
    parse_origin,
)
from cursorpipe_server.routes import is_for_browsers, is_public


def browser_guard(live: LiveSettings) -> Middleware:
    """Make the middleware that refuses what a foreign page sends.

    The allowed origins may send beside the server's own pages. A browser may reach the server by addresses,
    `localhost` and the allowed hosts; by any name where a token is asked for. Without one, a page under a
    name that its owner has pointed at this machine (DNS rebinding) would be of the server's own origin.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_from_browser(request.headers):
            if _is_cross_origin(request, live.origins):
                raise CrossOriginError
            if not live.tokens and not _is_own_host(request, live.hosts):
                raise ForeignHostError
        return await handler(request)

    return guard


def _is_cross_origin(request: web.Request, origins: AllowedOrigins) -> bool:
    given = request.headers.getall("Origin", [])
    if given:
        return len(given) > 1 or not (given[0] in origins or _is_same_origin(request, given[0]))
    return _fetch_mark(request, "Site") == "cross-site" and not _follows_link(request)


def _is_same_origin(request: web.Request, text: str) -> bool:
    origin = parse_origin(text)
    host = parse_host(request.headers.get("Host", ""))
    if origin is None or host is None:
        return False
    if origin == origin_at(request.scheme, host):
        return True
    # Behind a proxy that ends TLS the page's scheme is not the request's; then the browser's own word
    # counts, and it gives none to an unencrypted page.
    return _fetch_mark(request, "Site") == "same-origin" and origin == origin_at("https", host)


def _follows_link(request: web.Request) -> bool:
    """Whether somebody followed a link to what only tells: the page with the link gets nothing of it."""
    return (
        request.method in {"GET", "HEAD"}
        and (is_public(request) or is_for_browsers(request))
        and _fetch_mark(request, "Mode") == "navigate"
        and _fetch_mark(request, "Dest") == "document"
    )


def _is_own_host(request: web.Request, hosts: frozenset[str]) -> bool:
    given = request.headers.getall("Host", [])
    host = parse_host(given[0]) if len(given) == 1 else None
    return host is not None and (host.is_address or host.is_loopback_name or host.name in hosts)


def _fetch_mark(request: web.Request, name: str) -> str:
    return request.headers.get(FETCH_MARKS + name, "").lower()
