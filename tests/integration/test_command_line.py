"""The real program, started as a user starts it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
from pathlib import Path

import aiohttp
import psutil
import pytest

import cursorpipe_core
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Start
from tests.integration.streams import read_stream
from tests.waiting import until


async def test_the_demo_says_that_it_is_one_and_serves(start: Start, http: aiohttp.ClientSession) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    async with http.post(url + CHAT, json=ask("hi", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.done
    assert "hi" in stream.text
    async with http.post(url + CHAT, json=ask("hi", model="composer-2.5")) as response:
        assert response.headers["x-cursorpipe-backend"] == "subprocess"
    await until(lambda: "docs" in program.output)
    assert "DEMO MODE" in program.output
    assert "2 ACP workers" in program.output
    assert re.search(r"version \d", program.output)
    assert "WARNING" not in program.output


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_order_and_no_child_is_left(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, signum: signal.Signals
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    prompt = "[[demo:markers marker=m count=30 ms=30]]"
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        program.process.send_signal(signum)
        stream = await read_stream(response)
    assert stream.done, "a request that runs is let finish"
    assert stream.text.count("m") >= 30
    assert await program.exit_status() == 0
    pids = [event["pid"] for event in agent.events("start")]
    assert pids
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert "Traceback" not in program.complaint


async def test_it_is_not_ready_from_the_signal_on(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    prompt = "[[demo:markers marker=m count=30 ms=30]]"
    async with http.get(url + "/health") as kept:  # a connection that stays open
        await kept.read()
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        await agent.wait_for("prompt")
        program.process.send_signal(signal.SIGTERM)
        await until(lambda: "stopping" in program.complaint)
        with contextlib.suppress(aiohttp.ClientConnectionError):  # no new connection is taken
            async with http.get(url + "/ready") as ready:
                assert ready.status == 503
                assert "stopping" in (await ready.json())["reason"]
        assert (await read_stream(response)).done


async def test_requests_that_do_not_end_in_the_drain_time_are_cut(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_DRAIN_TIMEOUT_S="0.2")
    url = await program.url()
    async with http.post(
        url + CHAT, json=ask("[[demo:slow-chunks count=400 ms=50]]", stream=True)
    ) as response:
        await agent.wait_for("prompt")
        program.process.send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientPayloadError):  # the client knows that it is not the whole
            await response.read()
    assert await program.exit_status() == 0
    assert not [pid for pid in agent.pids() if psutil.pid_exists(pid)]


async def test_a_second_signal_does_not_wait_for_requests(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    async with http.post(url + CHAT, json=ask("[[demo:slow-chunks count=400 ms=50]]", stream=True)):
        await agent.wait_for("prompt")
        program.process.send_signal(signal.SIGINT)
        await until(lambda: "stopping" in program.complaint)
        program.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(8):
            assert await program.exit_status() == 0
    assert not [pid for event in agent.events("start") if psutil.pid_exists(pid := event["pid"])]


async def test_settings_come_from_a_file_in_the_working_directory(
    start: Start, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "work" / ".env").write_text("CURSORPIPE_BEARER_TOKEN=s3cret\nCURSORPIPE_WORKERS=1\n")
    program = await start("--demo", "--port", "0")
    url = await program.url()
    async with http.get(url + "/v1/models") as response:
        assert response.status == 401
    async with http.get(url + "/v1/models", headers={"Authorization": "Bearer s3cret"}) as response:
        assert response.status == 200
    await until(lambda: "docs" in program.output)
    assert "1 ACP workers" in program.output
    assert "bearer token" in program.output
    assert "s3cret" not in program.output + program.complaint


async def test_wrong_settings_are_told_all_at_once(start: Start) -> None:
    program = await start("--demo", CURSORPIPE_PORT="x", CURSORPIPE_STRATEGY="best", CURSOR_API_KEY="s3cret")
    assert await program.exit_status() == 2
    assert "CURSORPIPE_PORT" in program.complaint
    assert "CURSORPIPE_STRATEGY" in program.complaint
    assert "s3cret" not in program.complaint
    assert "Traceback" not in program.complaint


async def test_a_port_that_is_taken_is_named_and_no_agent_is_started(start: Start, agent: DemoAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        program = await start("--demo", CURSORPIPE_PORT=port)
        assert await program.exit_status() == 2
    assert "CURSORPIPE_PORT" in program.complaint
    assert port in program.complaint
    assert len(program.complaint.splitlines()) == 1
    assert not agent.events("start")


async def test_a_host_that_is_not_ours_is_named(start: Start) -> None:
    program = await start("--demo", "--host", "192.0.2.1", "--port", "0")
    assert await program.exit_status() == 2
    assert "CURSORPIPE_HOST" in program.complaint


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--nonsense"], ["--env-file", "no.env"]]
)
async def test_a_wrong_command_line_is_refused(start: Start, arguments: list[str]) -> None:
    program = await start(*arguments)
    assert await program.exit_status() == 2
    assert arguments[-1] in program.complaint


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
async def test_listening_to_the_world_without_a_token_is_warned_of(start: Start, encoding: str) -> None:
    program = await start("--port", "0", CURSORPIPE_HOST="0.0.0.0", PYTHONIOENCODING=encoding)
    await until(lambda: "WARNING" in program.output)
    assert "CURSORPIPE_BEARER_TOKEN" in program.output


async def test_without_a_cli_it_starts_and_says_how_to_get_one(
    start: Start, http: aiohttp.ClientSession
) -> None:
    program = await start("--port", "0", CURSORPIPE_AGENT_BIN="no-such-agent")
    url = await program.url()
    async with http.get(url + "/health") as response:
        assert await response.json() == {"status": "ok"}
    await until(lambda: "docs" in program.output)
    assert "NOT FOUND" in program.output
    assert "--demo" in program.output


async def test_check_tells_one_line_for_each_thing(start: Start) -> None:
    program = await start("--demo", "--check")
    assert await program.exit_status() == 0
    lines = program.output.splitlines()
    assert [line.split()[1] for line in lines] == ["agent:", "version:", "login:", "models:", "session:"]
    assert all(line.startswith("✓") for line in lines)


async def test_check_tells_what_is_wrong(start: Start) -> None:
    program = await start("--demo", "--check", DEMO_AGENT_SCENARIO="invalid-key")
    assert await program.exit_status() == 1
    models = next(line for line in program.output.splitlines() if "models" in line)
    assert models.startswith("✗")
    assert "invalid" in models


async def test_check_can_be_read_on_a_terminal_without_unicode(start: Start) -> None:
    program = await start("--check", PYTHONIOENCODING="ascii", CURSORPIPE_AGENT_BIN="no-such-agent")
    assert await program.exit_status() == 1
    assert "no-such-agent" in program.output


async def test_localhost_is_every_address_of_that_name(start: Start, http: aiohttp.ClientSession) -> None:
    program = await start("--demo", "--host", "localhost", "--port", "0")
    port = (await program.url()).rpartition(":")[2]
    for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM):
        host = f"[{info[4][0]}]" if info[0] == socket.AF_INET6 else info[4][0]
        async with http.get(f"http://{host}:{port}/health") as response:
            assert response.status == 200


async def test_version_and_help(start: Start) -> None:
    program = await start("--version")
    assert await program.exit_status() == 0
    assert program.output == f"cursorpipe {cursorpipe_core.__version__}\n"
    program = await start("--help")
    assert await program.exit_status() == 0
    assert "--demo" in program.output
    assert "CURSORPIPE_POOL_SIZE" in program.output


async def test_it_listens_before_its_agents_are_ready(start: Start, http: aiohttp.ClientSession) -> None:
    program = await start("--demo", "--port", "0", DEMO_AGENT_START_MS="3000")
    url = await program.url()
    async with http.get(url + "/health") as response:
        assert response.status == 200
    async with http.get(url + "/ready") as response:
        assert response.status == 503
