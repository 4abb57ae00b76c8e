"""Clients that leave: the agent hears of it at once."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.waiting import until

#: What the house promises between a client's leaving and the agent's hearing of it.
WITHIN_S = 1.0


async def leave(client: Client, agent: DemoAgent, *, stream: bool, reads: bool) -> None:
    """Make a request, leave it once its turn has begun, or once its first text has come."""
    prompt = "[[demo:slow-chunks count=400 ms=25]]"
    request = asyncio.create_task(client.session.post(client.make_url(CHAT), json=ask(prompt, stream=stream)))
    await agent.wait_for("prompt")
    if reads:
        response = await request
        await response.content.readline()
        response.close()
    else:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


WAYS = pytest.mark.parametrize(("stream", "reads"), [(True, True), (True, False), (False, False)])


@WAYS
async def test_a_client_that_leaves_cancels_its_turn(
    serve: Serve, agent: DemoAgent, stream: bool, reads: bool
) -> None:
    client = await serve(strategy="acp")
    await leave(client, agent, stream=stream, reads=reads)
    await until(lambda: agent.events("received", method="session/cancel"), WITHIN_S)
    (cancelled,) = agent.events("received", method="session/cancel")
    assert cancelled["session"] == agent.events("prompt")[0]["session"]
    assert "hi" in await answer(client, "hi")
    assert len(agent.starts("acp")) == 1


@WAYS
async def test_a_client_that_leaves_ends_its_process(
    serve: Serve, agent: DemoAgent, stream: bool, reads: bool
) -> None:
    client = await serve(strategy="subprocess")
    await leave(client, agent, stream=stream, reads=reads)
    (prompt,) = agent.events("prompt")
    await until(lambda: not psutil.pid_exists(prompt["pid"]), WITHIN_S)


async def test_late_chunks_of_a_cancelled_turn_go_nowhere(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", pool_size=2)
    request = asyncio.create_task(
        client.session.post(client.make_url(CHAT), json=ask("[[demo:late-chunks]]", stream=True))
    )
    await agent.wait_for("prompt")
    (await request).close()
    await until(lambda: agent.events("received", method="session/cancel"), WITHIN_S)
    assert await answer(client, "[[demo:markers marker=mine count=3]]") == (
        await answer(client, "[[demo:markers marker=mine count=3]]")
    )


async def test_an_agent_that_goes_on_when_cancelled_is_replaced(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.worker.CANCEL_TIMEOUT_S", 0.2)
    client = await serve(strategy="acp")
    request = asyncio.create_task(
        client.session.post(client.make_url(CHAT), json=ask("[[demo:ignore-cancel]]", stream=True))
    )
    (prompt,) = await agent.wait_for("prompt")
    (await request).close()
    await agent.wait_for("start", count=2, mode="acp")
    await until(lambda: not psutil.pid_exists(prompt["pid"]))


async def test_a_client_that_leaves_while_it_waits_for_a_worker_leaves_nothing(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SESSION_MS=300)
    client = await serve(strategy="acp", ready=False)
    request = asyncio.create_task(client.session.post(client.make_url(CHAT), json=ask("mine")))
    await agent.wait_for("start")
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert "yours" in await answer(client, "yours")
    assert len(agent.events("prompt")) == 1
