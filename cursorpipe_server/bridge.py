"""Where agents reach their callers' tools: MCP over streamable HTTP, on a loopback port of its own.

Sources: MCP 2025-06-18 (transports). Nobody gets in without the secret of an endpoint, which only the agent
that it was opened for is told; to everybody else there is nothing here.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cursorpipe_core import Address, Endpoint, OpenCall, Transport
from cursorpipe_server.bridge_stdio import StdioListener

#: Bytes of one message of an agent: what a tool can be given.
MAX_MESSAGE = 10 * 1024 * 1024
#: Seconds in which it has to be there.
MESSAGE_TIMEOUT_S = 30.0
#: Seconds between two signs of life of a stream on which nothing is told.
KEEP_ALIVE_S = 15.0
#: Connections that wait to be accepted.
BACKLOG = 128
#: Seconds that open calls get to be cancelled at the end.
CANCEL_TIMEOUT_S = 0.5

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost"})
_EVENTS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform"}
_KEEP_ALIVE = b": still here\n\n"

#: What aiohttp has to say of requests, but of those that it quotes: there are secrets in them.
_http_logger = logging.getLogger(f"{__name__}.http")
_http_logger.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
)


@dataclass(frozen=True, slots=True)
class _Open:
    endpoint: Endpoint
    bearer: str


class Bridge:
    """Makes endpoints reachable for agents, over HTTP or by a program that they start.

    Entering opens the port; leaving closes it and whatever is connected.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._keys: dict[Endpoint, str] = {}
        self._stdio = StdioListener()
        self._stack = AsyncExitStack()
        self._port = 0

    def __len__(self) -> int:
        """How many endpoints can be reached."""
        return len(self._open) + len(self._stdio)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_MESSAGE)
        app.router.add_route("*", "/t/{secret}/mcp", self._serve)
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            logger=_http_logger,
            shutdown_timeout=CANCEL_TIMEOUT_S,
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await self._stack.enter_async_context(self._stdio)
        listener = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
        self._port = listener.getsockname()[1]
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        self._stack.push_async_callback(_stop_accepting, listener)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for endpoint in (*self._keys, *self._stdio.endpoints):
            self.close(endpoint)
        await self._stack.aclose()

    async def open(self, endpoint: Endpoint, transport: Transport) -> Address:
        """Make an endpoint reachable until ``close``."""
        # Short, so that the names of the tools behind it stay whole; and no other session's, as some
        # agents tell servers apart by their names alone.
        name = f"ct{secrets.token_hex(3)}"
        if transport is Transport.STDIO:
            return Address(name, transport, {"name": name, **await self._stdio.open(endpoint)})
        secret, bearer = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        key = _hashed(secret)
        self._open[key] = _Open(endpoint, bearer)
        self._keys[endpoint] = key
        server = {
            "type": "http",
            "name": name,
            "url": f"http://{LOOPBACK}:{self._port}/t/{secret}/mcp",
            "headers": [{"name": "Authorization", "value": f"Bearer {bearer}"}],
        }
        return Address(name, transport, server)

    def close(self, endpoint: Endpoint) -> None:
        """Make an endpoint unreachable. Idempotent."""
        self._open.pop(self._keys.pop(endpoint, ""), None)
        self._stdio.close(endpoint)
        endpoint.close("The server was closed.")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        # A page in a browser may be led here by a name that it has made to mean this machine.
        if "Origin" in request.headers or request.host.rpartition(":")[0] not in _LOOPBACK_NAMES:
            raise web.HTTPForbidden
        found = self._open.get(_hashed(request.match_info["secret"]))
        if found is None or not hmac.compare_digest(
            request.headers.get("Authorization", "").encode(errors="surrogateescape"),
            f"Bearer {found.bearer}".encode(),
        ):
            raise web.HTTPNotFound
        if request.method == "POST":
            return await self._post(request, found.endpoint)
        if request.method == "GET":
            return await _listen(request, found.endpoint)
        if request.method == "DELETE":
            found.endpoint.lose_peer(_peer(request))
            return web.Response()
        raise web.HTTPMethodNotAllowed(request.method, ("DELETE", "GET", "POST"))

    async def _post(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        try:
            async with asyncio.timeout(MESSAGE_TIMEOUT_S):
                message = json.loads(await request.read())
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ValueError, RecursionError):
            raise web.HTTPBadRequest from None
        headers = {}
        if isinstance(message, dict) and message.get("method") == "initialize":
            headers["Mcp-Session-Id"] = secrets.token_hex(16)
        answer = endpoint.take(message, _peer(request))
        if isinstance(answer, OpenCall):
            return await _park(request, endpoint, answer)
        if answer is None:
            return web.Response(status=202)
        response = web.Response(body=json.dumps(answer), content_type="application/json", headers=headers)
        await response.prepare(request)
        await response.write_eof()
        endpoint.sent(answer)
        return response


async def _stop_accepting(listener: socket.socket) -> None:
    """Take no more connections: asyncio loses one that comes in the moment in which its server is closed."""
    asyncio.get_running_loop().remove_reader(listener)
    await asyncio.sleep(0)


async def _park(request: web.Request, endpoint: Endpoint, call: OpenCall) -> web.StreamResponse:
    """Answer a call by a stream: it is open at once, and tells that the call goes on until it has ended.

    An agent gives up on a silent one after a minute, or waits for ever once the connection is lost.
    """
    response = web.StreamResponse(headers=_EVENTS)
    try:
        await response.prepare(request)
        await response.write(b": open\n\n")
        async for message in call.messages():
            await response.write(_KEEP_ALIVE if message is None else _event(message))
        await response.write_eof()
    except ConnectionError:
        pass  # the agent has hung up
    finally:
        endpoint.lose(call)  # which an answered one is not
    return response


async def _listen(request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
    """Tell what is told unasked, until the endpoint is closed."""
    response = web.StreamResponse(headers=_EVENTS)
    told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    stop = endpoint.listen(told.put_nowait)
    try:
        await response.prepare(request)
        await response.write(b": open\n\n")
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    message = await told.get()
            except TimeoutError:
                await response.write(_KEEP_ALIVE)
                continue
            if message is None:
                break
            await response.write(_event(message))
        await response.write_eof()
    except ConnectionError:
        pass  # the agent has hung up
    finally:
        stop()
    return response


def _peer(request: web.Request) -> str:
    return request.headers.get("Mcp-Session-Id", "")


def _event(message: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(message)}\n\n".encode()


def _hashed(secret: str) -> str:
    # What is looked up is no part of the secret: how long that takes tells nothing of it.
    return hashlib.sha256(secret.encode()).hexdigest()
