"""A seeded mixture of clients and misfortunes: every request ends in one of the ways that are promised."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
import psutil
import pytest

from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, ask
from tests.integration.streams import read_stream
from tests.waiting import until

NAMED = "composer-2.5"

#: What a request may ask the agent to do, and how often. All of it ends within the bounds below.
BEHAVIOURS = (
    ("markers marker={marker} count=20 ms=10", 30),
    ("markers marker={marker} count=3", 20),
    ("crash-mid-stream", 3),
    ("crash-before-first-chunk", 3),
    ("resource-exhausted", 3),
    ("unavailable partial=Some", 3),
    ("usage-limit-notice split=1", 2),
    ("silent-prompt", 2),
    ("linger", 2),
    ("ignore-cancel count=100 ms=20", 2),
    ("late-chunks", 2),
    ("deaf", 1),
    ("empty", 2),
    ("garbage", 3),
    ("huge-line bytes=300000", 2),
    ("stderr-flood bytes=300000", 2),
    ("ask-permission", 3),
    ("unicode", 3),
    ("grandchild", 1),
)
#: Seconds a request may take; then it has hung.
BOUND_S = 25.0

#: The ways in which a request may end.
WHOLE, ERROR, CUT, LEFT = "whole", "error", "error frame", "client left"


class Chaos:
    """Clients and misfortunes over one server, and the account of how requests ended."""

    def __init__(self, client: Client, agent: DemoAgent, seed: int) -> None:
        self.client = client
        self.agent = agent
        self.dice = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.broken: list[str] = []
        self._number = 0

    async def one(self) -> None:
        """Make one request and hold its end against the promise."""
        self._number += 1
        marker = f"mark{self._number}x"
        chosen = self.dice.choices(*zip(*BEHAVIOURS, strict=True))[0].format(marker=marker)
        model = self.dice.choice(["auto", "auto", NAMED])
        how = self.dice.choice(["stream", "stream", "whole", "leave"])
        body = ask(f"[[demo:{chosen}]]", model=model, stream=how != "whole")
        try:
            async with asyncio.timeout(BOUND_S):
                end = await self._ask(body, chosen, marker, leave=how == "leave")
        except TimeoutError:
            end = "HUNG"
            self.broken.append(f"{chosen} by {model}, {how}: no end within {BOUND_S}s")
        except (AssertionError, aiohttp.ClientError) as exc:
            end = "BROKEN"
            self.broken.append(f"{chosen} by {model}, {how}: {exc!r}")
        self.ends[end] += 1

    async def _ask(self, body: dict[str, object], chosen: str, marker: str, *, leave: bool) -> str:
        async with self.client.post(CHAT, json=body) as response:
            if leave:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.dice.random() * 0.3):
                        await response.content.read(64)
                response.close()
                return LEFT
            if response.status != 200:
                error = (await response.json())["error"]
                self.errors[error["code"]] += 1
                return ERROR
            if body["stream"]:
                stream = await read_stream(response)
                self._check_text(stream.text, chosen, marker, whole=stream.done)
                if stream.done:
                    return WHOLE
                assert stream.error is not None, "a stream ended without [DONE] and without an error"
                self.errors[stream.error["code"]] += 1
                return CUT
            text = (await response.json())["choices"][0]["message"]["content"]
            self._check_text(text, chosen, marker, whole=True)
            return WHOLE

    def _check_text(self, text: str, chosen: str, marker: str, *, whole: bool) -> None:
        assert "Error: " not in text, "an error came as text"
        if chosen.startswith("markers"):
            count = int(chosen.partition("count=")[2].partition(" ")[0])
            assert text.count("mark") == text.count(marker), "answers are mixed"
            assert not whole or text.count(marker) == count, "an answer is not whole"

    async def misfortune(self) -> None:
        """Do something to one of the agents that are alive."""
        pids = [event["pid"] for event in self.agent.events("start") if psutil.pid_exists(event["pid"])]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(
                    self.dice.choice(pids), self.dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
                )


@pytest.mark.timeout(0)
async def test_under_chaos_every_request_ends_as_promised_and_nothing_is_left(
    serve: Serve,
    agent: DemoAgent,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seconds = float(pytestconfig.getoption("--chaos-seconds"))
    seed = int(pytestconfig.getoption("--chaos-seed"))
    monkeypatch.setattr("cursorpipe_core.worker.CANCEL_TIMEOUT_S", 1.0)
    monkeypatch.setattr("cursorpipe_core.router.NETWORK_PAUSE_S", 0.1)
    monkeypatch.setattr("cursorpipe_core.restarts.LONGEST_DELAY_S", 1.0)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    descriptors = psutil.Process().num_fds()
    client = await serve(
        workers=2,
        pool_size=6,
        first_event_timeout_s=3.0,
        idle_timeout_s=2.0,
        request_timeout_s=12.0,
        liveness_interval_s=0.5,
        liveness_timeout_s=1.0,
        supervision={"worker_max_sessions": 60, "max_subprocesses": 4, "queue_timeout_s": 6.0},
    )
    chaos = Chaos(client, agent, seed)
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    running: set[asyncio.Task[None]] = set()
    next_misfortune = loop.time() + 1.0
    while loop.time() < end:
        if len(running) < 24:
            running.add(asyncio.create_task(chaos.one()))
        await asyncio.sleep(chaos.dice.random() * 0.05)
        if loop.time() > next_misfortune:
            await chaos.misfortune()
            next_misfortune = loop.time() + chaos.dice.uniform(0.5, 2.0)
        running = {task for task in running if not task.done()}
    await asyncio.gather(*running)
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().waiting == 0 and router.snapshot().subprocesses == 0)
    await client.close()
    print(f"\nseed {seed}, {seconds:.0f}s: {dict(chaos.ends)}; errors: {dict(chaos.errors)}")
    assert not chaos.broken, f"seed {seed}"
    assert chaos.ends[WHOLE] > 0
    await until(lambda: not [pid for pid in agent.pids() if psutil.pid_exists(pid)])
    assert not list(temporary.iterdir())
    assert psutil.Process().num_fds() <= descriptors + 4
