"""Thousands of requests: what they took is given back."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from pathlib import Path

import psutil
import pytest

from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.waiting import until

NAMED = "composer-2.5"
#: Of so many requests one is left by its client, and one pins a model.
DROPPED_EVERY = 10
PINNED_EVERY = 50


async def one(client: Client, number: int) -> None:
    if number % DROPPED_EVERY == 0:
        body = ask("[[demo:slow-chunks count=100 ms=10]]", stream=True)
        async with client.post(CHAT, json=body) as response:
            await response.content.readline()
            response.close()
    elif number % PINNED_EVERY == 1:
        assert "hi" in await answer(client, "hi", model=NAMED)
    else:
        assert "hi" in await answer(client, f"hi {number}")


@pytest.mark.timeout(0)
async def test_what_requests_take_is_given_back(
    serve: Serve,
    agent: DemoAgent,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    requests = int(pytestconfig.getoption("--leak-requests"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    del agent.switches["DEMO_AGENT_RECORD"]  # it would be the largest thing of all
    client = await serve(workers=2, pool_size=8, supervision={"worker_max_sessions": 1000})
    assert client.app is not None
    router = client.app[ROUTER]
    process = psutil.Process()

    async def run(numbers: range) -> None:
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await one(client, number)

        await asyncio.gather(*(work() for _ in range(16)))

    def quiet() -> bool:
        now = router.snapshot()
        turns = sum(worker.in_flight for worker in now.workers)
        return not (turns or now.draining or now.subprocesses or now.waiting)

    def taken() -> dict[str, int]:
        gc.collect()
        return {
            "tasks": len(asyncio.all_tasks()),
            "children": len(process.children(recursive=True)),
            "directories": len(list(temporary.iterdir())),
        }

    await run(range(100))  # what is made once is made now
    await until(quiet)
    before, descriptors, memory = taken(), process.num_fds(), process.memory_info().rss
    await run(range(requests))
    await until(quiet)
    await until(lambda: taken() == before)
    grown = (process.memory_info().rss - memory) >> 20
    print(f"\n{requests} requests, {requests // DROPPED_EVERY} dropped: {before}, RSS grew by {grown} MiB")
    # The clients of this test keep connections of their own.
    assert process.num_fds() <= descriptors + 16
