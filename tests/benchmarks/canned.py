"""A server without an agent: the answer is ready made, so that what is measured is the load generator."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

_WORD = re.compile(rb"bench:chunks=(\d+),bytes=(\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
#: Pieces of a stream that are written together.
_TOGETHER = 8


class Answerer(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._held = bytearray()
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._wanted:
            at = self._held.find(b"\r\n\r\n")
            length = _LENGTH.search(self._held, 0, at + 2)
            if at < 0 or length is None:
                return
            self._wanted = at + 4 + int(length[1])
        if len(self._held) < self._wanted:
            return
        word = _WORD.search(self._held)
        assert word is not None
        chunks, size = int(word[1]), int(word[2])
        streamed = b'"stream":true' in self._held[-100:]
        self._held.clear()
        self._wanted = 0
        for part in _stream(chunks, size) if streamed else [_whole(chunks, size)]:
            self._transport.write(part)


_ready: dict[tuple[int, int, bool], list[bytes]] = {}


def _whole(chunks: int, size: int) -> bytes:
    ready = _ready.get((chunks, size, False))
    if ready is None:
        body = b'{"choices":[{"message":{"content":"%s"}}]}' % (_text(size) * chunks)
        ready = _ready[chunks, size, False] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        ]
    return ready[0]


def _stream(chunks: int, size: int) -> list[bytes]:
    ready = _ready.get((chunks, size, True))
    if ready is None:
        event = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % _text(size)
        part = event * _TOGETHER
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        parts = [b"%x\r\n%s\r\n" % (len(part), part)] * (chunks // _TOGETHER)
        if rest := chunks % _TOGETHER:
            parts.append(b"%x\r\n%s\r\n" % (len(event) * rest, event * rest))
        ready = _ready[chunks, size, True] = [head, *parts, b"0\r\n\r\n"]
    return ready


def _text(size: int) -> bytes:
    return b"~".ljust(size, b"x")


async def serve() -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answerer, "127.0.0.1", 0)
    print(f"serves http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(serve())
