"""Several servers on this machine, each at a port of its own, that come and go."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator

import aiohttp

from tests.integration.conftest import CHAT
from tests.integration.program import Program, Start
from tests.metrics import Samples
from tests.waiting import PATIENCE_S

TOKEN = "s3cret"
_SERVED = re.compile(r"POST /v1/chat/completions 200 ")


class Member:
    """One server, at the same port in all its lives."""

    def __init__(self, start: Start, http: aiohttp.ClientSession, port: int) -> None:
        self.port = port
        self._start = start
        self._http = http
        self._lives: list[Program] = []

    async def begin_without_agent(self) -> None:
        """Start it where there is no agent: it listens, and refuses what it is asked."""
        self._lives.append(
            await self._start(
                *("--port", str(self.port)),
                CURSORPIPE_BEARER_TOKEN=TOKEN,
                CURSORPIPE_AGENT_BIN="/nowhere/agent",
            )
        )
        await self._lives[-1].url()

    async def begin(self) -> None:
        """Start it, and return when it is ready."""
        self._lives.append(
            await self._start("--demo", "--port", str(self.port), CURSORPIPE_BEARER_TOKEN=TOKEN)
        )
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_ready():  # noqa: ASYNC110 — it is another process that is waited for
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it as an operator does."""
        self._lives[-1].process.send_signal(signal.SIGTERM)
        assert await self._lives[-1].exit_status() == 0

    async def restart(self) -> None:
        """Stop it as an operator does, and start it anew."""
        await self.stop()
        await self.begin()

    def kill(self) -> None:
        self._lives[-1].process.kill()

    @property
    def refused(self) -> int:
        """How often it had no agent for a request."""
        return sum(life.complaint.count("POST /v1/chat/completions 503 ") for life in self._lives)

    @property
    def served(self) -> int:
        """How many answers it has begun and, if they were not streams, finished."""
        return sum(len(_SERVED.findall(life.complaint)) for life in self._lives)

    async def metrics(self) -> Samples:
        """Read what it tells Prometheus."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self._http.get(f"http://127.0.0.1:{self.port}/metrics", headers=headers) as response:
            assert response.status == 200
            return Samples(await response.text())

    async def _is_ready(self) -> bool:
        try:
            async with self._http.get(f"http://127.0.0.1:{self.port}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


Fleet = list[Member]


async def outcomes(fleet: Fleet) -> Counter[str]:
    """Return how the requests for answers have ended, as the metrics of all servers together tell."""
    told: Counter[str] = Counter()
    for member in fleet:
        samples = await member.metrics()
        kinds = samples.told("cursorpipe_requests_total", "route", "model", "backend", "outcome")
        for (route, *_, outcome), count in kinds.items():
            if route == CHAT:
                told[outcome] += int(count)
    return told


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""

    def sockets() -> Iterator[socket.socket]:
        for _ in range(count):
            probe = socket.socket()
            probe.bind(("127.0.0.1", 0))
            yield probe

    # All held at once, or one would be found twice.
    probes = list(sockets())
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
