"""Cross-origin resource sharing: what lets the pages of named origins use this server."""

from __future__ import annotations

import re

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cursorpipe_server.live import LiveSettings

#: The headers of our answers that a page may read.
EXPOSED_HEADERS = (
    "x-request-id",
    "openai-processing-ms",
    "x-cursorpipe-backend",
    "x-cursorpipe-model",
    "x-cursorpipe-ignored",
    "x-cursorpipe-tools",
    "x-cursorpipe-usage",
    "Retry-After",
    "x-should-retry",
    "WWW-Authenticate",
)

#: The headers that a page may send, whatever it asks for.
_ALLOWED_HEADERS = ("authorization", "content-type", "x-api-key", "x-request-id")
#: The clients' own headers, allowed where they are asked for.
_CLIENT_HEADER = re.compile(r"(?:x-stainless|openai|anthropic)-[a-z0-9-]{1,64}")
MAX_CLIENT_HEADERS = 32

#: Seconds a browser may keep the answer to its question; the most that Chromium takes.
PREFLIGHT_MAX_AGE_S = 7200


class Cors:
    """Answers what browsers ask before they let a page of another origin in."""

    def __init__(self, live: LiveSettings, methods: frozenset[str]) -> None:
        self._live = live
        self._methods = ", ".join(sorted(methods))

    def preflight(self) -> Middleware:
        """Make the middleware that answers a browser's question, which never carries the token."""

        @web.middleware
        async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._is_preflight(request):
                return await handler(request)
            asked = request.headers.get("Access-Control-Request-Headers", "")
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": self._methods,
                    "Access-Control-Allow-Headers": ", ".join((*_ALLOWED_HEADERS, *_client_headers(asked))),
                    "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
                },
            )

        return answer_preflight

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the page read the answer, a stream or an error as well, if its origin is allowed."""
        origins = self._live.origins
        if not origins:
            return
        # On every answer: a cache must not give one origin what was said to another.
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin", "")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)

    def _is_preflight(self, request: web.Request) -> bool:
        return (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and request.headers.get("Origin", "") in self._live.origins
        )


def _client_headers(asked: str) -> list[str]:
    names = (name.strip().lower() for name in asked.split(","))
    return [name for name in names if _CLIENT_HEADER.fullmatch(name)][:MAX_CLIENT_HEADERS]
