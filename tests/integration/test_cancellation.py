"""Clients that leave: the agent hears of it at once."""

from __future__ import annotations

import asyncio
import gc
import sys

import aiohttp
import psutil
import pytest

from cursorpipe_core.turn import Turn
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.integration.program import Start
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


@pytest.mark.parametrize("stream", [True, False])
async def test_the_program_itself_notices_a_client_that_leaves(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, stream: bool
) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_WORKERS="1", CURSORPIPE_STRATEGY="acp")
    url = await program.url()
    silent = ask("[[demo:silent-prompt]]", stream=stream)
    request = asyncio.create_task(http.post(url + CHAT, json=silent))
    (prompt,) = await agent.wait_for("prompt")
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await agent.wait_for("received", method="session/cancel", session=prompt["session"])
    await agent.wait_for("finished", session=prompt["session"])


#: The stand-in as an agent that can take sessions back, which Cursor's cannot.
CLOSES_SESSIONS = """
from cursorpipe_core.demo_agent import __main__, acp
acp._INITIALIZED["agentCapabilities"]["sessionCapabilities"]["close"] = {}
__main__.main()
"""


async def test_a_session_is_given_back_where_the_agent_takes_it(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", stand_in=(sys.executable, "-c", CLOSES_SESSIONS))
    assert "hi" in await answer(client, "hi")
    await leave(client, agent, stream=True, reads=True)
    await agent.wait_for("received", method="session/close", count=2)
    for session in [prompt["session"] for prompt in agent.events("prompt")]:
        # Only once the prompt is answered, a cancelled one as well, is the session free.
        told = [event for event in agent.events() if event.get("session") == session]
        assert told[-2]["event"] == "finished"
        assert [event.get("method") for event in told].index("session/close") == len(told) - 1


async def test_a_session_is_not_given_back_to_an_agent_that_does_not_take_it(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(strategy="acp")
    for _ in range(2):  # whatever was sent after the first answer has come before the second prompt
        assert "hi" in await answer(client, "hi")
    assert not agent.events("received", method="session/close")


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


def turns() -> list[Turn]:
    """Return every turn that anything still holds."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Turn)]


async def test_a_client_that_leaves_while_it_waits_for_a_worker_leaves_nothing(
    serve: Serve, agent: DemoAgent
) -> None:
    earlier = turns()
    agent.set(SESSION_MS=300)
    client = await serve(strategy="acp", ready=False)
    request = asyncio.create_task(client.session.post(client.make_url(CHAT), json=ask("mine")))
    await agent.wait_for("start")
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert "yours" in await answer(client, "yours")
    assert len(agent.events("prompt")) == 1
    assert not [turn for turn in turns() if turn not in earlier]


async def test_a_client_that_leaves_while_its_session_is_opened_gives_its_place_back(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SESSION_MS=300)
    client = await serve(strategy="acp")
    assert client.app is not None
    router = client.app[ROUTER]
    talking = asyncio.create_task(answer(client, "[[demo:slow-chunks count=40 ms=25]]"))
    await agent.wait_for("prompt")  # with the only session in stock; the next one is being opened
    leaving = asyncio.create_task(client.session.post(client.make_url(CHAT), json=ask("mine")))
    await agent.wait_for("received", method="session/new", count=3)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert "word-40" in await talking
    await until(lambda: router.snapshot().workers[0].in_flight == 0)
    assert "mine" not in [prompt["text"] for prompt in agent.events("prompt")]
