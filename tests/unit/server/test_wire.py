"""What a client library would hide: the bytes of the connection."""

from __future__ import annotations

import asyncio

import pytest

from cursorpipe_server.access import logger as access
from tests.unit.server.conftest import Client, MakeClient, ask

CHAT = "/v1/chat/completions"
STREAMED = b'{"messages":[{"role":"user","content":"x"}],"stream":true}'


async def exchange(client: Client, data: bytes) -> str:
    """Send ``data`` and return what comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


def post(version: str, *headers: str, body: bytes = STREAMED) -> bytes:
    lines = [f"POST {CHAT} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def access_line(caplog: pytest.LogCaptureFixture) -> str:
    """Return the server's line; aiohttp's own logger, on in tests, is off where the program serves."""
    (line,) = (record.getMessage() for record in caplog.records if record.name == access.name)
    return line


@pytest.mark.parametrize("asked", ["Connection: keep-alive", "Connection: close"])
async def test_a_stream_to_an_old_client_ends_with_its_connection(client: Client, asked: str) -> None:
    head, _, body = (await exchange(client, post("1.0", asked))).partition("\r\n\r\n")
    assert "chunked" not in head
    assert "keep-alive" not in head
    assert body.endswith("data: [DONE]\n\n")


async def test_a_stream_closes_the_connection_of_a_client_that_asks_for_it(client: Client) -> None:
    head, _, body = (await exchange(client, post("1.1", "Connection: close"))).partition("\r\n\r\n")
    assert "Connection: close" in head
    assert body.endswith("0\r\n\r\n")


async def test_a_body_that_is_not_encoded_as_it_says_is_the_callers_mistake(client: Client) -> None:
    answer = await exchange(client, post("1.1", "Connection: close", "Content-Encoding: gzip"))
    assert answer.startswith("HTTP/1.1 400 ")
    assert '"type": "invalid_request_error"' in answer


async def test_a_path_cannot_forge_a_line_of_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await exchange(client, b"GET /x%0d%0aforged HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert access_line(caplog).isprintable()


async def test_the_query_is_not_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await client.get("/health?token=hidden")
    assert "/health 200" in access_line(caplog)
    assert "hidden" not in access_line(caplog)


async def test_two_different_keys_are_no_key(make_client: MakeClient) -> None:
    client = await make_client(bearer_token="good")
    for bearer, key, status in (("good", "bad", 401), ("bad", "good", 401), ("good", "good", 200)):
        headers = {"Authorization": f"Bearer {bearer}", "x-api-key": key}
        assert (await client.post(CHAT, json=ask(), headers=headers)).status == status


async def test_usage_is_in_the_headers_of_whole_answers_only(client: Client) -> None:
    assert "x-cursorpipe-usage" in (await client.post(CHAT, json=ask())).headers
    # However short: whether a header is there must not depend on how fast the agent was.
    assert "x-cursorpipe-usage" not in (await client.post(CHAT, json=ask(stream=True))).headers
