"""The application with agents of its own, for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from cursorpipe_core import Router
from cursorpipe_server.app import create_app
from cursorpipe_server.config import Settings
from cursorpipe_server.live import LiveSettings


def app_with_agents(settings: Settings) -> web.Application:
    """Return the application, which starts its agents with itself and ends them."""
    router = Router(settings.agent, settings.supervision)

    async def run(app: web.Application) -> AsyncIterator[None]:
        del app
        async with router:
            yield

    app = create_app(LiveSettings(settings), router)
    # The first to begin is the last to end: what the application has with the agents goes before they do.
    app.cleanup_ctx.insert(0, run)
    return app
