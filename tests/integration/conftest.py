"""The whole program, agents included: inside the test's own process, or as one of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_core import Strategy, SupervisorSettings, restarts
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.keys import ROUTER
from tests.apps import app_with_agents
from tests.demo import DemoAgent
from tests.integration.program import Program, Start
from tests.server import own_client
from tests.waiting import until

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]

CHAT = "/v1/chat/completions"

#: Starts a program with a socket that it is to serve.
ACTIVATE = str(Path(__file__).parent / "activate.py")


@pytest.fixture
def agent(tmp_path: Path) -> DemoAgent:
    return DemoAgent(tmp_path)


@pytest.fixture
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a worker that has died started anew at once, however often."""
    monkeypatch.setattr(restarts, "SHORTEST_DELAY_S", 0.01)


@pytest.fixture
def serve(agent: DemoAgent, aiohttp_client: AiohttpClient) -> Serve:
    """Start a server; ``ready=False`` does not wait for its workers."""

    async def start(
        *,
        strategy: str = "auto",
        workers: int = 1,
        pool_size: int = 1,
        ready: bool = True,
        server: dict[str, Any] | None = None,
        supervision: dict[str, Any] | None = None,
        **agent_fields: Any,
    ) -> Client:
        settings = Settings(
            server=ServerSettings(**(server or {})),
            agent=agent.settings(**agent_fields),
            supervision=SupervisorSettings(
                strategy=Strategy(strategy), workers=workers, pool_size=pool_size, **(supervision or {})
            ),
        )
        client = await own_client(aiohttp_client, app_with_agents(settings))
        if ready:
            assert client.app is not None
            router = client.app[ROUTER]
            await until(lambda: all(worker.state == "ready" for worker in router.snapshot().workers))
        return client

    return start


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each way to tools a second, where most of them do not work."""
    monkeypatch.setattr("cursorpipe_core.channel_probe.PROBE_S", 1.0)


@pytest.fixture
async def start(agent: DemoAgent, tmp_path: Path) -> AsyncIterator[Start]:
    """Start the program in a directory of its own, with nothing of ours in its environment.

    ``terminal`` is the path of the terminal that controls it, if one is to; ``listener`` a socket that is
    handed to it as a service manager does.
    """
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    for directory in (work, temporary):
        directory.mkdir()
    async with AsyncExitStack() as stack:

        async def begin(
            *arguments: str, terminal: str = "", listener: socket.socket | None = None, **env: str
        ) -> Program:
            inherited = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("CURSORPIPE_", "CURSOR_"))
            }
            process = await asyncio.create_subprocess_exec(
                # The first terminal that the first process of a session opens controls it.
                *(("sh", "-c", 'exec "$@" <"$0"', terminal) if terminal else ()),
                *((sys.executable, ACTIVATE, str(listener.fileno())) if listener else ()),
                *(sys.executable, "-m", "cursorpipe_server", *arguments),
                start_new_session=bool(terminal),
                pass_fds=(listener.fileno(),) if listener else (),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={
                    **inherited,
                    "CURSORPIPE_HOST": "127.0.0.1",
                    "CURSORPIPE_LOG_FORMAT": "text",
                    "CURSORPIPE_STATE_DIR": str(agent.state_dir),
                    "TMPDIR": str(temporary),
                    **agent.switches,
                    **env,
                },
                cwd=work,
            )
            program = Program(process)
            stack.push_async_callback(program.end)
            return program

        yield begin


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def ask(text: str = "Hello!", **fields: Any) -> dict[str, Any]:
    """Return a request for an answer to one message."""
    return {"messages": [{"role": "user", "content": text}], **fields}


async def answer(client: Client, text: str, **fields: Any) -> str:
    """Return the text of an answer that is expected to be whole."""
    async with client.post(CHAT, json=ask(text, **fields)) as response:
        body = await response.json()
        assert response.status == 200, body
        content: str = body["choices"][0]["message"]["content"]
        return content
