"""The routes as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from cursorpipe_server import docs, models, ops
from cursorpipe_server.chat.handlers import chat_completions
from cursorpipe_server.completions.handlers import text_completions


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route; a ``public`` one is open to everybody, because it tells nothing that is secret."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    public: bool = False


ROUTES = (
    RouteEntry("POST", "/v1/chat/completions", chat_completions, "Chat completion"),
    RouteEntry("POST", "/v1/completions", text_completions, "Text completion"),
    RouteEntry("GET", "/v1/models", models.list_models, "List of models"),
    # Names of models have slashes and brackets.
    RouteEntry("GET", "/v1/models/{id:.+}", models.retrieve_model, "One model"),
    RouteEntry("GET", "/health", ops.health, "The server is up", public=True),
    RouteEntry("GET", "/ready", ops.ready, "An agent can serve", public=True),
    RouteEntry("GET", "/openapi.json", ops.openapi, "This API, described", public=True),
    RouteEntry("GET", "/docs", docs.swagger_page, "Swagger UI", public=True),
    RouteEntry("GET", "/redoc", docs.redoc_page, "ReDoc", public=True),
    RouteEntry("GET", "/docs/assets/{ui}/{name}", docs.docs_asset, "Files of the two", public=True),
)

_PUBLIC_HANDLERS = frozenset(route.handler for route in ROUTES if route.public)


def is_public(request: web.Request) -> bool:
    """Whether a request goes to a public route; one to no route at all does not."""
    return request.match_info.handler in _PUBLIC_HANDLERS
