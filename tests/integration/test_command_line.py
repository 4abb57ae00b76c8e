"""The real program, started as a user starts it."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import aiohttp
import psutil
import pytest

import cursorpipe_core
from cursorpipe_core.doctor import CHECKS
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
        assert await program.exit_status() == 1
    assert "CURSORPIPE_PORT" in program.complaint
    assert port in program.complaint
    assert len(program.complaint.splitlines()) == 1
    assert not agent.events("start")


async def test_a_host_that_is_not_ours_is_named(start: Start) -> None:
    program = await start("--demo", "--host", "192.0.2.1", "--port", "0")
    assert await program.exit_status() == 1
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


async def test_check_prints_json_where_that_is_asked_for(start: Start) -> None:
    program = await start("--demo", "--check", "--json", DEMO_AGENT_SCENARIO="invalid-key")
    assert await program.exit_status() == 1
    found = {finding["name"]: finding for finding in json.loads(program.output)["findings"]}
    assert list(found) == ["agent", "version", "login", "models"]
    assert found["models"]["cause"] == "invalid_key"


async def test_doctor_looks_at_everything(start: Start, agent: DemoAgent) -> None:
    program = await start("doctor", "--demo", "--port", "0")
    assert await program.exit_status() == 0
    *lines, last = program.output.splitlines()
    assert last == "all is fine"
    marked = [line.split()[1] for line in lines if line[:1] == "✓"]
    assert marked == [*CHECKS, "port", "token", "files"]
    assert "session/new" in program.output
    assert not program.complaint
    assert not [pid for pid in agent.pids() if psutil.pid_exists(pid)]


async def test_doctor_tells_programs_in_json(start: Start) -> None:
    program = await start(
        *("doctor", "--demo", "--json", "--litellm", "http://me:hush@localhost:1/v1"),
        DEMO_AGENT_SCENARIO="usage-limit",
        CURSORPIPE_BEARER_TOKEN="hush",
        CURSORPIPE_PORT="0",
    )
    assert await program.exit_status() == 1
    told = json.loads(program.output)
    assert told["status"] == "failed"
    causes = {finding["name"]: finding["cause"] for finding in told["findings"] if finding["cause"]}
    assert causes == {
        "acp-turn": "rate_limited",
        "print-turn": "rate_limited",
        "token": "weak_token",
        "litellm": "litellm_unreachable",
    }
    assert "hush" not in program.output + program.complaint


async def test_doctor_knows_the_server_that_runs_already(start: Start) -> None:
    url = await (await start("--demo", "--port", "0")).url()
    program = await start("doctor", "--demo", "--json", "--port", url.rpartition(":")[2])
    assert await program.exit_status() == 0
    port = next(finding for finding in json.loads(program.output)["findings"] if finding["name"] == "port")
    assert port["cause"] == "already_served"


async def test_doctor_cannot_look_with_wrong_settings(start: Start) -> None:
    program = await start("doctor", "--json", CURSORPIPE_WORKERS="many")
    assert await program.exit_status() == 2
    (finding,) = json.loads(program.output)["findings"]
    assert finding["cause"] == "wrong_settings"
    assert "CURSORPIPE_WORKERS" in finding["detail"]
    assert "CURSORPIPE_WORKERS" in program.complaint


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_doctor_leaves_nothing_behind_when_it_is_ended(
    start: Start, agent: DemoAgent, signum: signal.Signals, status: int
) -> None:
    program = await start("doctor", "--demo", DEMO_AGENT_SCENARIO="silent-prompt")
    await agent.wait_for("prompt")
    program.process.send_signal(signum)
    assert await program.exit_status() == status
    assert not [pid for pid in agent.pids() if psutil.pid_exists(pid)]
    assert "Traceback" not in program.complaint


async def test_doctor_ends_quietly_when_nobody_reads_on(start: Start, agent: DemoAgent) -> None:
    program = await start("doctor", "--demo", DEMO_AGENT_SESSION_MS="1000")
    await until(lambda: "models" in program.output)
    program.stop_reading()
    assert await program.exit_status() == 128 + signal.SIGPIPE
    assert "Traceback" not in program.complaint
    assert not [pid for pid in agent.pids() if psutil.pid_exists(pid)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--litellm", "http://localhost:4000"], "--litellm"),
        (["doctor", "--litellm", "localhost:4000"], "--litellm"),
        (["doctor", "--litellm", "http://localhost:99999"], "--litellm"),
        (["doctor", "--litellm", "http://localhost:abc"], "--litellm"),
        (["--json"], "--json"),
        (["doctor", "--check"], "--check"),
        (["surgeon"], "surgeon"),
    ],
)
async def test_what_is_doctors_is_for_doctor(start: Start, arguments: list[str], named: str) -> None:
    program = await start(*arguments)
    assert await program.exit_status() == 2
    assert named in program.complaint.splitlines()[-1]


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
