"""The real program and a service manager: what it is told, and when."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Start
from tests.integration.streams import read_stream
from tests.waiting import until

#: Blocks the thread that serves, as an endless loop in it would.
HANG_ON_SIGNAL = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"


class Manager:
    """A service manager's ear: what it was told, and when."""

    def __init__(self, ear: socket.socket, address: str) -> None:
        self.address = address
        self.heard: list[tuple[float, str]] = []
        self._ear = ear

    async def listen(self) -> None:
        while True:
            words = await asyncio.get_running_loop().sock_recv(self._ear, 4096)
            self.heard.extend((time.monotonic(), word) for word in words.decode().split("\n"))

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.heard]

    def count(self, word: str) -> int:
        return self.words.count(word)

    async def hears(self, word: str, count: int = 1) -> None:
        await until(lambda: self.count(word) >= count)

    async def hears_of(self, text: str) -> str:
        """Wait until a word has this in it, and return the last one."""
        await until(lambda: any(text in word for word in self.words))
        return next(word for word in reversed(self.words) if text in word)


@asynccontextmanager
async def listening_at(address: str) -> AsyncIterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.setblocking(False)
        ear.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        manager = Manager(ear, address)
        listening = asyncio.create_task(manager.listen())
        yield manager
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    async with listening_at(str(tmp_path / "notify")) as manager:
        yield manager


@pytest.fixture
def hangable(tmp_path: Path) -> dict[str, str]:
    """What makes a program that hangs when it gets SIGUSR1."""
    (tmp_path / "sitecustomize.py").write_text(HANG_ON_SIGNAL)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


async def test_it_is_ready_when_it_serves_and_not_before(
    start: Start, agent: DemoAgent, manager: Manager, http: aiohttp.ClientSession
) -> None:
    agent.set(SCENARIO="slow-start ms=1500")
    program = await start("--demo", "--port", "0", NOTIFY_SOCKET=manager.address)
    await manager.hears("READY=1")
    assert "STATUS=0 of 2 workers ready, 0 requests in flight, 0 waiting, The agents are starting." in (
        manager.words
    )
    async with http.get(await program.url() + "/health") as response:
        assert response.status == 200
    await manager.hears("STATUS=2 of 2 workers ready, 0 requests in flight, 0 waiting")
    assert manager.count("READY=1") == 1
    assert manager.count("WATCHDOG=1") == 0, "nobody asked for it"


async def test_an_abstract_socket_is_told_as_well(start: Start) -> None:
    async with listening_at(f"@cursorpipe-test-{os.getpid()}") as manager:
        await start("--demo", "--port", "0", NOTIFY_SOCKET=manager.address)
        await manager.hears("READY=1")


async def test_the_status_says_what_the_workers_do(
    start: Start, manager: Manager, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0", NOTIFY_SOCKET=manager.address)
    url = await program.url()
    prompt = "[[demo:markers marker=m count=100 ms=25]]"
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        assert (await manager.hears_of(" 1 requests in flight")).startswith("STATUS=")
        await read_stream(response)


async def test_the_end_is_told_with_the_time_it_may_take(
    start: Start, manager: Manager, http: aiohttp.ClientSession, agent: DemoAgent
) -> None:
    program = await start(
        "--demo", "--port", "0", NOTIFY_SOCKET=manager.address, CURSORPIPE_DRAIN_TIMEOUT_S="45"
    )
    url = await program.url()
    prompt = "[[demo:markers marker=m count=60 ms=25]]"
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        await agent.wait_for("prompt")
        assert manager.count("STOPPING=1") == 0
        program.process.send_signal(signal.SIGTERM)
        await manager.hears("STOPPING=1")
        await manager.hears_of("STATUS=stopping, ")
        assert (await read_stream(response)).done
    assert await program.exit_status() == 0
    # The unit's own TimeoutStopSec knows nothing of the setting.
    assert manager.count("EXTEND_TIMEOUT_USEC=65000000") == 1


async def test_a_reload_is_told_with_its_time_and_with_its_end(start: Start, manager: Manager) -> None:
    program = await start("--demo", "--port", "0", NOTIFY_SOCKET=manager.address)
    await manager.hears("READY=1")
    before = time.monotonic_ns() // 1000
    program.process.send_signal(signal.SIGHUP)
    await manager.hears("READY=1", count=2)
    reloading = manager.words.index("RELOADING=1")
    name, _, microseconds = manager.words[reloading + 1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


async def test_a_sign_of_life_comes_at_half_the_watchdogs_time(start: Start, manager: Manager) -> None:
    await start("--demo", "--port", "0", NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="600000")
    await manager.hears("READY=1")
    await manager.hears("WATCHDOG=1", count=6)
    beats = [when for when, word in manager.heard if word == "WATCHDOG=1"]
    assert (beats[-1] - beats[0]) / (len(beats) - 1) == pytest.approx(0.3, abs=0.1)


async def test_no_sign_of_life_comes_from_a_loop_that_hangs(
    start: Start, manager: Manager, hangable: dict[str, str]
) -> None:
    program = await start(
        "--demo", "--port", "0", NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="300000", **hangable
    )
    await manager.hears("READY=1")
    await manager.hears("WATCHDOG=1", count=3)
    program.process.send_signal(signal.SIGUSR1)
    # Time is the subject: what was on its way has come, and then the watchdog's time passes in silence.
    await asyncio.sleep(0.3)
    before = manager.count("WATCHDOG=1")
    await asyncio.sleep(0.9)
    assert manager.count("WATCHDOG=1") == before
    assert program.process.returncode is None


async def test_the_watchdog_of_another_process_is_not_fed(start: Start, manager: Manager) -> None:
    await start(
        *("--demo", "--port", "0"),
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC="100000",
        WATCHDOG_PID=str(os.getpid()),
    )
    await manager.hears("STATUS=2 of 2 workers ready, 0 requests in flight, 0 waiting")
    assert manager.count("WATCHDOG=1") == 0


async def test_it_serves_where_the_service_manager_is_gone(
    start: Start, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    program = await start("--demo", "--port", "0", NOTIFY_SOCKET=str(tmp_path / "nobody"))
    async with http.get(await program.url() + "/health") as response:
        assert response.status == 200
    assert "the service manager could not be told READY" in program.complaint
