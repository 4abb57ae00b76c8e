"""Thousands of requests: what they took is given back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
from pathlib import Path

import aiohttp
import psutil
import pytest
from yarl import URL

from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, ask
from tests.waiting import until

NAMED = "composer-2.5"
#: Of so many requests one is left by its client, and one pins a model.
DROPPED_EVERY = 10
PINNED_EVERY = 50


async def one(session: aiohttp.ClientSession, url: URL, number: int) -> None:
    # Not by the test client, which keeps every response.
    if number % DROPPED_EVERY == 0:
        body = ask("[[demo:slow-chunks count=100 ms=10]]", stream=True)
        async with session.post(url, json=body) as response:
            await response.content.readline()
            response.close()
        return
    model = NAMED if number % PINNED_EVERY == 1 else "auto"
    async with session.post(url, json=ask(f"hi {number}", model=model)) as response:
        assert response.status == 200
        assert f"hi {number}" in await response.text()


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
                await one(client.session, client.make_url(CHAT), number)

        await asyncio.gather(*(work() for _ in range(16)))

    def quiet() -> bool:
        now = router.snapshot()
        turns = sum(worker.in_flight for worker in now.workers)
        tending = any(task.get_name() == "places" for task in asyncio.all_tasks())
        return not (turns or now.draining or now.subprocesses or now.waiting or tending)

    def taken() -> dict[str, int]:
        # A connection has a task of its own, and how many a client keeps open is the client's business.
        gc.collect()
        return {
            "tasks": sum("RequestHandler" not in repr(task.get_coro()) for task in asyncio.all_tasks()),
            "children": len(process.children(recursive=True)),
            "directories": len(list(temporary.glob("*/*"))),
        }

    await run(range(100))  # what is made once is made now
    await until(quiet)
    before, descriptors, memory = taken(), process.num_fds(), process.memory_info().rss
    await run(range(requests))
    await until(quiet)
    with contextlib.suppress(TimeoutError):
        await until(lambda: taken() == before)
    assert taken() == before
    grown = (process.memory_info().rss - memory) >> 20
    print(f"\n{requests} requests, {requests // DROPPED_EVERY} dropped: {before}, RSS grew by {grown} MiB")
    # The clients of this test keep connections of their own.
    assert process.num_fds() <= descriptors + 16
