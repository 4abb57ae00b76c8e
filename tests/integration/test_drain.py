"""The end of the real program: what is open is finished, and nothing new is begun."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket

import aiohttp
import psutil
import pytest
from yarl import URL

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, ask
from tests.integration.program import Start
from tests.integration.streams import read_stream
from tests.integration.wire import connect, get, post, post_head, question
from tests.waiting import until


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
    url = URL(await program.url())
    prompt = "[[demo:markers marker=m count=30 ms=30]]"
    async with http.post(url / CHAT[1:], json=ask(prompt, stream=True)) as response:
        await agent.wait_for("prompt")
        async with connect("127.0.0.1", url.port) as made_before:
            await program.told_to_stop()
            made_before.send(get("/ready"))
            ready = await made_before.answer()
        assert ready.status == 503
        assert "stopping" in json.loads(ready.body)["reason"]
        assert ready.headers["connection"] == "close"
        assert (await read_stream(response)).done


async def test_from_the_signal_on_no_new_connection_is_taken_and_the_open_requests_end_whole(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    prompt = "[[demo:markers marker=m count=40 ms=50]]"
    async with http.post(url + CHAT, json=ask(prompt, stream=True)) as response:
        await agent.wait_for("prompt")
        await program.told_to_stop()
        async with aiohttp.ClientSession() as another:  # so that no connection is there already
            with pytest.raises(aiohttp.ClientConnectorError):
                await another.get(url + "/health")
        assert not agent.events("finished")
        stream = await read_stream(response)
    assert stream.done
    assert stream.text.count("m-") == 40


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
    (line,) = (line for line in program.complaint.splitlines() if "chat/completions" in line)
    assert line.endswith("(server_stopped)"), "the client was there"


async def test_a_second_signal_does_not_wait_for_requests(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0")
    url = await program.url()
    async with http.post(url + CHAT, json=ask("[[demo:slow-chunks count=400 ms=50]]", stream=True)):
        await agent.wait_for("prompt")
        await program.told_to_stop(signal.SIGINT)
        program.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(8):
            assert await program.exit_status() == 0
    assert not [pid for event in agent.events("start") if psutil.pid_exists(pid := event["pid"])]


async def test_a_connection_on_which_nothing_is_owed_is_closed_at_once(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0")
    url = URL(await program.url())
    prompt = "[[demo:markers marker=m count=30 ms=30]]"
    async with (
        http.post(url / CHAT[1:], json=ask(prompt, stream=True)) as response,
        connect("127.0.0.1", url.port) as idle,
    ):
        await agent.wait_for("prompt")
        idle.send(get("/health"))
        assert (await idle.answer()).status == 200
        await program.told_to_stop()
        assert await idle.closed() == b""
        assert not agent.events("finished")
        assert (await read_stream(response)).done


async def test_a_request_that_is_on_its_way_is_heard_out(start: Start) -> None:
    program = await start("--demo", "--port", "0")
    url = URL(await program.url())
    body = question("hi", stream=True)
    head = post_head(f"Content-Length: {len(body)}")
    async with (
        connect("127.0.0.1", url.port) as new,
        connect("127.0.0.1", url.port) as in_its_head,
        connect("127.0.0.1", url.port) as in_its_body,
    ):
        for wire in (in_its_head, in_its_body):
            wire.send(get("/health"))
            assert (await wire.answer()).status == 200
        new.send(head[:20])
        in_its_head.send(head[:20])
        in_its_body.send(head, body[:10])
        await asyncio.sleep(0.1)  # nothing tells that the server has read it
        await program.told_to_stop()
        assert "stopping; 3 open requests" in program.complaint
        new.send(head[20:], body)
        in_its_head.send(head[20:], body)
        in_its_body.send(body[10:])
        for wire in (new, in_its_head, in_its_body):
            answer = await wire.answer()
            assert answer.status == 200
            assert b"[DONE]" in answer.body
            assert answer.headers["connection"] == "close"
            assert await wire.closed() == b""
    assert await program.exit_status() == 0


async def test_a_slow_reader_gets_the_whole_of_an_answer_that_is_given(start: Start) -> None:
    program = await start("--demo", "--port", "0")
    url = URL(await program.url())
    body = question("[[demo:markers marker=sixteen-letters- count=300000]]")
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", url.port))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=4096)
        writer.write(post(body))
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None
        # To the server the request is served; most of the answer waits to be sent.
        await until(lambda: "chat/completions 200" in program.complaint)
        await program.told_to_stop()
        assert "stopping; 1 open requests" in program.complaint
        assert len(await reader.readexactly(int(found[1]))) > 5_000_000
        assert await reader.read() == b""
        writer.close()
    assert await program.exit_status() == 0
    assert "are cut" not in program.complaint


async def test_clients_that_ask_on_and_on_do_not_hold_up_the_end(
    start: Start, agent: DemoAgent, http: aiohttp.ClientSession
) -> None:
    program = await start("--demo", "--port", "0", CURSORPIPE_DRAIN_TIMEOUT_S="60")
    url = await program.url()
    whole: list[bool] = []

    async def ask_on(*, stream: bool) -> None:
        while True:
            body = ask("[[demo:slow-chunks count=4 ms=100]]", stream=stream)
            try:
                async with http.post(url + CHAT, json=body) as response:
                    whole.append((await read_stream(response)).done if stream else response.status == 200)
            except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, ConnectionResetError):
                return  # refused, or closed before anything of an answer came: another server may be asked

    clients = [asyncio.create_task(ask_on(stream=bool(number % 2))) for number in range(6)]
    await agent.wait_for("prompt", count=12)
    program.process.send_signal(signal.SIGTERM)
    assert await program.exit_status() == 0
    await asyncio.gather(*clients)
    assert len(whole) >= 12
    assert all(whole)
