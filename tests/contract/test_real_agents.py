"""ACP agents that others wrote, behind the server; their model is a fake one on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_core import AgentSettings, Strategy, SupervisorSettings
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.keys import ROUTER
from tests.apps import app_with_agents
from tests.integration.conftest import CHAT, answer, ask
from tests.integration.streams import Stream, read_stream
from tests.waiting import until

WRAPPERS = os.environ.get("REAL_AGENTS_WRAPPERS", "")
LLM = os.environ.get("FAKE_LLM_URL", "")

pytestmark = [
    pytest.mark.real_agents,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not (WRAPPERS and LLM), reason="REAL_AGENTS_WRAPPERS and FAKE_LLM_URL are not set"),
]

Client = TestClient[web.Request, web.Application]

#: Seconds a real agent may need to start.
START_S = 60.0


@pytest.fixture(params=["gemini", "codex"])
async def client(request: pytest.FixtureRequest, aiohttp_client: AiohttpClient, tmp_path: Path) -> Client:
    settings = Settings(
        server=ServerSettings(),
        agent=AgentSettings(
            state_dir=str(tmp_path),
            agent_bin=str(Path(WRAPPERS) / f"agent-{request.param}"),
            api_key="fake-key",
            agent_env=("REAL_AGENTS_PREFIX", "REAL_AGENTS_STATE", "FAKE_LLM_URL"),
            startup_timeout_s=START_S,
        ),
        supervision=SupervisorSettings(strategy=Strategy.ACP, workers=1, pool_size=2),
    )
    client = await aiohttp_client(app_with_agents(settings))
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().ready, START_S)
    return client


@pytest.fixture
async def stats() -> AsyncIterator[Callable[[], Awaitable[dict[str, Any]]]]:
    async with aiohttp.ClientSession() as session:

        async def get() -> dict[str, Any]:
            async with session.get(f"{LLM}/stats") as response:
                found: dict[str, Any] = await response.json()
                return found

        yield get


async def stream(client: Client, text: str) -> Stream:
    async with client.post(CHAT, json=ask(text, stream=True)) as response:
        return await read_stream(response)


async def test_a_chat(client: Client) -> None:
    assert "question-7" in await answer(client, "question-7")


async def test_a_stream(client: Client) -> None:
    read = await stream(client, "[[slow:10:20]] question-8")
    assert read.done
    assert "question-8" in read.text
    assert len(read.chunks) > 10


async def test_ten_streams_at_once_are_unmixed(client: Client) -> None:
    streams = await asyncio.gather(*(stream(client, f"mark-{n}-x [[slow:10:50]]") for n in range(10)))
    for number, read in enumerate(streams):
        assert read.done
        assert f"mark-{number}-x" in read.text
        assert read.text.count("mark-") == read.text.count(f"mark-{number}-x")


async def test_permission_is_refused_without_a_hang(client: Client) -> None:
    # A command that no agent runs without asking.
    read = await stream(client, "[[run:curl http://127.0.0.1:9/ -o x && rm -rf ./x]]")
    assert read.done or read.error is not None
    assert client.app is not None
    assert "next" in await answer(client, "next")


async def test_a_client_that_leaves_stops_the_models_stream(
    client: Client, stats: Callable[[], Awaitable[dict[str, Any]]]
) -> None:
    before = (await stats())["streams_broken"]
    async with client.post(CHAT, json=ask("[[slow:200:50]]", stream=True)) as response:
        # The first text may be the agent's own; the model speaks once it counts.
        await response.content.readuntil(b" w2")
    async with asyncio.timeout(5):
        while (await stats())["streams_broken"] <= before:  # noqa: ASYNC110 — it is another program's count
            await asyncio.sleep(0.05)
    assert "after" in await answer(client, "after")
