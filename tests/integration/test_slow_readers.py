"""Clients that read slower than the agent writes, or not at all: it is their own turn that pays."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psutil
import pytest
from yarl import URL

from cursorpipe_core.turn import MAX_BACKLOG
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Start
from tests.integration.streams import Stream, read_stream
from tests.waiting import PATIENCE_S

PIECE = 65536
#: Far more than may wait for one reader.
FLOOD = f"[[demo:chunks count={6 * MAX_BACKLOG // PIECE} bytes={PIECE}]]"


class Reader:
    """A client that takes from its connection what it is told to, when it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answer = bytearray()

    async def take(self, count: int) -> bool:
        """Read so many bytes at most; returns whether there were any."""
        data = await asyncio.get_running_loop().sock_recv(self._connection, count)
        self._answer += data
        return bool(data)

    async def trickle(self) -> None:
        """Read a kilobyte a second."""
        while await self.take(1000):  # noqa: ASYNC110 — a slow reader is what this is
            await asyncio.sleep(1)

    async def take_all(self) -> list[str]:
        """Read to the end, and return the frames of the answer."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.take(PIECE):
                pass
        head, _, body = bytes(self._answer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        return body.decode().split("\n\n")


@asynccontextmanager
async def reading(url: str, prompt: str) -> AsyncIterator[Reader]:
    """Ask for a stream over a connection that holds little; HTTP/1.0, so that the body is as it comes."""
    host, port, body = URL(url).host, URL(url).port, json.dumps(ask(prompt, stream=True)).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (host, port))
        head = (
            f"POST {CHAT} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(connection, head.encode() + body)
        yield Reader(connection)


@pytest.mark.parametrize("reads", [True, False])
async def test_a_client_that_reads_slowly_costs_its_own_turn_and_nobody_elses(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, reads: bool
) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_WORKERS="1", CURSORPIPE_STRATEGY="acp")
    url = await program.url()
    server = psutil.Process(program.process.pid)

    async def other(number: int) -> Stream:
        prompt = f"[[demo:markers marker=mark-{number}- count=40 ms=50]]"
        async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
            return await read_stream(response)

    async with reading(url, FLOOD) as slow:
        (prompt,) = await agent.wait_for("prompt")
        before = server.memory_info().rss
        trickle = asyncio.create_task(slow.trickle()) if reads else None
        for number, stream in enumerate(await asyncio.gather(*map(other, range(20)))):
            assert stream.done
            assert stream.text.count(f"mark-{number}-") == 40
        # The agent is not made to go on for somebody who does not read, and nobody keeps what it said.
        await agent.wait_for("received", method="session/cancel", session=prompt["session"])
        assert server.memory_info().rss - before < 3 * MAX_BACKLOG
        if trickle is not None:
            trickle.cancel()
            await asyncio.gather(trickle, return_exceptions=True)
        *frames, error, end = await slow.take_all()
    assert end == ""
    assert all("error" not in json.loads(frame.removeprefix("data: ")) for frame in frames)
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "client_too_slow"
    assert sum(map(len, frames)) < 2 * MAX_BACKLOG
    assert len(agent.starts("acp")) == 1


async def test_a_client_that_is_slow_only_for_a_while_gets_its_whole_answer(
    start: Start, agent: DemoAgent
) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_WORKERS="1", CURSORPIPE_STRATEGY="acp")
    count = MAX_BACKLOG // PIECE // 2
    async with reading(await program.url(), f"[[demo:chunks count={count} bytes={PIECE}]]") as slow:
        await agent.wait_for("prompt")
        await agent.wait_for("finished")
        *frames, done, end = await slow.take_all()
    assert (done, end) == ("data: [DONE]", "")
    assert sum(frame.count("x") for frame in frames) >= count * (PIECE - 1)
