"""Where agents reach their callers' tools that take no HTTP: by a program of ours that they start.

The program (`stdio_relay.py`) passes lines on between the agent and a loopback port here. It says the secret
first, which it has from its environment: arguments can be read by others on the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import secrets
import sys
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cursorpipe_core import Endpoint, OpenCall

#: Seconds in which a connection has to say its secret.
SECRET_WITHIN_S = 10.0
#: Seconds in which an agent has to read what it was told before it is hung up on.
HANG_UP_WITHIN_S = 0.5
#: Bytes of one line.
MAX_LINE = 10 * 1024 * 1024

_LOOPBACK = "127.0.0.1"
_RELAY = Path(__file__).with_name("stdio_relay.py")


class StdioListener:
    """The port to which the relays of agents connect; it is opened when the first is needed."""

    def __init__(self) -> None:
        self._open: dict[str, Endpoint] = {}
        self._keys: dict[Endpoint, str] = {}
        self._numbers = itertools.count(1)
        self._conversations: dict[asyncio.Task[None], Endpoint | None] = {}
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def endpoints(self) -> Collection[Endpoint]:
        """The endpoints that can be reached."""
        return self._keys.keys()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def open(self, endpoint: Endpoint) -> dict[str, Any]:
        """Make an endpoint reachable; returns the program to start (ACP v1, session-setup)."""
        async with self._opening:  # or two that come together would open two
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, _LOOPBACK, 0, limit=MAX_LINE)
        secret = secrets.token_urlsafe(32)
        key = _hashed(secret.encode())
        self._open[key] = endpoint
        self._keys[endpoint] = key
        port = self._server.sockets[0].getsockname()[1]
        return {
            "command": sys.executable,
            "args": ["-SEP", str(_RELAY)],
            "env": [{"name": "PIPE_PORT", "value": str(port)}, {"name": "PIPE_TOKEN", "value": secret}],
        }

    def close(self, endpoint: Endpoint) -> None:
        """Make an endpoint unreachable, and hang up on its agent. Idempotent."""
        self._open.pop(self._keys.pop(endpoint, ""), None)
        for conversation, about in self._conversations.items():
            if about is endpoint:
                conversation.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer), name="an agent's MCP over stdio")
        self._conversations[task] = None
        task.add_done_callback(partial(self._over, writer))

    def _over(self, writer: asyncio.StreamWriter, conversation: asyncio.Task[None]) -> None:
        del self._conversations[conversation]
        # Here, as the end of a conversation may be cancelled too, and one that has not begun has none.
        writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECRET_WITHIN_S):
                secret = await _line(reader)
            endpoint = self._open.get(_hashed(secret.rstrip(b"\n")))
            if endpoint is not None:
                task = asyncio.current_task()
                if task is not None:
                    self._conversations[task] = endpoint
                await _Conversation(endpoint, f"stdio {next(self._numbers)}", writer).run(reader)
        except (ConnectionError, TimeoutError):
            pass  # a relay that is gone, or that does not say who it is
        finally:
            # An agent that reads nothing never lets what is written go.
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(HANG_UP_WITHIN_S):
                    await writer.wait_closed()


class _Conversation:
    """One connection of a relay."""

    def __init__(self, endpoint: Endpoint, peer: str, writer: asyncio.StreamWriter) -> None:
        self._endpoint = endpoint
        self._peer = peer
        self._writer = writer
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Answer what the agent says until it hangs up."""
        stop = self._endpoint.listen(self._tell)
        try:
            while line := await _line(reader):
                try:
                    message = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                answer = self._endpoint.take(message, self._peer)
                if isinstance(answer, OpenCall):
                    task = asyncio.create_task(self._follow(answer), name="a call over stdio")
                    self._calls.add(task)
                    task.add_done_callback(self._calls.discard)
                elif answer is not None:
                    self._tell(answer)
                    await self._writer.drain()
                    self._endpoint.sent(answer)
        finally:
            stop()
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)
            self._endpoint.lose_peer(self._peer)

    async def _follow(self, call: OpenCall) -> None:
        try:
            async for message in call.messages():
                self._tell(message)
        finally:
            if call.answered:
                self._endpoint.forget(call)

    def _tell(self, message: dict[str, Any] | None) -> None:
        if message is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line; nothing at the end, and for a line without end."""
    try:
        return await reader.readline()
    except ValueError:
        return b""


def _hashed(secret: bytes) -> str:
    # What is looked up is no part of the secret: how long that takes tells nothing of it.
    return hashlib.sha256(secret).hexdigest()
