"""What is left when a server is killed, when an agent leaves somebody behind, and when the disk is full."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from cursorpipe_core import instance as instance_module
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, ask
from tests.integration.program import Start
from tests.integration.streams import read_stream
from tests.waiting import until

NAMED = "composer-2.5"


@pytest.fixture(autouse=True)
def orphans_end(agent: DemoAgent) -> Iterator[None]:
    """End what a failing test would leave: orphans are nobody's children."""
    yield
    for pid in agent.pids():
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).kill()


def alive(pids: list[int]) -> list[int]:
    """Return the ids of those that run; a zombie does not."""
    running = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
    return running


async def test_the_next_start_ends_what_a_killed_server_left(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    agent.set(SCENARIO="ignore-sigterm")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    killed = await start("--demo", "--port", "0", TMPDIR=str(temporary), CURSORPIPE_KEEPALIVE_S="0.1")
    url = await killed.url()
    async with http.post(url + CHAT, json=ask("[[demo:silent-prompt]]", model=NAMED, stream=True)):
        await agent.wait_for("prompt")
        await agent.wait_for("start", mode="acp", count=2)
        killed.process.send_signal(signal.SIGKILL)
        await killed.exit_status()
    left = alive(agent.pids())
    assert len(left) >= 3
    assert len(list(temporary.glob("cursorpipe-*/*"))) >= 3
    following = await start("--demo", "--port", "0", TMPDIR=str(temporary))
    await following.url()
    await until(lambda: not alive(left))
    await until(lambda: "a server was killed" in following.complaint)
    following.process.send_signal(signal.SIGTERM)
    assert await following.exit_status() == 0
    assert list(temporary.glob("cursorpipe-*")) == []
    assert [path for path in agent.state_dir.iterdir() if path.is_dir()] == []


async def test_a_second_server_leaves_the_first_ones_agents_alone(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    first = await start("--demo", "--port", "0")
    url = await first.url()
    pending = http.post(url + CHAT, json=ask("[[demo:slow-chunks count=40 ms=50]]", stream=True))
    async with pending as response:
        await agent.wait_for("prompt")
        second = await start("--demo", "--port", "0")
        await second.url()
        stream = await read_stream(response)
    assert stream.done
    assert "a server was killed" not in second.complaint


async def test_what_has_left_the_group_of_its_agent_is_ended_after_a_grace(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "DETACHED_GRACE_S", 0.2)
    monkeypatch.setattr(instance_module, "SWEEP_PAUSE_S", 0.1)
    client = await serve(strategy="subprocess", ready=False)
    text = "[[demo:grandchild detached=1]]"
    async with client.post(CHAT, json=ask(text)) as response:
        assert response.status == 200
    (left,) = await agent.wait_for("grandchild")
    assert os.getpgid(left["grandchild"]) == left["grandchild"]
    await until(lambda: not alive([left["grandchild"]]))


async def test_a_stopping_server_ends_even_what_has_left_the_group_of_its_agent(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve()
    async with client.post(CHAT, json=ask("[[demo:grandchild detached=1]]")) as response:
        assert response.status == 200
    (left,) = await agent.wait_for("grandchild")
    assert alive([left["grandchild"]])
    await client.close()
    assert not alive([left["grandchild"]])


async def test_a_state_directory_that_cannot_be_used_keeps_the_server_from_starting(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    program = await start("--demo", "--port", "0", CURSORPIPE_STATE_DIR=str(tmp_path / "file"))
    assert await program.exit_status() == 1
    assert "CURSORPIPE_STATE_DIR" in program.complaint
    assert "Traceback" not in program.complaint


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that holds very little; only root may."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "tmpfs", str(disk)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_is_a_typed_error_and_leaves_nothing_half_made(
    start: Start, http: aiohttp.ClientSession, small_disk: Path
) -> None:
    program = await start("--demo", "--port", "0", TMPDIR=str(small_disk), CURSORPIPE_STRATEGY="subprocess")
    url = await program.url()
    await until(lambda: "docs" in program.output)
    (places,) = small_disk.glob("cursorpipe-*")
    await until(lambda: not list(places.iterdir()))
    # One place is to be had, and nothing can be made in it.
    _, *filled = _fill(small_disk)
    (small_disk / "filler-0").unlink()
    async with http.post(url + CHAT, json=ask("hi")) as response:
        body = await response.json()
    assert response.status == 500
    assert body["error"]["code"] == "agent_crash"
    assert "No space left on device" in body["error"]["message"]
    await until(lambda: not list(places.iterdir()))
    for path in filled:
        path.unlink()
    async with http.post(url + CHAT, json=ask("hi")) as response:
        assert response.status == 200, await response.text()


def _fill(disk: Path) -> Iterator[Path]:
    """Take everything that the disk has to give."""
    for number in range(1000):
        path = disk / f"filler-{number}"
        try:
            path.touch()
        except OSError:
            return
        yield path
