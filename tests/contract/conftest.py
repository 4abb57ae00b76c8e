"""The server on a port, for clients that are programs of other people."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from cursorpipe_core import Strategy, SupervisorSettings
from cursorpipe_server.config import ServerSettings, Settings
from tests.apps import app_with_agents
from tests.demo import DemoAgent

TOKEN = "contract-token"

ServeUrl = Callable[..., str]


@pytest.fixture
def agent(tmp_path: Path) -> DemoAgent:
    return DemoAgent(tmp_path)


@pytest.fixture
def serve_url(agent: DemoAgent) -> Iterator[ServeUrl]:
    """Serve from a thread of its own, because some clients block theirs; returns the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[TestServer] = []

    def serve(strategy: str = "auto", **agent_fields: Any) -> str:
        settings = Settings(
            server=ServerSettings(bearer_token=TOKEN),
            agent=agent.settings(**agent_fields),
            supervision=SupervisorSettings(strategy=Strategy(strategy), workers=1, pool_size=1),
        )

        async def start() -> TestServer:
            server = TestServer(app_with_agents(settings))
            await server.start_server()
            return server

        servers.append(asyncio.run_coroutine_threadsafe(start(), loop).result(20))
        return str(servers[-1].make_url("/v1"))

    yield serve
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(20)
    asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
