"""The bounds of a request's body: its size, its depth, its text."""

from __future__ import annotations

import asyncio
import io

import pytest

from cursorpipe_server import body as body_module
from cursorpipe_server import bounds
from cursorpipe_server.body import MAX_DEPTH
from tests.unit.server.conftest import Client, MakeClient, ScriptedRouter

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
MEBIBYTE = 1024 * 1024
#: Far less than the ten seconds for which aiohttp would take the rest of a body.
SOON_S = 3.0


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return await make_client(max_body_mb=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HANG_UP_AFTER_S", 0.05)


def head(*headers: str, path: str = CHAT) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def until_closed(client: Client, *sent: bytes) -> str:
    """Send, and keep the connection open; returns what comes until the server closes it."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        writer.writelines(sent)
        async with asyncio.timeout(SOON_S):
            return (await reader.read()).decode()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@pytest.mark.parametrize("path", [CHAT, "/health", "/nowhere"])
async def test_a_body_that_is_declared_too_large_is_not_waited_for(
    client: Client, router: ScriptedRouter, path: str
) -> None:
    answer = await until_closed(client, head("Content-Length: 10000000000", path=path), b'{"messages"')
    assert answer.startswith("HTTP/1.1 413 ")
    assert "Connection: close" in answer
    assert '"code": "request_too_large"' in answer
    assert "x-request-id: req_" in answer
    assert not router.asked


async def test_an_endless_body_is_cut(client: Client) -> None:
    chunk = b"%x\r\n%s\r\n" % (MEBIBYTE, b" " * MEBIBYTE)
    answer = await until_closed(client, head("Transfer-Encoding: chunked"), chunk, chunk)
    assert answer.startswith("HTTP/1.1 413 ")


async def test_a_client_that_asks_first_is_told_not_to_send_it(client: Client) -> None:
    answer = await until_closed(client, head("Content-Length: 10000000000", "Expect: 100-continue"))
    assert answer.startswith("HTTP/1.1 413 ")


async def test_a_body_that_fits_is_invited_and_served(client: Client) -> None:
    data = b'{"messages":[{"role":"user","content":"x"}]}'
    headers = (f"Content-Length: {len(data)}", "Expect: 100-Continue", "Connection: close")
    answer = await until_closed(client, head(*headers), data)
    assert answer.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


@pytest.mark.parametrize(("size", "status"), [(MEBIBYTE, 200), (MEBIBYTE + 1, 413)])
async def test_the_limit_is_the_last_size_that_passes(client: Client, size: int, status: int) -> None:
    empty = b'{"messages":[{"role":"user","content":""}]}'
    data = empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')
    assert len(data) == size
    assert (await client.post(CHAT, data=io.BytesIO(data), headers=JSON)).status == status


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """A body with something in it that makes it as deep; the body itself is one of the levels."""
    deep = opening * (levels - 1) + "0" + closing * (levels - 1)
    return f'{{"messages":[{{"role":"user","content":"x"}}],"unknown":{deep}}}'.encode()


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(
    ("levels", "status"), [(MAX_DEPTH, 200), (MAX_DEPTH + 1, 400), (1000, 400), (100_000, 400)]
)
async def test_a_body_can_be_so_deep_and_no_deeper(
    client: Client, levels: int, status: int, brackets: tuple[str, str]
) -> None:
    async with client.post(CHAT, data=nested(levels, *brackets), headers=JSON) as response:
        assert response.status == status
        if status == 400:
            assert f"nested deeper than {MAX_DEPTH} levels" in (await response.json())["error"]["message"]


async def test_brackets_in_a_text_are_no_levels(client: Client) -> None:
    data = b'{"messages":[{"role":"user","content":"%s"}]}' % (b"[{" * 1000)
    assert (await client.post(CHAT, data=data, headers=JSON)).status == 200


@pytest.mark.parametrize("wide", [[[]] * 1000, [{"a": {}}] * 1000, {str(key): [] for key in range(1000)}])
def test_what_is_wide_is_not_deep(wide: object) -> None:
    assert not body_module._is_deeper(wide, 3)
    assert body_module._is_deeper([[[wide]]], 3)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"\\ud800", 400),  # half of a pair
        (b"\\udc00\\ud800", 400),
        (b"\xed\xa0\x80", 400),  # the same, encoded
        (b"\xff", 400),
        (b"\xc0\x80", 400),
        (b"\x00", 400),  # JSON wants it escaped
        (b"\\u0000", 200),
        (b"\\uffff\\u202e", 200),
        (b"\\ud83d\\ude00", 200),
        (b"\xf0\x9f\x98\x80", 200),
    ],
)
@pytest.mark.parametrize("place", [b'"content":"%s"', b'"name":"%s","content":""', b'"%s":1,"content":""'])
@pytest.mark.parametrize("stream", [b"true", b"false"])
async def test_text_of_any_kind_is_taken_or_refused_and_never_a_fault(
    client: Client, text: bytes, status: int, place: bytes, stream: bytes
) -> None:
    data = b'{"stream":%s,"messages":[{"role":"user",%s}]}' % (stream, place % text)
    async with client.post(CHAT, data=data, headers=JSON) as response:
        assert response.status == status
        if status == 400:
            assert (await response.json())["error"]["type"] == "invalid_request_error"
