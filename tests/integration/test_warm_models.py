"""Named models with warm workers of their own."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from cursorpipe_core import UnknownModelError
from cursorpipe_core.supervisor import Supervisor
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, ask
from tests.waiting import until

ONE, OTHER = "composer-2.5", "gpt-5.3-codex"


async def served_by(client: Client, model: str, text: str = "hi") -> str:
    """Return the backend that answers for a model."""
    async with client.post(CHAT, json=ask(text, model=model)) as response:
        assert response.status == 200, await response.text()
        assert response.headers["x-cursorpipe-model"] == model
        return response.headers["x-cursorpipe-backend"]


def workers_of(agent: DemoAgent, model: str) -> list[int]:
    """Return the processes that were started as ACP workers of a model."""
    return [
        event["pid"]
        for event in agent.events("start", mode="acp")
        if event["argv"][-3:] == ["--model", model, "acp"]
    ]


async def test_a_warm_model_is_served_by_a_worker_of_its_own(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(supervision={"warm_models": (ONE,)})
    assert [await served_by(client, ONE) for _ in range(3)] == ["acp"] * 3
    assert len(workers_of(agent, ONE)) == 1
    assert await served_by(client, OTHER) == "subprocess"
    async with client.get("/ready") as response:
        workers = (await response.json())["workers"]
    assert [worker["model"] for worker in workers] == [None, ONE]


async def test_by_default_a_pinned_model_goes_to_a_process_of_its_own(serve: Serve) -> None:
    assert await served_by(await serve(), ONE) == "subprocess"


async def test_the_model_that_was_used_longest_ago_makes_room(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(supervision={"warm_models": ("*",), "warm_models_max": 1})
    assert await served_by(client, ONE) == "acp"
    assert await served_by(client, OTHER) == "acp"
    (first,) = workers_of(agent, ONE)
    await until(lambda: not psutil.pid_exists(first))


async def test_while_every_warm_model_is_at_work_another_one_gets_a_process(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(supervision={"warm_models": ("*",), "warm_models_max": 1})
    long = asyncio.create_task(served_by(client, ONE, "[[demo:slow-chunks count=40 ms=50]]"))
    await agent.wait_for("prompt")
    assert await served_by(client, OTHER) == "subprocess"
    assert await long == "acp"


async def test_a_model_that_nobody_asks_for_is_stopped(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(supervision={"warm_models": (ONE,), "warm_models_idle_s": 0.2})
    await served_by(client, ONE)
    (worker,) = workers_of(agent, ONE)
    await until(lambda: not psutil.pid_exists(worker))
    assert await served_by(client, ONE) == "acp"


async def test_a_model_that_cursor_does_not_serve_is_not_kept(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(supervision={"warm_models": ("*",)})
    async with client.post(CHAT, json=ask(model="no-such-model")) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"
    async with client.get("/ready") as response:
        assert [worker["model"] for worker in (await response.json())["workers"]] == [None]


async def test_a_refused_model_costs_nobody_a_worker_that_was_started_since(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await serve(supervision={"warm_models": (ONE,)})
    assert client.app is not None
    warm = client.app[ROUTER]._warm
    newer = []

    async def refuse(supervisor: Supervisor, *_: object, **__: object) -> None:
        warm._stop(ONE)
        newer.append(warm._start(ONE))
        raise UnknownModelError(ONE)

    with monkeypatch.context() as refusing:
        refusing.setattr(Supervisor, "lease", refuse)
        async with client.post(CHAT, json=ask(model=ONE)) as response:
            assert response.status == 404
    assert [warm._models[ONE]] == newer
    assert await served_by(client, ONE) == "acp"


async def test_a_crash_of_a_warm_worker_is_made_good(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(supervision={"warm_models": (ONE,)})
    await served_by(client, ONE)
    os.kill(workers_of(agent, ONE)[0], signal.SIGKILL)
    await until(lambda: len(workers_of(agent, ONE)) == 2)
    assert await served_by(client, ONE) == "acp"
