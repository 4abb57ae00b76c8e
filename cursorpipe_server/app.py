"""The web application: what it consists of."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from cursorpipe_core import Router
from cursorpipe_server.agent_build import AgentBuild
from cursorpipe_server.auth import bearer_auth
from cursorpipe_server.bounds import bounded_body, invite_body
from cursorpipe_server.bridge import Bridge
from cursorpipe_server.cors import Cors
from cursorpipe_server.guard import browser_guard
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.keys import AGENT_BUILD, IN_FLIGHT, MEASURES, RECENT, ROUTER, SETTINGS
from cursorpipe_server.ledger import Ledger
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.measures import Measures
from cursorpipe_server.middlewares import add_headers, errors, request_line
from cursorpipe_server.recent import Recent
from cursorpipe_server.routes import ROUTES
from cursorpipe_server.tracing import Tracing


def create_app(live: LiveSettings, router: Router, *, tracing: Tracing | None = None) -> web.Application:
    """Return the application, which serves with what ``router`` has and leaves it to its owner.

    It is to be run with handler cancellation, or no client can leave. ``tracing`` is told of every request.
    """
    cors = Cors(live, frozenset(route.method for route in ROUTES))
    in_flight, measures, recent = InFlight(), Measures(router.known_model), Recent()
    app = web.Application(
        middlewares=[
            request_line(in_flight, Ledger(measures, recent, tracing)),
            bounded_body,
            errors,
            browser_guard(live),
            cors.preflight(),
            bearer_auth(live),
        ],
        # Ours may change; aiohttp's may not.
        client_max_size=0,
    )
    app[SETTINGS] = live
    app[ROUTER] = router
    app[IN_FLIGHT] = in_flight
    app[MEASURES] = measures
    app[RECENT] = recent
    app[AGENT_BUILD] = AgentBuild(router)
    app.on_response_prepare.append(add_headers)
    app.on_response_prepare.append(cors.add_headers)
    app.cleanup_ctx.append(_serve_tools)
    for route in ROUTES:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, expect_handler=invite_body)
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=invite_body)
    return app


async def _serve_tools(app: web.Application) -> AsyncIterator[None]:
    async with Bridge() as bridge, app[ROUTER].serve_tools(bridge):
        yield
