"""The program that an agent starts to reach its tools, and the port that it connects to."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from cursorpipe_core import Address, Endpoint, OpenCall, Tool, ToolResult, ToolSet, Transport
from cursorpipe_core import endpoint as endpoint_module
from cursorpipe_server import bridge_stdio
from cursorpipe_server.bridge import Bridge
from tests.waiting import until

WEATHER = Tool("get_weather", "Tell the weather of a city.", {"properties": {"city": {"type": "string"}}})
CLOCK = Tool("get_time")

#: Seconds that anything may take; nothing does.
PATIENCE_S = 20.0


class Server:
    """The endpoint of a session, and what has come to it."""

    def __init__(self) -> None:
        self.endpoint = Endpoint(ToolSet([WEATHER]))
        self.made: asyncio.Queue[OpenCall] = asyncio.Queue()
        self.lost: asyncio.Queue[OpenCall] = asyncio.Queue()
        self.endpoint.on_call = self.made.put_nowait
        self.endpoint.on_lost = self.lost.put_nowait


class Relay:
    """The program, as an agent starts it; nothing of this process's environment is in its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    def say(self, message: Any) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.stdin.write(line + b"\n")

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self.stdout.readline())
            return message

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.say(request(method, **params))
        return await self.hear()

    async def ended(self) -> tuple[int, bytes]:
        """Return the status of the program and what it has said to its user, once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            said = await self.stderr.read()
            return await self.process.wait(), said


def request(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(request_id: Any = 1, **meta: Any) -> dict[str, Any]:
    return request("tools/call", request_id, name="get_weather", arguments={"city": "Paris"}, _meta=meta)


def text_of(message: Mapping[str, Any]) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


async def soon(queue: asyncio.Queue[OpenCall]) -> OpenCall:
    """Return the next call, which is to come at once."""
    async with asyncio.timeout(PATIENCE_S):
        return await queue.get()


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge() as bridge:
        yield bridge
    assert len(bridge) == 0
    assert not bridge._stdio._conversations


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def address(bridge: Bridge, server: Server) -> Address:
    return await bridge.open(server.endpoint, Transport.STDIO)


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    async def start(address: Address, **changed: str) -> Relay:
        env = {pair["name"]: pair["value"] for pair in address.server["env"]}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            address.server["command"],
            *address.server["args"],
            env={**env, **changed},
            cwd="/",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=2**26,
        )
        started.append(process)
        return Relay(process)

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] # its pipes stay open else


@pytest.fixture
async def relay(start: Start, address: Address) -> Relay:
    started: Relay = await start(address)
    return started


async def connect(
    address: Address, line: bytes | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as a relay does, and say its secret or what is said instead."""
    env = {pair["name"]: pair["value"] for pair in address.server["env"]}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(env["PIPE_PORT"]))
    writer.write(env["PIPE_TOKEN"].encode() + b"\n" if line is None else line)
    return reader, writer


async def hung_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return what is said until the server hangs up."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


# The program


async def test_an_address_is_an_entry_of_session_new(address: Address) -> None:
    assert set(address.server) == {"name", "command", "args", "env"}
    assert address.server["name"] == address.name
    assert address.transport is Transport.STDIO
    assert address.server["args"][0] == "-SEP"
    assert [pair["name"] for pair in address.server["env"]] == ["PIPE_PORT", "PIPE_TOKEN"]


async def test_the_secret_is_no_argument(address: Address) -> None:
    secret = address.server["env"][1]["value"]
    assert len(secret) == 43
    assert not [word for word in [address.server["command"], *address.server["args"]] if secret in word]


async def test_questions_are_passed_on_and_answers_back(relay: Relay) -> None:
    answer = await relay.ask("initialize", protocolVersion="2025-06-18")
    assert answer["result"]["protocolVersion"] == "2025-06-18"
    relay.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (await relay.ask("ping"))["result"] == {}
    assert (await relay.ask("nope"))["error"]["code"] == -32601


async def test_the_tools_are_listed(relay: Relay, server: Server) -> None:
    await relay.ask("ping")
    assert not server.endpoint.listed.is_set()
    assert (await relay.ask("tools/list"))["result"]["tools"] == ToolSet([WEATHER]).offered()
    async with asyncio.timeout(PATIENCE_S):
        await server.endpoint.listed.wait()


async def test_what_is_no_json_is_passed_over(relay: Relay) -> None:
    for line in (b"", b"{", b"hello", b"\xff", b"[" * 100_000):
        relay.say(line)
    assert (await relay.ask("ping"))["result"] == {}


async def test_a_call_is_answered_when_there_is_a_result(relay: Relay, server: Server) -> None:
    relay.say(call("abc"))
    made = await soon(server.made)
    assert (made.tool, made.arguments) == (WEATHER, {"city": "Paris"})
    assert (await relay.ask("ping"))["result"] == {}
    made.answer(ToolResult("sunny\nö"))
    answer = await relay.hear()
    assert (answer["id"], text_of(answer)) == ("abc", "sunny\nö")
    await until(lambda: not server.endpoint._calls)
    assert server.lost.empty()


async def test_calls_are_answered_in_any_order(relay: Relay, server: Server) -> None:
    for number in range(10):
        relay.say(call(number))
    made = [await soon(server.made) for _ in range(10)]
    for number in (3, 9, 0):
        made[number].answer(ToolResult(f"result {number}"))
        answer = await relay.hear()
        assert (answer["id"], text_of(answer)) == (number, f"result {number}")
    assert server.endpoint.open_calls == 7


async def test_a_call_tells_its_progress_to_the_token(
    relay: Relay, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    relay.say(call(progressToken=7))
    notices = [await relay.hear(), await relay.hear()]
    (await soon(server.made)).answer(ToolResult("sunny"))
    assert [notice["params"]["progress"] for notice in notices] == [1, 2]
    assert {notice["params"]["progressToken"] for notice in notices} == {7}


async def test_without_a_token_nothing_is_told_before_the_result(
    relay: Relay, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.001)
    relay.say(call())
    made = await soon(server.made)
    for _ in range(20):
        await relay.ask("ping")
    made.answer(ToolResult("sunny"))
    assert text_of(await relay.hear()) == "sunny"


async def test_large_messages_arrive_whole_both_ways(relay: Relay, server: Server) -> None:
    text = "x\\\n" * 1_000_000
    relay.say(request("tools/call", name="get_weather", arguments={"city": text}))
    made = await soon(server.made)
    assert made.arguments == {"city": text}
    made.answer(ToolResult(text))
    assert text_of(await relay.hear()) == text


async def test_a_cancelled_call_is_lost_once(relay: Relay, server: Server) -> None:
    relay.say(call(1))
    relay.say(call(2))
    made = [await soon(server.made), await soon(server.made)]
    made[0].answer(ToolResult("sunny"))
    assert (await relay.hear())["id"] == 1
    for request_id in (1, 3, 2, 2):
        relay.say(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
        )
    assert await soon(server.lost) is made[1]
    assert "error" in await relay.hear()
    await relay.ask("ping")
    assert server.lost.empty()


async def test_the_agent_hears_of_other_tools(relay: Relay, server: Server) -> None:
    await relay.ask("tools/list")
    server.endpoint.offer(ToolSet([CLOCK]))
    assert await relay.hear() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    assert [tool["name"] for tool in (await relay.ask("tools/list"))["result"]["tools"]] == ["get_time"]
    async with asyncio.timeout(PATIENCE_S):
        await server.endpoint.listed.wait()


async def test_the_program_ends_with_its_input(relay: Relay) -> None:
    await relay.ask("ping")
    relay.stdin.close()
    assert await relay.ended() == (0, b"")


async def test_the_program_ends_with_the_endpoint(bridge: Bridge, relay: Relay, server: Server) -> None:
    relay.say(call())
    await soon(server.made)
    bridge.close(server.endpoint)
    assert await relay.ended() == (0, b"")
    assert server.lost.empty()


async def test_the_program_ends_with_the_server(start: Start, server: Server) -> None:
    async with Bridge() as bridge:
        relay = await start(await bridge.open(server.endpoint, Transport.STDIO))
        await relay.ask("ping")
    assert await relay.ended() == (0, b"")


async def test_a_wrong_token_is_hung_up(start: Start, address: Address, server: Server) -> None:
    relay = await start(address, PIPE_TOKEN="wrong")
    relay.say(call())
    assert await relay.stdout.read() == b""
    assert await relay.ended() == (0, b"")
    assert server.made.empty()


async def test_a_server_that_is_gone_is_told_of_without_the_token(start: Start, server: Server) -> None:
    async with Bridge() as bridge:
        address = await bridge.open(server.endpoint, Transport.STDIO)
    relay = await start(address)
    status, said = await relay.ended()
    assert status == 1
    assert address.server["env"][1]["value"].encode() not in said


async def test_a_call_is_lost_when_the_program_is_killed(relay: Relay, server: Server) -> None:
    relay.say(call(1))
    relay.say(call(2))
    made = [await soon(server.made), await soon(server.made)]
    made[0].answer(ToolResult("sunny"))
    relay.process.send_signal(signal.SIGKILL)
    assert await soon(server.lost) is made[1]
    await until(lambda: not server.endpoint._calls)
    assert server.lost.empty()
    assert not server.endpoint._listeners


async def test_a_program_whose_reader_is_gone_ends(relay: Relay, server: Server) -> None:
    relay.say(call())
    made = await soon(server.made)
    relay.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    made.answer(ToolResult("sunny"))
    assert await relay.ended() == (0, b"")


async def test_the_program_may_be_started_again(start: Start, address: Address, server: Server) -> None:
    first = await start(address)
    first.say(call(1))
    made = await soon(server.made)
    second = await start(address)
    second.say(call(1))
    made_again = await soon(server.made)
    first.process.kill()
    assert await soon(server.lost) is made
    made_again.answer(ToolResult("for the second"))
    assert text_of(await second.hear()) == "for the second"


async def test_no_secret_is_ever_logged(
    start: Start, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = address.server["env"][1]["value"]
    relay = await start(address)
    await relay.ask("ping")
    relay.process.kill()
    await (await start(address, PIPE_TOKEN=f"{secret}x")).ended()
    assert secret not in "\n".join(record.getMessage() for record in caplog.records)


# The port


@pytest.mark.parametrize("line", [b"\n", b"wrong\n", b"\xff\xfe\n", b"POST / HTTP/1.1\r\n"])
async def test_who_does_not_know_the_secret_is_hung_up(address: Address, line: bytes) -> None:
    reader, writer = await connect(address, line + json.dumps(request("ping")).encode() + b"\n")
    with suppress(ConnectionResetError):
        assert await hung_up(reader, writer) == b""


async def test_who_says_no_secret_is_hung_up_in_time(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_stdio, "SECRET_WITHIN_S", 0.05)
    assert await hung_up(*await connect(address, b"half a secr")) == b""


async def test_a_line_without_end_ends_the_conversation(
    bridge: Bridge, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_stdio, "MAX_LINE", 1000)
    address = await bridge.open(server.endpoint, Transport.STDIO)
    reader, writer = await connect(address)
    writer.write(json.dumps(call()).encode() + b"\n")
    await soon(server.made)
    writer.write(b"x" * 3000)
    await soon(server.lost)
    with suppress(ConnectionResetError):
        await hung_up(reader, writer)


async def test_the_secret_of_a_closed_endpoint_opens_nothing(
    bridge: Bridge, server: Server, address: Address
) -> None:
    bridge.close(server.endpoint)
    assert await hung_up(*await connect(address)) == b""


async def test_closing_one_leaves_the_others(bridge: Bridge, start: Start, address: Address) -> None:
    other = Server()
    relay = await start(await bridge.open(other.endpoint, Transport.STDIO))
    await relay.ask("ping")
    assert len(bridge) == 2
    (await start(address)).process.kill()
    bridge.close(other.endpoint)
    assert await relay.ended() == (0, b"")
    survivor = await start(address)
    assert (await survivor.ask("ping"))["result"] == {}


async def test_servers_that_are_opened_together_share_one_port(bridge: Bridge) -> None:
    addresses = await asyncio.gather(*(bridge.open(Endpoint(ToolSet()), Transport.STDIO) for _ in range(5)))
    assert len({address.server["env"][0]["value"] for address in addresses}) == 1
    assert len({address.server["env"][1]["value"] for address in addresses}) == 5


@pytest.mark.parametrize("how", ["closed", "left"])
async def test_an_agent_that_reads_nothing_holds_nobody_up(server: Server, how: str) -> None:
    async with asyncio.timeout(PATIENCE_S), Bridge() as bridge:
        reader, writer = await connect(await bridge.open(server.endpoint, Transport.STDIO))
        for number in range(10):
            writer.write(json.dumps(call(number)).encode() + b"\n")
        for _ in range(10):
            (await soon(server.made)).answer(ToolResult("x" * 2_000_000))
        await until(lambda: not server.endpoint._calls)
        if how == "closed":
            bridge.close(server.endpoint)
            await until(lambda: not bridge._stdio._conversations)
    # What it has not read by then is not kept for it.
    assert len(await hung_up(reader, writer)) < 20_000_000


async def test_no_port_is_open_before_one_is_needed(bridge: Bridge, server: Server) -> None:
    await bridge.open(server.endpoint, Transport.HTTP)
    assert bridge._stdio._server is None
