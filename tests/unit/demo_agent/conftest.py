from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.demo_agent.driver import Client, Place
from tests.unit.demo_agent.mcp_server import McpServer, serving
from tests.unit.demo_agent.talk import Open, Talk


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Client]]:
    """Start an ACP process: `start(SCENARIO="…")`, with more of the command line in front of `acp`."""
    clients: list[Client] = []

    def start(*argv: str, key: str | None = "demo-key", **switches: str) -> Client:
        client = Client(place.start(*argv, "acp", key=key, **switches))
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.close()


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    """An initialized ACP process without a scenario."""
    client = start()
    client.initialize()
    return client


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An initialized ACP process for tests that want only a session of their own."""
    client = Client(Place(tmp_path_factory.mktemp("shared")).start("acp"))
    client.initialize()
    yield client
    client.close()


@pytest.fixture
def talk(start: Callable[..., Client], server: McpServer) -> Open:
    """Open a session with the server under switches; what is asked for is allowed."""

    def talk(switches: str) -> Talk:
        client = start(MCP=switches)
        client.decision = "allow_once"
        return Talk(client, server)

    return talk


@pytest.fixture
def server() -> Iterator[McpServer]:
    """An MCP server that parks calls until the test answers them."""
    with serving() as server:
        yield server
