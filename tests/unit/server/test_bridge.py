"""What an agent finds at the loopback port, and what nobody else does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from cursorpipe_core import Address, Endpoint, OpenCall, Tool, ToolResult, ToolSet, Transport
from cursorpipe_core import endpoint as endpoint_module
from cursorpipe_server import bridge as bridge_module
from cursorpipe_server.bridge import Bridge
from tests.waiting import until

WEATHER = Tool("get_weather", "Tell the weather of a city.", {"properties": {"city": {"type": "string"}}})
CLOCK = Tool("get_time")

#: Seconds that anything may take; nothing does.
PATIENCE_S = 20.0


class Server:
    """The endpoint of a session, and what has come to it."""

    def __init__(self, tools: ToolSet) -> None:
        self.endpoint = Endpoint(tools)
        self.made: asyncio.Queue[OpenCall] = asyncio.Queue()
        self.lost: asyncio.Queue[OpenCall] = asyncio.Queue()
        self.endpoint.on_call = self.made.put_nowait
        self.endpoint.on_lost = self.lost.put_nowait


class Agent:
    """An agent that was told the address of a server."""

    def __init__(self, http: aiohttp.ClientSession, address: Address) -> None:
        self.http = http
        self.url: str = address.server["url"]
        self.headers = {pair["name"]: pair["value"] for pair in address.server["headers"]}

    def send(
        self, message: Any, headers: Mapping[str, str] | None = None
    ) -> aiohttp.client._RequestContextManager:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.http.post(self.url, data=io.BytesIO(data), headers={**self.headers, **(headers or {})})

    def listen(self) -> aiohttp.client._RequestContextManager:
        return self.http.get(self.url, headers=self.headers)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        async with self.send(request(method, **params)) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            answer: dict[str, Any] = await response.json()
            return answer


def request(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(request_id: Any = 1, **meta: Any) -> dict[str, Any]:
    return request("tools/call", request_id, name="get_weather", arguments={"city": "Paris"}, _meta=meta)


def cancelled(request_id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    """Yield what a stream tells: messages, and the words of comments."""
    assert response.status == 200
    assert response.content_type == "text/event-stream"
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("data: "):
            yield json.loads(text.removeprefix("data: "))
        elif text:
            yield text


def text_of(message: Mapping[str, Any]) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge() as bridge:
        yield bridge
    assert len(bridge) == 0


@pytest.fixture
async def server() -> Server:
    return Server(ToolSet([WEATHER]))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@pytest.fixture
async def agent(bridge: Bridge, server: Server, http: aiohttp.ClientSession) -> Agent:
    return Agent(http, await bridge.open(server.endpoint, Transport.HTTP))


async def soon(queue: asyncio.Queue[OpenCall]) -> OpenCall:
    """Return the next call, which is to come at once."""
    async with asyncio.timeout(PATIENCE_S):
        return await queue.get()


async def raw(agent: Agent, head: bytes) -> bytes:
    """Send the bytes of a request, and return the first line of what comes back."""
    port = urlsplit(agent.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


# Who gets in


async def test_an_address_is_an_entry_of_session_new(bridge: Bridge, server: Server) -> None:
    address = await bridge.open(server.endpoint, Transport.HTTP)
    assert set(address.server) == {"type", "name", "url", "headers"}
    assert (address.server["type"], address.server["name"]) == ("http", address.name)
    assert address.transport is Transport.HTTP
    url = urlsplit(address.server["url"])
    assert (url.scheme, url.hostname) == ("http", "127.0.0.1")
    assert url.path.endswith("/mcp")
    (header,) = address.server["headers"]
    assert header["name"] == "Authorization"
    assert header["value"].startswith("Bearer ")


async def test_no_two_servers_share_a_name_or_a_secret(bridge: Bridge) -> None:
    one, other = [await bridge.open(Endpoint(ToolSet()), Transport.HTTP) for _ in range(2)]
    assert one.name != other.name
    assert one.server["url"] != other.server["url"]
    assert one.server["headers"] != other.server["headers"]
    assert one.server["headers"][0]["value"].removeprefix("Bearer ") not in one.server["url"]
    assert len(bridge) == 2


@pytest.mark.parametrize(
    "path", ["/", "/mcp", "/t/", "/t/x", "/t//mcp", "/health", "/v1/models", "/t/%FF/mcp"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_a_foreign_path_is_not_there(agent: Agent, path: str, method: str) -> None:
    url = f"http://127.0.0.1:{urlsplit(agent.url).port}{path}"
    async with agent.http.request(method, url, headers=agent.headers) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url + "/",
        lambda url: url.removesuffix("/mcp"),
        lambda url: url + "/mcp",
        lambda url: url[:-5] + "x/mcp",
        lambda url: url[:-5][:-1] + "/mcp",
    ],
)
async def test_a_wrong_secret_is_not_there(agent: Agent, spoil: Any) -> None:
    agent.url = spoil(agent.url)
    async with agent.send(request("ping")) as response:
        assert response.status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw", "Bearer ö"])
async def test_without_the_bearer_nothing_is_there(agent: Agent, method: str, value: str | None) -> None:
    headers = {} if value is None else {"Authorization": value}
    async with agent.http.request(method, agent.url, data=b"{}", headers=headers) as response:
        assert response.status == 404


async def test_the_bearer_of_another_session_opens_nothing(bridge: Bridge, agent: Agent) -> None:
    other = Agent(agent.http, await bridge.open(Endpoint(ToolSet()), Transport.HTTP))
    agent.headers = other.headers
    async with agent.send(request("ping")) as response:
        assert response.status == 404


async def test_bytes_that_are_no_text_are_no_bearer(agent: Agent) -> None:
    head = f"POST {urlsplit(agent.url).path} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n".encode()
    answer = await raw(agent, head + b"Authorization: Bearer \xff\xfe\r\nContent-Length: 2\r\n\r\n{}")
    assert answer == b"HTTP/1.1 404 Not Found\r\n"


@pytest.mark.parametrize("secret", [b"\xff\xfe", b"%ff%fe", b"\xed\xa0\xbd", b"%00"])
async def test_bytes_that_are_no_text_are_no_secret(agent: Agent, secret: bytes) -> None:
    answer = await raw(agent, b"POST /t/" + secret + b"/mcp HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
    assert answer.split()[1] in {b"404", b"400"}


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1", "http://localhost:3000", "null", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_any_origin_is_refused(agent: Agent, server: Server, origin: str, method: str) -> None:
    headers = {**agent.headers, "Origin": origin}
    async with agent.http.request(method, agent.url, json=call(), headers=headers) as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert server.made.empty()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "[::1]:80", ""]
)
async def test_a_foreign_host_is_refused(agent: Agent, server: Server, host: str) -> None:
    async with agent.send(call(), {"Host": host}) as response:
        assert response.status == 403
    assert server.made.empty()


async def test_no_host_is_a_foreign_one(agent: Agent) -> None:
    bearer = agent.headers["Authorization"]
    head = f"POST {urlsplit(agent.url).path} HTTP/1.0\r\nAuthorization: {bearer}\r\n\r\n"
    assert b"403" in await raw(agent, head.encode())


async def test_the_port_listens_on_the_loopback_alone(agent: Agent) -> None:
    port = urlsplit(agent.url).port
    with pytest.raises(OSError):  # noqa: PT011 — refused, or no such address family
        await asyncio.open_connection("::1", port)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_another_method_is_not_allowed(agent: Agent, method: str) -> None:
    async with agent.http.request(method, agent.url, headers=agent.headers) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "DELETE,GET,POST"


# Short answers


async def test_a_session_is_begun(agent: Agent) -> None:
    async with agent.send(request("initialize", protocolVersion="2025-06-18")) as response:
        assert response.status == 200
        assert len(response.headers["Mcp-Session-Id"]) == 32
        assert (await response.json())["result"]["protocolVersion"] == "2025-06-18"


async def test_every_connection_gets_an_id_of_its_own(agent: Agent) -> None:
    ids = set()
    for _ in range(3):
        async with agent.send(request("initialize")) as response:
            ids.add(response.headers["Mcp-Session-Id"])
    assert len(ids) == 3


async def test_only_the_beginning_of_a_session_names_one(agent: Agent) -> None:
    async with agent.send(request("ping")) as response:
        assert "Mcp-Session-Id" not in response.headers


async def test_the_tools_are_listed(agent: Agent) -> None:
    answer = await agent.ask("tools/list")
    assert answer["result"]["tools"] == ToolSet([WEATHER]).offered()


async def test_a_ping_is_answered(agent: Agent) -> None:
    assert (await agent.ask("ping"))["result"] == {}


async def test_an_unknown_method_is_refused(agent: Agent) -> None:
    assert (await agent.ask("server/discover"))["error"]["code"] == -32601


async def test_an_unknown_tool_is_refused(agent: Agent) -> None:
    assert (await agent.ask("tools/call", name="nope"))["error"]["code"] == -32602


@pytest.mark.parametrize(
    "message", [{"method": "notifications/initialized"}, {"id": 5, "result": {}}, cancelled(1)]
)
async def test_what_is_no_request_is_accepted_without_an_answer(agent: Agent, message: Any) -> None:
    async with agent.send(message) as response:
        assert response.status == 202
        assert await response.read() == b""


@pytest.mark.parametrize("body", [b"", b"{", b"hello", b"\xff", b"[" * 100_000, b"1" * 5000])
async def test_what_is_no_json_is_a_bad_request(agent: Agent, body: bytes) -> None:
    async with agent.send(body) as response:
        assert response.status == 400


async def test_a_message_that_is_too_large_is_refused(agent: Agent) -> None:
    async with agent.send(b" " * (bridge_module.MAX_MESSAGE + 1)) as response:
        assert response.status == 413


async def test_a_large_message_is_taken(agent: Agent) -> None:
    message = json.dumps(request("ping")).encode()
    async with agent.send(message + b" " * (bridge_module.MAX_MESSAGE - len(message))) as response:
        assert (await response.json())["result"] == {}


async def test_a_message_that_does_not_come_is_given_up(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "MESSAGE_TIMEOUT_S", 0.05)
    bearer = agent.headers["Authorization"]
    head = f"POST {urlsplit(agent.url).path} HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: {bearer}\r\n"
    assert b"408" in await raw(agent, f"{head}Content-Length: 5\r\n\r\n{{".encode())


async def test_the_tools_count_as_listed_once_the_list_is_sent(
    agent: Agent, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.ask("initialize")
    await agent.ask("ping")
    assert not server.endpoint.listed.is_set()
    sending, may_send = asyncio.Event(), asyncio.Event()
    write_eof = web.Response.write_eof

    async def slow(response: web.Response, data: bytes = b"") -> None:
        sending.set()
        await may_send.wait()
        await write_eof(response, data)

    monkeypatch.setattr(web.Response, "write_eof", slow)
    asking = asyncio.create_task(agent.ask("tools/list"))
    await sending.wait()
    assert not server.endpoint.listed.is_set()
    may_send.set()
    await asking
    assert server.endpoint.listed.is_set()


async def test_an_agent_that_hangs_up_before_the_list_has_not_heard_it(
    agent: Agent, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, ended = asyncio.Event(), asyncio.Event()

    async def stuck(response: web.Response, data: bytes = b"") -> None:
        del response, data
        sending.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(web.Response, "write_eof", stuck)
    asking = asyncio.create_task(agent.ask("tools/list"))
    await sending.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert not server.endpoint.listed.is_set()


# Calls


async def test_a_call_is_a_stream_that_is_open_at_once_and_ends_with_the_result(
    agent: Agent, server: Server
) -> None:
    async with agent.send(call("abc")) as response:
        told = events(response)
        assert await anext(told) == ": open"
        made = await soon(server.made)
        assert (made.tool, made.arguments) == (WEATHER, {"city": "Paris"})
        made.answer(ToolResult("sunny\n\ndata: not a new event"))
        rest = [message async for message in told]
    assert rest == [
        {
            "jsonrpc": "2.0",
            "id": "abc",
            "result": {
                "content": [{"type": "text", "text": "sunny\n\ndata: not a new event"}],
                "isError": False,
            },
        }
    ]
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    await until(lambda: not server.endpoint._calls)
    assert server.lost.empty()


async def test_a_call_tells_its_progress_to_the_token(
    agent: Agent, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    async with agent.send(call(progressToken="t")) as response:
        told = events(response)
        assert await anext(told) == ": open"
        notices = [await anext(told), await anext(told)]
        (await soon(server.made)).answer(ToolResult("sunny"))
        rest = [message async for message in told]
    assert [notice["params"]["progress"] for notice in notices] == [1, 2]
    assert {notice["method"] for notice in notices} == {"notifications/progress"}
    assert {notice["params"]["progressToken"] for notice in notices} == {"t"}
    assert text_of(rest[-1]) == "sunny"


async def test_a_call_without_a_token_tells_comments(
    agent: Agent, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    async with agent.send(call()) as response:
        told = events(response)
        assert [await anext(told) for _ in range(3)] == [": open", ": still here", ": still here"]
        (await soon(server.made)).answer(ToolResult("sunny"))
        rest = [message async for message in told]
    assert text_of(rest[-1]) == "sunny"


async def test_a_large_result_arrives_whole(agent: Agent, server: Server) -> None:
    text = "ö\u2028\U0001f600\\" * 500_000
    async with agent.send(call()) as response:
        (await soon(server.made)).answer(ToolResult(text))
        body = await response.read()
    *_, data = body.decode().strip().split("\n\n")
    assert text_of(json.loads(data.removeprefix("data: "))) == text


async def test_half_an_emoji_in_a_result_breaks_nothing(agent: Agent, server: Server) -> None:
    async with agent.send(call()) as response:
        (await soon(server.made)).answer(ToolResult("\ud83d"))
        assert [text_of(message) async for message in events(response) if message != ": open"] == ["\ud83d"]


async def test_an_agent_that_hangs_up_loses_its_call(agent: Agent, server: Server) -> None:
    async with agent.send(call()) as response:
        made = await soon(server.made)
        response.close()
        assert await soon(server.lost) is made
    assert server.endpoint.open_calls == 0
    assert not server.endpoint._calls


async def test_an_agent_that_hangs_up_after_the_result_has_lost_nothing(agent: Agent, server: Server) -> None:
    async with agent.send(call()) as response:
        made = await soon(server.made)
        made.answer(ToolResult("sunny"))
        response.close()
    await until(lambda: not server.endpoint._calls)
    assert server.lost.empty()


async def test_a_cancelled_call_is_lost_and_its_stream_ends(agent: Agent, server: Server) -> None:
    async with agent.send(call(7)) as response:
        made = await soon(server.made)
        async with agent.send(cancelled(7)) as accepted:
            assert accepted.status == 202
        assert await soon(server.lost) is made
        *_, last = [message async for message in events(response)]
    assert last["error"]["code"] == -32800
    assert server.lost.empty()


async def test_cancelling_an_answered_or_unknown_call_changes_nothing(agent: Agent, server: Server) -> None:
    async with agent.send(call(1)) as response:
        (await soon(server.made)).answer(ToolResult("sunny"))
        await response.read()
    async with agent.send(call(2)) as response:
        made = await soon(server.made)
        for request_id in (1, 3, "2", None):
            async with agent.send(cancelled(request_id)) as accepted:
                assert accepted.status == 202
        assert server.lost.empty()
        assert not made.answered
        made.answer(ToolResult("rainy"))
        assert [text_of(message) async for message in events(response) if message != ": open"] == ["rainy"]


async def test_equal_ids_of_two_sessions_do_not_clash(agent: Agent, server: Server) -> None:
    one, two = {"Mcp-Session-Id": "one"}, {"Mcp-Session-Id": "two"}
    async with agent.send(call(1), one) as first:
        made_first = await soon(server.made)
        async with agent.send(call(1), two) as second:
            made_second = await soon(server.made)
            async with agent.send(cancelled(1), two):
                pass
            assert await soon(server.lost) is made_second
            await second.read()
        made_first.answer(ToolResult("for one"))
        assert [text_of(message) async for message in events(first) if message != ": open"] == ["for one"]


async def test_a_second_call_with_the_id_of_an_open_one_is_refused(agent: Agent, server: Server) -> None:
    async with agent.send(call(1)):
        await soon(server.made)
        async with agent.send(call(1)) as response:
            assert (await response.json())["error"]["code"] == -32600
        assert server.endpoint.open_calls == 1


async def test_many_calls_wait_together_and_are_answered_in_any_order(agent: Agent, server: Server) -> None:
    async def result(request_id: int) -> str:
        async with agent.send(call(request_id)) as response:
            (result,) = [text_of(message) async for message in events(response) if message != ": open"]
            return result

    results = [asyncio.create_task(result(number)) for number in range(20)]
    made = [await soon(server.made) for _ in results]
    for opened in reversed(made):
        opened.answer(ToolResult(str(opened._request_id)))
    assert await asyncio.gather(*results) == [str(number) for number in range(20)]


async def test_the_end_of_a_session_loses_its_calls_alone(agent: Agent, server: Server) -> None:
    mine = {"Mcp-Session-Id": "mine"}
    async with agent.send(call(1), mine) as response, agent.send(call(1)):
        await soon(server.made)
        await soon(server.made)
        async with agent.http.delete(agent.url, headers={**agent.headers, **mine}) as deleted:
            assert deleted.status == 200
        await soon(server.lost)
        *_, last = [message async for message in events(response)]
        assert "error" in last
        assert server.lost.empty()
        assert server.endpoint.open_calls == 1


# What is told unasked


async def test_a_listener_hears_of_other_tools_and_the_end(
    bridge: Bridge, agent: Agent, server: Server
) -> None:
    async with agent.listen() as response:
        told = events(response)
        assert await anext(told) == ": open"
        server.endpoint.offer(ToolSet([CLOCK]))
        assert await anext(told) == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        bridge.close(server.endpoint)
        assert [message async for message in told] == []


async def test_a_listener_to_whom_nothing_is_told_sees_signs_of_life(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "KEEP_ALIVE_S", 0.01)
    async with agent.listen() as response:
        told = events(response)
        assert [await anext(told) for _ in range(3)] == [": open", ": still here", ": still here"]


async def test_a_listener_that_hangs_up_is_forgotten(agent: Agent, server: Server) -> None:
    async with agent.listen() as response:
        assert await anext(events(response)) == ": open"
        assert len(server.endpoint._listeners) == 1
        response.close()
    await until(lambda: not server.endpoint._listeners)


# The end


async def test_closing_ends_all_that_is_open(bridge: Bridge, agent: Agent, server: Server) -> None:
    async with agent.send(call()) as calling, agent.listen() as listening:
        await soon(server.made)
        bridge.close(server.endpoint)
        *_, last = [message async for message in events(calling)]
        assert last["error"] == {"code": -32800, "message": "The server was closed."}
        assert [message async for message in events(listening)] == [": open"]
    async with agent.send(request("ping")) as response:
        assert response.status == 404
    assert server.lost.empty()
    assert len(bridge) == 0


async def test_closing_twice_or_what_was_never_open_is_no_harm(bridge: Bridge, server: Server) -> None:
    await bridge.open(server.endpoint, Transport.HTTP)
    bridge.close(server.endpoint)
    bridge.close(server.endpoint)
    bridge.close(Endpoint(ToolSet()))
    assert len(bridge) == 0


async def test_closing_one_leaves_the_others(bridge: Bridge, agent: Agent, server: Server) -> None:
    other = Server(ToolSet([CLOCK]))
    await bridge.open(other.endpoint, Transport.HTTP)
    bridge.close(other.endpoint)
    assert (await agent.ask("ping"))["result"] == {}
    assert server.endpoint.open_calls == 0


async def test_sessions_are_not_mixed(bridge: Bridge, agent: Agent, server: Server) -> None:
    other = Server(ToolSet([WEATHER]))
    second = Agent(agent.http, await bridge.open(other.endpoint, Transport.HTTP))
    async with agent.send(call(1)) as one, second.send(call(1)) as two:
        (await soon(server.made)).answer(ToolResult("one"))
        (await soon(other.made)).answer(ToolResult("two"))
        assert [text_of(message) async for message in events(one) if message != ": open"] == ["one"]
        assert [text_of(message) async for message in events(two) if message != ": open"] == ["two"]


@pytest.mark.parametrize("transport", list(Transport))
async def test_leaving_closes_every_endpoint(server: Server, transport: Transport) -> None:
    heard: list[Any] = []
    server.endpoint.listen(heard.append)
    async with Bridge() as bridge:
        await bridge.open(server.endpoint, transport)
        assert len(bridge) == 1
    assert heard == [None]
    assert len(bridge) == 0


async def test_leaving_ends_what_is_open_and_the_port(server: Server, http: aiohttp.ClientSession) -> None:
    async with Bridge() as bridge:
        agent = Agent(http, await bridge.open(server.endpoint, Transport.HTTP))
        calling = await agent.send(call())
        listening = await agent.listen()
        await soon(server.made)
    *_, last = [message async for message in events(calling)]
    assert last["error"]["message"] == "The server was closed."
    assert [message async for message in events(listening)] == [": open"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await agent.send(request("ping"))


async def test_leaving_does_not_wait_for_an_agent_that_reads_nothing(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with asyncio.timeout(PATIENCE_S), Bridge() as bridge:
        agent = Agent(http, await bridge.open(server.endpoint, Transport.HTTP))
        url, bearer, body = urlsplit(agent.url), agent.headers["Authorization"], json.dumps(call())
        _, writer = await asyncio.open_connection("127.0.0.1", url.port, limit=1)
        head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {bearer}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        (await soon(server.made)).answer(ToolResult("x" * 20_000_000))
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert server.lost.empty()


async def test_no_secret_is_ever_logged(
    bridge: Bridge, agent: Agent, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = urlsplit(agent.url).path.split("/")[2]
    bearer = agent.headers["Authorization"].removeprefix("Bearer ")
    await agent.ask("initialize")
    await agent.ask("tools/list")
    async with agent.send(call()) as response:
        await soon(server.made)
        response.close()
        await soon(server.lost)
    async with agent.send(b"{") as response:
        assert response.status == 400
    async with agent.send(request("ping"), {"Authorization": f"Bearer {bearer}x"}) as response:
        assert response.status == 404
    async with agent.send(request("ping"), {"Origin": "null"}) as response:
        assert response.status == 403
    for broken in (b"HTTP/9.9\r\n", b"HTTP/1.1\r\nno header\r\n", b"HTTP/1.1\r\nContent-Length: x\r\n"):
        head = b"POST " + urlsplit(agent.url).path.encode() + b" " + broken
        assert b"400" in await raw(agent, head + f"Authorization: Bearer {bearer}\r\n\r\n".encode())
    bridge.close(server.endpoint)
    shown = "\n".join(
        logging.Formatter("%(message)s").format(record) + repr(record.args) for record in caplog.records
    )
    assert secret not in shown
    assert bearer not in shown
