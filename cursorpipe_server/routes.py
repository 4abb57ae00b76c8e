"""The routes as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from cursorpipe_server import docs, models, ops
from cursorpipe_server.chat.handlers import chat_completions
from cursorpipe_server.completions.handlers import text_completions
from cursorpipe_server.config import MetricsAuth, ServerSettings
from cursorpipe_server.keys import SETTINGS
from cursorpipe_server.measures import NO_ROUTE
from cursorpipe_server.status.handlers import status, status_page


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route; a ``public`` one is open to everybody, because it tells nothing that is secret.

    ``public_if`` says of one that is not whether the settings open it. ``own`` are those for whoever runs the
    server, not for clients. What is ``in_browser`` only tells: people may look at it by following a link, and
    sign in with the token as a password.
    """

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    public: bool = False
    public_if: Callable[[ServerSettings], bool] | None = None
    own: bool = False
    in_browser: bool = False

    @property
    def template(self) -> str:
        """The path as documents and metrics show it."""
        return self.path.replace(":.+", "")


def _metrics_are_open(server: ServerSettings) -> bool:
    return server.metrics_auth is MetricsAuth.OPEN


ROUTES = (
    RouteEntry("POST", "/v1/chat/completions", chat_completions, "Chat completion"),
    RouteEntry("POST", "/v1/completions", text_completions, "Text completion"),
    RouteEntry("GET", "/v1/models", models.list_models, "List of models"),
    # Names of models have slashes and brackets.
    RouteEntry("GET", "/v1/models/{id:.+}", models.retrieve_model, "One model"),
    RouteEntry("GET", "/", status_page, "What is going on, for people", own=True, in_browser=True),
    RouteEntry("GET", "/status", status, "What is going on", own=True, in_browser=True),
    RouteEntry("GET", "/health", ops.health, "The server is up", own=True, public=True),
    RouteEntry("GET", "/ready", ops.ready, "An agent can serve", own=True, public=True),
    RouteEntry(
        "GET",
        "/metrics",
        ops.metrics,
        "Numbers for Prometheus",
        public_if=_metrics_are_open,
        own=True,
        in_browser=True,
    ),
    RouteEntry("GET", "/openapi.json", ops.openapi, "This API, described", own=True, public=True),
    RouteEntry("GET", "/docs", docs.swagger_page, "Swagger UI", own=True, public=True),
    RouteEntry("GET", "/redoc", docs.redoc_page, "ReDoc", own=True, public=True),
    RouteEntry("GET", "/docs/assets/{ui}/{name}", docs.docs_asset, "Files of the two", own=True, public=True),
)

#: The templates of those for whoever runs the server: they look often, and what they see is not themselves.
OWN_ROUTES = frozenset(route.template for route in ROUTES if route.own)

#: The templates of those that ask an agent for an answer.
ANSWER_ROUTES = frozenset(route.template for route in ROUTES if route.method == "POST")

_BY_HANDLER = {route.handler: route for route in ROUTES}
_TEMPLATES = {route.handler: route.template for route in ROUTES}


def is_public(request: web.Request) -> bool:
    """Whether a request goes to a public route; one to no route at all does not."""
    route = _BY_HANDLER.get(request.match_info.handler)
    if route is None:
        return False
    return route.public or (
        route.public_if is not None and route.public_if(request.app[SETTINGS].settings.server)
    )


def is_for_browsers(request: web.Request) -> bool:
    """Whether a request goes to something that people look at in a browser."""
    route = _BY_HANDLER.get(request.match_info.handler)
    return route is not None and route.in_browser


def template_of(request: web.Request) -> str:
    """Return the path of the route that a request goes to, as the table has it."""
    return _TEMPLATES.get(request.match_info.handler, NO_ROUTE)
