"""Callers' tools through ACP agents that others wrote; their model is a scripted one on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from cursorpipe_core import AgentSettings, Strategy, SupervisorSettings
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.keys import ROUTER
from tests.apps import app_with_agents
from tests.contract import tool_model
from tests.integration.test_tools import Loop
from tests.waiting import until

WRAPPERS = os.environ.get("REAL_AGENTS_WRAPPERS", "")
MODEL = os.environ.get("FAKE_LLM_PROGRAM", "")

pytestmark = [
    pytest.mark.real_agents,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (WRAPPERS and MODEL), reason="REAL_AGENTS_WRAPPERS and FAKE_LLM_PROGRAM are not set"
    ),
]

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]

#: Seconds a real agent may need to start, and for a look at what it does.
START_S = 60.0
#: Seconds for which a call is parked that outlives what agents bear in silence.
LONG_PARK_S = 90.0

PARIS, ROME, OSLO = (["get_weather", {"city": city}] for city in ("Paris", "Rome", "Oslo"))
TIME = ["get_time", {}]


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    program = subprocess.Popen(
        [sys.executable, tool_model.__file__, MODEL, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout is not None
        yield program.stdout.readline().split()[-1]
        program.kill()


@pytest.fixture(params=["gemini", "codex"])
def serve(
    request: pytest.FixtureRequest,
    aiohttp_client: AiohttpClient,
    tmp_path: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Serve:
    monkeypatch.setenv("FAKE_LLM_URL", model)

    async def start(**supervision: Any) -> Client:
        settings = Settings(
            server=ServerSettings(),
            agent=AgentSettings(
                state_dir=str(tmp_path),
                agent_bin=str(Path(WRAPPERS) / f"agent-{request.param}"),
                api_key="fake-key",
                agent_env=("REAL_AGENTS_PREFIX", "REAL_AGENTS_STATE", "FAKE_LLM_URL"),
                startup_timeout_s=START_S,
            ),
            supervision=SupervisorSettings(strategy=Strategy.ACP, workers=1, pool_size=1, **supervision),
        )
        client = await aiohttp_client(app_with_agents(settings), timeout=aiohttp.ClientTimeout(240))
        assert client.app is not None
        router = client.app[ROUTER]
        await until(lambda: router.snapshot().ready, START_S)
        return client

    return start


def prompt(*rounds: list[Any]) -> str:
    """Return what makes the model call these, round by round."""
    return f"[[tools:{quote(json.dumps(rounds))}]]"


def talk(client: Client, *rounds: list[Any]) -> Loop:
    return Loop(client, [{"role": "user", "content": prompt(*rounds)}])


async def test_a_call_and_its_result(serve: Serve) -> None:
    loop = talk(await serve(), [PARIS])
    assert "Paris is fine" in await loop.run()
    assert loop.rounds == [["get_weather"], []]
    assert loop.ways == ["new", "resumed"]


async def test_calls_made_together(serve: Serve, request: pytest.FixtureRequest) -> None:
    loop = talk(await serve(), [PARIS, TIME])
    answer = await loop.run()
    assert "Paris is fine" in answer
    assert "12:00" in answer
    # One of the two makes its calls one after the other, whatever is said of the tools.
    serial = "gemini" in request.node.callspec.id
    assert [len(names) for names in loop.rounds] == ([1, 1, 0] if serial else [2, 0])


async def test_three_rounds(serve: Serve) -> None:
    loop = talk(await serve(), [PARIS], [ROME], [OSLO])
    answer = await loop.run()
    assert all(f"{city} is fine" in answer for city in ("Paris", "Rome", "Oslo"))
    assert loop.ways == ["new", "resumed", "resumed", "resumed"]


async def test_an_error_of_a_tool_is_a_result(serve: Serve) -> None:
    loop = talk(await serve(), [PARIS])
    (call,) = (await loop.once())["tool_calls"]
    failed = "Error: there is no weather today"
    loop.messages.append({"role": "tool", "tool_call_id": call["id"], "content": failed})
    assert failed in (await loop.once())["content"]


async def test_a_client_that_leaves_after_the_results(serve: Serve) -> None:
    client = await serve()
    loop = talk(client, [PARIS], [ROME])
    loop.answer((await loop.once())["tool_calls"])
    leaving = asyncio.ensure_future(loop.once())
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().tools.parked == 0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await until(lambda: not any(worker.in_flight for worker in router.snapshot().workers), START_S)
    assert "Oslo is fine" in await talk(client, [OSLO]).run()


async def test_a_turn_that_waited_too_long(serve: Serve) -> None:
    client = await serve(tool_park_timeout_s=1.0)
    loop = talk(client, [PARIS])
    loop.answer((await loop.once())["tool_calls"])
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().tools.expired == 1)
    # The agent's end of it is over as well: the session was cancelled.
    await until(lambda: not any(worker.in_flight for worker in router.snapshot().workers), START_S)
    assert await loop.once()
    assert loop.ways[-1] == "rebuilt"


async def test_a_server_that_was_restarted_between_call_and_result(serve: Serve) -> None:
    first = await serve()
    loop = talk(first, [PARIS])
    loop.answer((await loop.once())["tool_calls"])
    await first.close()
    loop.client = await serve()
    assert await loop.once()
    assert loop.ways[-1] == "rebuilt"


async def test_a_call_that_waits_longer_than_silence_is_borne(serve: Serve) -> None:
    loop = talk(await serve(), [PARIS])
    loop.answer((await loop.once())["tool_calls"])
    await asyncio.sleep(LONG_PARK_S)
    assert "Paris is fine" in (await loop.once())["content"]
    assert loop.ways == ["new", "resumed"]


async def test_four_clients_unmixed(serve: Serve) -> None:
    client = await serve()
    cities = ("Paris", "Rome", "Oslo", "Bern")
    loops = [talk(client, [["get_weather", {"city": city}]]) for city in cities]
    answers = await asyncio.gather(*(loop.run() for loop in loops))
    for city, answer in zip(cities, answers, strict=True):
        assert f"{city} is fine" in answer
        assert answer.count("is fine") == 1
