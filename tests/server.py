"""The application behind connections of its own kind, for aiohttp's test client."""

from __future__ import annotations

from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_server.protocol import Runner

Client = TestClient[web.Request, web.Application]


class OwnServer(TestServer):
    """A test server that runs the application as the program does."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return Runner(self.app, **options)


async def own_client(aiohttp_client: AiohttpClient, app: web.Application) -> Client:
    """Return a client of the application."""
    return cast("Client", await aiohttp_client(OwnServer(app)))
