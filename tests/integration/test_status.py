"""The status of a whole server: its page is true to what happens to its agents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cursorpipe_core import WorkerSnapshot
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.waiting import until


async def status(client: Client) -> dict[str, Any]:
    async with client.get("/status") as response:
        told: dict[str, Any] = await response.json()
        return told


def worker(client: Client) -> WorkerSnapshot:
    assert client.app is not None
    return client.app[ROUTER].snapshot().workers[0]


async def test_an_agents_crash_is_in_the_errors_and_at_its_worker(serve: Serve) -> None:
    client = await serve()
    await answer(client, "hi")
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]] a secret", stream=True)) as response:
        assert "agent_crash" in await response.text()
    await until(lambda: worker(client).restarts == 1)
    told = await status(client)
    (error,) = told["errors"]
    assert (error["route"], error["code"]) == (CHAT, "agent_crash")
    assert {name: told["windows"][0][name] for name in ("requests", "failed")} == {"requests": 2, "failed": 1}
    async with client.get("/") as response:
        page = await response.text()
    assert "agent_crash" in page
    assert "started again 1 time" in page
    assert "a secret" not in page + json.dumps(told)


async def test_a_missing_login_is_told_once_with_what_to_do(serve: Serve, agent: DemoAgent) -> None:
    agent.set(LOGIN="browser")
    client = await serve(ready=False, api_key="")
    await until(lambda: worker(client).state == "tripped")
    told = await status(client)
    assert "agent login" in told["reason"]
    async with client.get("/") as response:
        page = await response.text()
    assert "<title>cursorpipe: not ready</title>" in page
    assert page.count("agent login") == 1


@pytest.mark.parametrize("model", ["auto", "composer-2.5"])
async def test_what_is_being_served_is_shown(serve: Serve, model: str) -> None:
    client = await serve()
    async with client.post(
        CHAT, json=ask("[[demo:ignore-cancel count=50]]", model=model, stream=True)
    ) as response:
        await response.content.readany()
        told = await status(client)
        assert told["in_flight"] == 1
        assert told["workers"][0]["in_flight"] + told["subprocesses"] == 1
        assert told["agent"]["version"]
        response.close()
