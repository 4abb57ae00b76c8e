"""What no client library sends: each is answered in the envelope, and the server serves on.

What is odd but legal is answered like anything else; the tests' names say which is which.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from cursorpipe_server import bounds, protocol
from cursorpipe_server.body import MAX_DEPTH
from cursorpipe_server.chat.schemas import MAX_MESSAGES
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer
from tests.integration.program import Start
from tests.integration.wire import Answer, Wire, connect, get, post, post_head, question
from tests.waiting import until

MEBIBYTE = 1024 * 1024
SLOW = "[[demo:slow-chunks count=20 ms=50]]"
ENDLESS = "[[demo:slow-chunks count=400 ms=25]]"
#: Nothing for longer than any test waits.
PAUSE = "[[demo:markers marker=m count=1 ms=60000]]"
#: What the house promises between a client's leaving and the agent's hearing of it.
WITHIN_S = 1.0

#: Values that cannot be meant, by the field of a request and of a message.
WRONG: dict[str, list[Any]] = {
    "messages": ["x", 1, {}, [None], ["x"], [[]], [{}], [{"role": "user"}], [{"content": "x"}]],
    "model": [1, [], {}, True],
    "stream": ["maybe", [], {}, 2],
    "stream_options": ["x", 1, [], {"include_usage": []}],
}
WRONG_IN_MESSAGE: dict[str, list[Any]] = {
    "role": [None, 1, [], {}, "", "USER", "root"],
    "content": [None, 1, {}, True, [1], [None], [[]], [{}], [{"type": "text", "text": 1}]],
    "name": [1, [], {}],
}


@pytest.fixture
async def client(serve: Serve, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Client]:
    """Start a server that must be alive in the end, and must not have logged a fault."""
    caplog.set_level(logging.INFO)
    client = await serve(strategy="acp")
    yield client
    assert "still here" in await answer(client, "still here")
    faults = [record for record in caplog.records if record.levelno > logging.INFO or record.exc_info]
    assert not faults


def wire(client: Client) -> contextlib.AbstractAsyncContextManager[Wire]:
    return connect(client.host, client.port)


async def exchange(client: Client, *data: bytes) -> Answer:
    """Send, and return the first answer."""
    async with wire(client) as connection:
        connection.send(*data)
        return await connection.answer()


def chat(**fields: Any) -> bytes:
    """Return a body of which one thing or another is wrong."""
    return json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def said(text: bytes, more: bytes = b"") -> bytes:
    return b'{"messages":[{"role":"user","content":"%s"}]%s}' % (text, more)


BODIES = {
    "nothing": b"",
    "no JSON": b"hello",
    "half of JSON": question()[:-3],
    "two values": question() + question(),
    "single quotes": b"{'messages': []}",
    "a trailing comma": b'{"messages":[{"role":"user","content":"x"}],}',
    "a byte order mark": b"\xef\xbb\xbf" + question(),
    "UTF-16": question().decode().encode("utf-16"),
    "a NUL unescaped": said(b"a\x00b"),
    "invalid UTF-8": said(b"\xff\xfe"),
    "overlong UTF-8": said(b"\xc0\xaf"),
    "an encoded surrogate": said(b"\xed\xa0\x80"),
    "half of a surrogate pair": said(b"\\ud800"),
    "a surrogate pair in the wrong order": said(b"\\udc00\\ud800"),
    "a float beyond floats": said(b"x", b',"temperature":1e400'),
    "an integer beyond floats": said(b"x", b',"max_tokens":1' + b"0" * 400),
    "not a number": said(b"x", b',"temperature":NaN'),
    "infinity": said(b"x", b',"temperature":-Infinity'),
    "deeper than is read": said(b"x", b',"tools":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
    "depth 1000": said(b"x", b',"tools":' + b"[" * 1000 + b"]" * 1000),
    "depth 1000 of objects": said(b"x", b',"tools":' + b'{"a":' * 1000 + b"1" + b"}" * 1000),
    "depth that never ends": b"[" * MEBIBYTE,
    **{f"a body that is {body.decode()}": body for body in (b"null", b"1", b'"x"', b"[]", b"{}", b"true")},
    "no messages": chat(messages=None),
    "empty messages": chat(messages=[]),
    "one message more than is read": chat(messages=[{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1)),
    "a NUL in the model": chat(model="a\x00b"),
    "a header in the model": chat(model="auto\r\nSet-Cookie: a=b"),
    **{f"{field} of {value!r}": chat(**{field: value}) for field in WRONG for value in WRONG[field]},
    **{
        f"a message with {field} of {value!r}": chat(
            messages=[{"role": "user", "content": "x", field: value}]
        )
        for field in WRONG_IN_MESSAGE
        for value in WRONG_IN_MESSAGE[field]
    },
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_cannot_be_meant_is_400(client: Client, body: bytes) -> None:
    async with wire(client) as connection:
        connection.send(post(body))
        refusal = await connection.answer()
        assert refusal.status == 400, refusal.body
        assert refusal.error
        assert refusal.headers["x-request-id"].startswith("req_")
        connection.send(get("/health"))
        assert (await connection.answer()).status == 200, "the connection is as good as before"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"messages":[],' + question()[1:], id="of two equal keys the last counts"),
        pytest.param(said(b"a\\u0000b"), id="an escaped NUL is text"),
        pytest.param(said(b"\\ud83d\\ude00 \\uffff \\u202e"), id="any code point is text"),
        pytest.param(said(b"x", b',"unknown":1' + b"0" * 30), id="a large number that is not looked at"),
        pytest.param(
            said(b"x", b',"unknown":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)), id="the last depth"
        ),
        pytest.param(
            chat(messages=[{"role": "user", "content": "x"}] * MAX_MESSAGES),
            id="as many messages as are read",
        ),
    ],
)
@pytest.mark.parametrize("model", [b"auto", b"composer-2.5"])
async def test_a_body_that_is_odd_but_legal_is_answered(serve: Serve, body: bytes, model: bytes) -> None:
    client = await serve()
    served = await exchange(client, post(b'{"model":"%s",' % model + body[1:]))
    assert served.status == 200, served.body
    assert json.loads(served.body)["choices"][0]["message"]["content"]


HEALTH = "/health"
NO_HTTP = {
    "a word": b"nonsense\r\n\r\n",
    "binary": bytes(range(256)),
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a later version": get(HEALTH, version="3.7"),
    "an unknown method": get(HEALTH).replace(b"GET", b"FROB"),
    "a method in small letters": get(HEALTH).replace(b"GET", b"get"),
    "line feeds alone": get(HEALTH).replace(b"\r\n", b"\n"),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": get(HEALTH, "Host: other"),
    "a header without a colon": get(HEALTH, "bad header"),
    "a space before the colon": get(HEALTH, "X : a"),
    "a folded header": get(HEALTH, "X: a", " b"),
    "a NUL in a header": get(HEALTH, "X: a\x00b"),
    "a carriage return in a header": get(HEALTH, "X: a\rSet-Cookie: b"),
    "an escape in a header": get(HEALTH, "X: \x1b[2J"),
    "a space in the URL": get("/hea lth"),
    "raw bytes in the URL": get("/v1/models/\xff"),
    "a host that is none": get("http://[::1"),
    "a port that is none": get("http://a:99999999/"),
    "a length below zero": post_head("Content-Length: -3"),
    "a length that is no number": post_head("Content-Length: 3x"),
    "a length beyond numbers": post_head("Content-Length: " + "9" * 40),
    "two lengths": post_head("Content-Length: 3", "Content-Length: 4"),
    "a length beside chunks": post_head("Content-Length: 3", "Transfer-Encoding: chunked"),
    "another transfer encoding": post_head("Transfer-Encoding: gzip"),
    "a chunk without a size": post_head("Transfer-Encoding: chunked") + b"zz\r\n",
    "a chunk that is longer than it says": post_head("Transfer-Encoding: chunked") + b"1\r\nabc\r\n",
}


@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_no_http_is_400_and_the_end_of_the_connection(
    client: Client, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    async with wire(client) as connection:
        connection.send(data)
        refusal = await connection.answer()
        assert refusal.status == 400
        assert refusal.error["code"] == "malformed_request"
        assert refusal.error["message"].isprintable()
        assert refusal.headers["connection"] == "close"
        assert refusal.headers["x-request-id"].startswith("req_")
        assert await connection.closed() == b""
    (line,) = [record.getMessage() for record in caplog.records if record.name == protocol.logger.name]
    assert line.isprintable()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (get("/" + "a" * protocol.MAX_URL), 414, "uri_too_long"),
        (get(HEALTH, "X: " + "a" * (protocol.MAX_HEADER + 1)), 431, "header_too_large"),
        (get(HEALTH, "X" * (protocol.MAX_HEADER + 1) + ": a"), 431, "header_too_large"),
        (get(HEALTH, *["X: a"] * 1000), 431, "header_too_large"),
        (post(question(), "Content-Encoding: frob"), 415, "unsupported_media_type"),
        (post(question(), "Content-Encoding: br"), 415, "unsupported_media_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_head_beyond_what_is_read_is_refused_by_its_name(
    client: Client, data: bytes, status: int, code: str
) -> None:
    refusal = await exchange(client, data)
    assert (refusal.status, refusal.error["code"]) == (status, code)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (get("/nowhere"), 404, "unknown_url"),
        (get("/v1/chat/completions/../../../etc/passwd"), 404, "unknown_url"),
        (get("//" + "x/" * 1000), 404, "unknown_url"),
        (get("/v1/models/%00%ff"), 404, "model_not_found"),
        (get("/v1/models/%0d%0aSet-Cookie:%20a=b"), 404, "unknown_url"),
        (get(CHAT), 405, "method_not_allowed"),
        (get(HEALTH).replace(b"GET", b"DELETE"), 405, "method_not_allowed"),
        (get(HEALTH).replace(b"GET", b"TRACE"), 405, "method_not_allowed"),
        (b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n", 404, "unknown_url"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404, "unknown_url"),
        (post(question()).replace(b"application/json", b"text/plain"), 415, "unsupported_media_type"),
        (
            post(question()).replace(b"application/json", b"application/jso\xff"),
            415,
            "unsupported_media_type",
        ),
        (post(question()).replace(b"application/json", b""), 415, "unsupported_media_type"),
        (post(question(), "Content-Encoding: gzip"), 400, "invalid_value"),
    ],
)
async def test_a_request_for_what_there_is_not_is_refused_by_its_name(
    client: Client, data: bytes, status: int, code: str
) -> None:
    refusal = await exchange(client, data)
    assert (refusal.status, refusal.error["code"]) == (status, code)
    assert refusal.headers["x-request-id"].startswith("req_")
    assert "set-cookie" not in refusal.headers


@pytest.mark.parametrize(
    "data",
    [
        post(question(), "Expect: miracles"),
        get(HEALTH, "Expect: miracles"),
        get("/nowhere", "Expect: miracles"),
        get(CHAT, "Expect: miracles"),
    ],
)
async def test_an_expectation_that_cannot_be_met_is_417(client: Client, data: bytes) -> None:
    refusal = await exchange(client, data)
    assert (refusal.status, refusal.error["code"]) == (417, "expectation_failed")
    assert refusal.headers["x-request-id"].startswith("req_")


async def test_an_id_that_could_be_something_else_is_not_repeated(client: Client) -> None:
    for given in ("a b", "\xff", "x" * 129, ""):
        served = await exchange(client, get(HEALTH, f"x-request-id: {given}"))
        assert served.headers["x-request-id"].startswith("req_")


async def test_a_body_of_forty_megabytes_is_413_though_it_comes_whole(client: Client) -> None:
    async with wire(client) as connection:
        connection.send(post(said(b"x" * (40 * MEBIBYTE))))
        refusal = await connection.answer()
        assert (refusal.status, refusal.error["code"]) == (413, "request_too_large")


async def test_a_body_of_ten_gigabytes_is_413_before_it_comes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "HANG_UP_AFTER_S", 0.05)
    async with wire(client) as connection:
        connection.send(post_head("Content-Length: 10000000000"))
        refusal = await connection.answer()
        assert (refusal.status, refusal.error["code"]) == (413, "request_too_large")
        assert refusal.headers["connection"] == "close"
        assert await connection.closed() == b""


async def test_half_a_body_and_then_silence_is_408(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BODY_SILENCE_S", 0.2)
    monkeypatch.setattr(bounds, "HANG_UP_AFTER_S", 0.05)
    async with wire(client) as connection:
        connection.send(post(question()[:-5], length=len(question())))
        refusal = await connection.answer()
        assert (refusal.status, refusal.error["code"]) == (408, "request_timeout")
        assert refusal.headers["connection"] == "close"
        assert await connection.closed() == b""


async def test_a_body_that_trickles_for_ever_is_408(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BODY_TIMEOUT_S", 0.3)
    async with wire(client) as connection:
        connection.send(post_head("Content-Length: 100000"))
        refusal = asyncio.create_task(connection.answer())
        while not refusal.done():
            connection.send(b" ")
            await asyncio.wait({refusal}, timeout=0.02)
        assert (await refusal).error["code"] == "request_timeout"


@pytest.mark.parametrize("trickle", [b"", b"X"])
@pytest.mark.parametrize("before", [b"", get(HEALTH)], ids=["the first", "a later one"])
async def test_a_head_that_never_ends_is_408(
    client: Client, monkeypatch: pytest.MonkeyPatch, before: bytes, trickle: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    async with wire(client) as connection:
        if before:
            connection.send(before)
            assert (await connection.answer()).status == 200
        connection.send(b"GET /health HTTP/1.1\r\nHost: x\r\nX")
        refusal = asyncio.create_task(connection.answer())
        while not refusal.done():
            connection.send(trickle)
            await asyncio.wait({refusal}, timeout=0.02)
        assert (await refusal).error["code"] == "request_timeout"
        assert await connection.closed() == b""


async def test_a_connection_that_rests_between_two_requests_is_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)
    async with wire(client) as connection:
        for _ in range(3):
            connection.send(get(HEALTH))
            assert (await connection.answer()).status == 200
            await asyncio.sleep(0.1)


async def test_a_chunk_that_is_broken_while_the_body_is_waited_for_is_one_400(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire(client) as connection:
        connection.send(post_head("Transfer-Encoding: chunked", "Expect: 100-continue"))
        assert b"100 Continue" in await connection.reader.readuntil(b"\r\n\r\n")
        connection.send(b"3\r\nabc\r\nzz\r\n")
        refusal = await connection.answer()
        assert refusal.status == 400
        assert refusal.error
        connection.send(b"zz\r\n")
        # What is sent to a connection that has been closed by now resets it.
        with contextlib.suppress(ConnectionResetError):
            assert await connection.closed() == b""
    assert "Traceback" not in caplog.text


async def test_requests_sent_at_once_are_answered_in_their_order(client: Client) -> None:
    async with wire(client) as connection:
        connection.send(get(HEALTH), post(question("the second")), get("/nowhere"), get(HEALTH))
        answers = [await connection.answer() for _ in range(4)]
    assert [served.status for served in answers] == [200, 200, 404, 200]
    assert b"the second" in answers[1].body


async def test_a_hundred_requests_sent_at_once_are_all_answered(client: Client) -> None:
    async with wire(client) as connection:
        connection.send(*[get(HEALTH)] * 100)
        assert [(await connection.answer()).status for _ in range(100)] == [200] * 100


async def test_nonsense_behind_a_request_is_refused_after_it(client: Client) -> None:
    async with wire(client) as connection:
        connection.send(get(HEALTH))
        assert (await connection.answer()).status == 200
        connection.send(b"nonsense\r\n\r\n")
        assert (await connection.answer()).error["code"] == "malformed_request"


@pytest.mark.parametrize("stream", [False, True])
async def test_http_1_0_is_answered_and_ends_with_its_connection(client: Client, stream: bool) -> None:
    async with wire(client) as connection:
        connection.send(post(question("oldish", stream=stream), version="1.0"))
        served = await connection.answer()
        assert served.status == 200
        assert b"oldish" in served.body
        assert await connection.closed() == b""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_says_no_more_gets_its_whole_answer(client: Client, stream: bool) -> None:
    async with wire(client) as connection:
        connection.send(post(question(SLOW, stream=stream)))
        connection.end()
        served = await connection.answer()
        assert served.status == 200
        assert b"word-1 " in served.body
        assert b"word-20" in served.body
        assert served.body.endswith(b"data: [DONE]\n\n") is stream
        assert await connection.closed() == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("path", [HEALTH, "/v1/models", "/nowhere"])
async def test_a_short_answer_reaches_who_says_no_more_as_it_is(
    client: Client, version: str, path: str
) -> None:
    async with client.get(path):
        pass  # the list of models is short once it is known; to ask the CLI takes as long as it takes
    async with wire(client) as connection:
        connection.send(get(path, version=version))
        connection.end()
        served = await connection.answer()
        assert served.status == (404 if path == "/nowhere" else 200)
        assert await connection.closed() == b""


async def test_all_requests_sent_before_the_end_are_answered(client: Client) -> None:
    async with wire(client) as connection:
        connection.send(get(HEALTH), post(question(SLOW)), get("/nowhere"))
        connection.end()
        assert [(await connection.answer()).status for _ in range(3)] == [200, 200, 404]
        assert await connection.closed() == b""


@pytest.mark.parametrize(
    "data",
    [
        post(question()[:-5], length=len(question())),
        post_head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n",
        post_head("Content-Length: 3"),
        get(HEALTH)[:-2],
        b"GET",
    ],
)
async def test_a_request_that_ends_before_its_end_is_400(client: Client, data: bytes) -> None:
    async with wire(client) as connection:
        connection.send(data)
        connection.end()
        refusal = await connection.answer()
        assert refusal.status == 400
        assert refusal.error
        assert await connection.closed() == b""


async def test_a_connection_that_says_nothing_is_ended_without_a_word(client: Client) -> None:
    async with wire(client) as connection:
        connection.end()
        assert await connection.closed() == b""


def hang_up(connection: Wire) -> None:
    """Leave in order: the end of what is sent, and nobody who reads."""
    connection.writer.close()


def reset(connection: Wire) -> None:
    """Leave at once, as a process that dies with data unread."""
    connection.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    connection.writer.transport.abort()


@pytest.mark.parametrize("leave", [hang_up, reset])
@pytest.mark.parametrize("says_end", [False, True], ids=["at once", "after it has said no more"])
@pytest.mark.parametrize("prompt", [ENDLESS, PAUSE], ids=["words", "silence"])
@pytest.mark.parametrize(("version", "stream"), [("1.1", False), ("1.1", True), ("1.0", False)])
async def test_a_client_that_leaves_is_told_from_one_that_says_no_more(
    serve: Serve,
    agent: DemoAgent,
    version: str,
    stream: bool,
    prompt: str,
    says_end: bool,
    leave: Callable[[Wire], None],
) -> None:
    # Longer than the promise: what the stream says by itself to keep alive must not be what finds it out.
    client = await serve(strategy="acp", server={"keepalive_s": 1.3})
    async with wire(client) as connection:
        connection.send(post(question(prompt, stream=stream), version=version))
        if says_end:
            connection.end()
        await agent.wait_for("prompt")
        if stream:
            await connection.reader.readuntil(b"\n\n")
        leave(connection)
        await until(lambda: agent.events("received", method="session/cancel"), WITHIN_S)
    assert "still here" in await answer(client, "still here")
    assert len(agent.starts("acp")) == 1


async def test_the_program_itself_does_all_this(start: Start, agent: DemoAgent) -> None:
    program = await start("--demo", "--port", "0")
    url = urlsplit(await program.url())
    assert url.hostname is not None

    def there() -> contextlib.AbstractAsyncContextManager[Wire]:
        return connect(url.hostname or "", url.port)

    async with there() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert (await connection.answer()).error["code"] == "malformed_request"
    async with there() as connection:
        connection.send(get(HEALTH)[:-2])
        connection.end()
        assert (await connection.answer()).error["code"] == "malformed_request"
    async with there() as connection:
        connection.send(post(question(SLOW)))
        connection.end()
        assert b"word-20" in (await connection.answer()).body
    async with there() as connection:
        connection.send(post(question("[[demo:silent-prompt]]")))
        await agent.wait_for("prompt", count=2)
    await until(lambda: agent.events("received", method="session/cancel"), WITHIN_S)
    assert "Traceback" not in program.complaint
    assert "ERROR" not in program.complaint
