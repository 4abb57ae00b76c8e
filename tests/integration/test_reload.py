"""The real program, told by SIGHUP that its settings have changed."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Program, Start
from tests.integration.streams import read_stream
from tests.waiting import until

NAMED = "composer-2.5"


async def hang_up(program: Program, *said: str) -> str:
    """Send SIGHUP and return what the program says of it, once it has said all of ``said``."""
    before = len(program.complaint)
    program.process.send_signal(signal.SIGHUP)
    await until(lambda: all(text in program.complaint[before:] for text in said))
    return program.complaint[before:]


async def status(http: aiohttp.ClientSession, url: str, token: str) -> int:
    async with http.get(url + "/v1/models", headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status


@pytest.fixture
def env(tmp_path: Path) -> Callable[..., None]:
    """Write the file of settings in the program's working directory."""

    def write(**settings: object) -> None:
        lines = [f"CURSORPIPE_{name}={value}\n" for name, value in settings.items()]
        (tmp_path / "work" / ".env").write_text("".join(lines))

    return write


async def test_a_token_is_replaced_and_a_stream_in_flight_goes_on(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann=old-s3cret\n")
    program = await start("--demo", "--port", "0", CURSORPIPE_BEARER_TOKENS_FILE=str(tokens))
    url = await program.url()
    prompt = ask("[[demo:markers marker=m count=40 ms=25]]", stream=True)
    async with http.post(url + CHAT, json=prompt, headers={"Authorization": "Bearer old-s3cret"}) as response:
        await agent.wait_for("prompt")
        tokens.write_text("ann=new-s3cret\n")
        await hang_up(program, "INFO", "SIGHUP: changed: CURSORPIPE_BEARER_TOKENS\n")
        assert await status(http, url, "old-s3cret") == 401
        assert await status(http, url, "new-s3cret") == 200
        stream = await read_stream(response)
    assert stream.done
    assert stream.text.count("m") >= 40
    assert "s3cret" not in program.output + program.complaint


async def test_what_the_file_of_settings_says_now_holds(
    start: Start, http: aiohttp.ClientSession, env: Callable[..., None]
) -> None:
    env(BEARER_TOKEN="one", LOG_LEVEL="warning", WORKERS=1)
    program = await start("--demo", "--port", "0")
    url = await program.url()
    assert await status(http, url, "one") == 200
    assert "GET /v1/models" not in program.complaint
    env(BEARER_TOKEN="two", LOG_LEVEL="info", WORKERS=3, HOST="::1", PORT=1)
    said = await hang_up(program, "need a restart")
    # The host is in the environment, the port on the command line: both come before the file.
    assert "SIGHUP: need a restart: CURSORPIPE_WORKERS\n" in said
    assert "SIGHUP: changed: CURSORPIPE_BEARER_TOKEN, CURSORPIPE_LOG_LEVEL\n" in said
    assert (await status(http, url, "one"), await status(http, url, "two")) == (401, 200)
    await until(lambda: "GET /v1/models 200" in program.complaint)


async def test_a_port_needs_a_restart(start: Start, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("CURSORPIPE_PORT=0\n")
    program = await start("--demo", "--env-file", str(file))
    url = await program.url()
    file.write_text("CURSORPIPE_PORT=1\n")
    await hang_up(program, "WARNING", "SIGHUP: need a restart: CURSORPIPE_PORT\n")
    async with http.get(url + "/health") as response:
        assert response.status == 200


async def test_with_mistakes_everything_stays(
    start: Start, http: aiohttp.ClientSession, env: Callable[..., None], tmp_path: Path
) -> None:
    env(BEARER_TOKEN="one")
    program = await start("--demo", "--port", "0")
    url = await program.url()
    env(BEARER_TOKEN="two", MAX_QUEUE="many", BEARER_TOKENS_FILE="/no/such/file")
    said = await hang_up(program, "ERROR", "\n")
    assert len([line for line in said.splitlines() if "SIGHUP" in line]) == 1
    assert "CURSORPIPE_MAX_QUEUE" in said
    assert "CURSORPIPE_BEARER_TOKENS_FILE" in said
    assert (await status(http, url, "one"), await status(http, url, "two")) == (200, 401)
    # Without its file the server would be open.
    (tmp_path / "work" / ".env").unlink()
    await hang_up(program, "there is no file")
    assert await status(http, url, "one") == 200
    env(BEARER_TOKEN="two")
    await hang_up(program, "changed: CURSORPIPE_BEARER_TOKEN\n")
    assert await status(http, url, "two") == 200


async def test_a_raised_limit_serves_who_waits(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, env: Callable[..., None]
) -> None:
    env(MAX_SUBPROCESSES=1, WORKER_CONCURRENCY=1, WORKERS=1)
    program = await start("--demo", "--port", "0")
    url = await program.url()
    slow = "[[demo:slow-chunks count=1000 ms=50]]"

    async def stay(**fields: str) -> None:
        async with http.post(url + CHAT, json=ask(slow, stream=True, **fields)) as response:
            await response.read()

    requests = [
        asyncio.create_task(stay(**fields)) for fields in ({}, {}, {"model": NAMED}, {"model": NAMED})
    ]
    try:
        await agent.wait_for("prompt", count=2)
        async with http.get(url + "/ready") as response:
            assert (await response.json())["waiting"] == 2
        env(MAX_SUBPROCESSES=2, WORKER_CONCURRENCY=2, WORKERS=1)
        await hang_up(program, "changed: CURSORPIPE_WORKER_CONCURRENCY, CURSORPIPE_MAX_SUBPROCESSES\n")
        await agent.wait_for("prompt", count=4)
        assert not any(request.done() for request in requests), "the first ones go on"
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def test_a_server_that_stops_keeps_its_settings_and_its_drain(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, env: Callable[..., None]
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    prompt = "[[demo:markers marker=m count=30 ms=30]]"
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        await agent.wait_for("prompt")
        await program.told_to_stop()
        env(BEARER_TOKEN="late")
        await hang_up(program, "SIGHUP: the server is stopping")
        assert (await read_stream(response)).done
    assert await program.exit_status() == 0


async def test_hangups_while_it_starts_do_not_end_it(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    agent.set(START_MS=1000)
    program = await start("--demo", "--port", "0")
    process = psutil.Process(program.process.pid)

    def takes_hangups() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)

    if Path("/proc/self/status").exists():
        await until(takes_hangups)
    else:
        await program.url()

    def listens_after_another() -> bool:
        program.process.send_signal(signal.SIGHUP)
        return "/v1 (" in program.output

    await until(listens_after_another)
    async with http.get(await program.url() + "/health") as response:
        assert response.status == 200


async def test_it_ends_in_order_with_the_terminal_it_was_started_in(start: Start, agent: DemoAgent) -> None:
    ours, its = pty.openpty()
    try:
        program = await start("--demo", "--port", "0", terminal=os.ttyname(its))
        await program.url()
        await hang_up(program, "SIGHUP: no setting has changed")
    finally:
        os.close(its)
        os.close(ours)
    assert await program.exit_status() == 0
    assert "stopping" in program.complaint
    assert not [pid for pid in agent.pids() if psutil.pid_exists(pid)]
