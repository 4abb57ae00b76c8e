"""A client that hides nothing: bytes there, bytes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from tests.integration.conftest import CHAT, ask
from tests.waiting import PATIENCE_S

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class Answer:
    """One answer as it was on the wire; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error, which is held to the envelope."""
        assert self.headers["content-type"].startswith("application/json"), self
        body = json.loads(self.body)
        assert body.keys() == {"error"}
        error: dict[str, Any] = body["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        assert error["type"] == "invalid_request_error"
        assert isinstance(error["code"], str)
        return error


class Wire:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *data: bytes) -> None:
        self.writer.writelines(data)

    def end(self) -> None:
        """Send no more; what comes is still read."""
        self.writer.write_eof()

    async def answer(self) -> Answer:
        """Return the next answer, passing over what is sent before it."""
        async with asyncio.timeout(PATIENCE_S):
            head = CONTINUE
            while head.startswith(CONTINUE):
                head = await self.reader.readuntil(b"\r\n\r\n")
            line, _, fields = head.partition(b"\r\n")
            parsed = BytesParser(policy=HTTP).parsebytes(fields)
            headers = {name.lower(): str(value) for name, value in parsed.items()}
            if headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self.reader.read()
        return Answer(int(line.split()[1]), headers, body)

    async def closed(self) -> bytes:
        """Wait until the server ends the connection; returns what came before."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readexactly(2) == b"\r\n"
        return body


@contextlib.asynccontextmanager
async def connect(host: str, port: int | None) -> AsyncIterator[Wire]:
    """Connect, and leave at the end."""
    reader, writer = await asyncio.open_connection(host, port, limit=2**26)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    return _head("GET", path, version, headers)


def post(body: bytes, *headers: str, version: str = "1.1", length: int | None = None) -> bytes:
    """Return a chat completion request; ``length`` is what it says its body has."""
    size = len(body) if length is None else length
    return post_head(f"Content-Length: {size}", *headers, version=version) + body


def post_head(*headers: str, version: str = "1.1") -> bytes:
    return _head("POST", CHAT, version, ("Content-Type: application/json", *headers))


def _head(method: str, path: str, version: str, headers: tuple[str, ...]) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def question(text: str = "hi", **fields: Any) -> bytes:
    return json.dumps(ask(text, **fields)).encode()
