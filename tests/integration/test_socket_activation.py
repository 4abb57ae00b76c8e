"""The real program on sockets that somebody else holds open."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Start
from tests.waiting import PATIENCE_S, until

SOCKET_ACTIVATE = shutil.which("systemd-socket-activate")


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_socket_that_is_handed_over_is_served_and_no_port_is_opened(
    start: Start, held: socket.socket, http: aiohttp.ClientSession
) -> None:
    # The port of the settings would be refused.
    program = await start("--demo", "--host", "256.0.0.1", "--port", "1", listener=held)
    assert await program.url() == url_of(held)
    async with http.post(url_of(held) + CHAT, json=ask("hi")) as response:
        assert response.status == 200


async def test_the_sockets_of_another_process_are_not_taken(start: Start, held: socket.socket) -> None:
    program = await start("--demo", "--port", "0", LISTEN_FDS="1", LISTEN_PID="1")
    assert await program.url() != url_of(held)


async def test_what_does_not_listen_is_refused(start: Start) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        program = await start("--demo", listener=bound)
        assert await program.exit_status() == 1
        assert "LISTEN_FDS: descriptor 3 does not listen on a TCP port." in program.complaint


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no files of processes to look at")
async def test_agents_do_not_inherit_the_socket(
    start: Start, agent: DemoAgent, held: socket.socket, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", listener=held)
    url = await program.url()
    started = await agent.wait_for("start", count=2)
    for event in started:
        files = {fd.readlink() for fd in Path(f"/proc/{event['pid']}/fd").iterdir()}
        assert Path(f"socket:[{os.fstat(held.fileno()).st_ino}]") not in files
    async with http.get(url + "/health") as response:
        assert response.status == 200


async def test_an_open_socket_without_a_token_is_warned_of(start: Start) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        program = await start("--demo", "--host", "127.0.0.1", listener=listener)
        await until(lambda: "WARNING: listening on 0.0.0.0 without a token" in program.output)


async def test_a_restart_refuses_no_connection(
    start: Start, held: socket.socket, http: aiohttp.ClientSession
) -> None:
    served = failed = 0
    over = asyncio.Event()

    async def ask_on() -> None:
        nonlocal served, failed
        while not over.is_set():
            try:
                # A connection each, or the restart would find requests on connections of the old program.
                async with http.get(url_of(held) + "/health", headers={"Connection": "close"}) as response:
                    served, failed = served + (response.status == 200), failed + (response.status != 200)
            except aiohttp.ClientError:
                failed += 1

    asking = [asyncio.create_task(ask_on()) for _ in range(4)]
    try:
        for _ in range(3):
            program = await start("--demo", listener=held)
            await program.url()
            before = served
            await until(lambda before=before: served >= before + 50)  # type: ignore[misc]
            program.process.send_signal(signal.SIGTERM)
            assert await program.exit_status() == 0
        program = await start("--demo", listener=held)
        await program.url()
    finally:
        over.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*asking)
    print(f"{served} requests served over 3 restarts, {failed} failed")
    assert failed == 0


@pytest.mark.skipif(SOCKET_ACTIVATE is None, reason="systemd-socket-activate is not installed")
async def test_systemds_own_activator_is_understood(http: aiohttp.ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert SOCKET_ACTIVATE is not None
    process = await asyncio.create_subprocess_exec(
        *(SOCKET_ACTIVATE, "--listen", f"127.0.0.1:{port}"),
        *(sys.executable, "-m", "cursorpipe_server", "--demo"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    # The connection that starts the program is the first it serves.
                    async with http.get(f"http://127.0.0.1:{port}/health") as response:
                        assert response.status == 200
                        break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()
