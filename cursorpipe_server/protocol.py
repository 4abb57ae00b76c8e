"""The protocol of a connection: aiohttp's, which refuses in our words and hears out who has said all.

aiohttp answers what is no HTTP in plain text, waits for ever for the rest of a request, and drops a client
that closes its sending side before it has its answer, as `nc` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import (
    ContentEncodingError,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)
from aiohttp.streams import EMPTY_PAYLOAD

# aiohttp has no public name for a message that could not be parsed.
from aiohttp.web_protocol import _ErrInfo

from cursorpipe_core import CursorpipeError
from cursorpipe_server.errors import (
    HeaderTooLargeError,
    MalformedRequestError,
    PayloadError,
    RequestTimeoutError,
    UriTooLongError,
    error_response,
    http_error,
    refusal_response,
)
from cursorpipe_server.keys import PROBE
from cursorpipe_server.log import REQUEST_ID
from cursorpipe_server.middlewares import add_own_headers, new_request_id

logger = logging.getLogger(__name__)

#: Bytes of a URL, and of one header; they differ, because by the number aiohttp tells which was too long.
MAX_URL = 8190
MAX_HEADER = 16384

#: Seconds from the first byte of a request to the end of its headers.
HEAD_TIMEOUT_S = 30.0

#: Seconds between the first looks at whether a client that has closed its sending side still wants its
#: answer, soon, as most have left; and between the later ones.
FIRST_PROBES_S = (0.05, 0.1, 0.2)
PROBE_EVERY_S = 0.5

#: Seconds between two looks for connections that have fallen idle, of which nothing tells.
RETIRE_EVERY_S = 0.02

#: What may go out before an answer to HTTP/1.1, any number of times, and every client passes over.
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: Reasons in place of the parser's, where those quote what came.
_REASONS = {InvalidURLError: "the URL is wrong", InvalidHeader: "a header is wrong"}

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Runner(web.AppRunner):
    """Runs the application with connections of ours."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            partial(_serve, made.request_handler),
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 — what the runner was given is kept nowhere else
        )

    @property
    def owed(self) -> int:
        """How many connections have an answer to come, or the rest of one."""
        return sum(connection.is_owed for connection in self._connections())

    async def retire(self) -> None:
        """Have every connection end with what is owed on it; returns when the last byte of that has gone out.

        Else a client that keeps its connections would ask on and on, and the server never be done.
        """
        cast("_Server", self.server).retiring = True
        while used := [connection for connection in self._connections() if not connection.is_new]:
            for connection in used:
                connection.retire()
            await asyncio.sleep(RETIRE_EVERY_S)

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", cast("_Server", self.server).connections)


class _Server(web.Server):
    """Makes a connection of ours for each client."""

    retiring = False

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class Connection(web.RequestHandler):
    """One client's connection.

    A client that closes its sending side (a half-closed connection) and one that has left look the same:
    the end of what it sends. The difference shows when something is sent to it, so something is, until it
    has its answer or is found gone.
    """

    def __init__(self, manager: _Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, max_line_size=MAX_URL, max_field_size=MAX_HEADER, **options)
        self.serving: web.BaseRequest | None = None
        self._server = manager
        self._last_body: StreamReader = EMPTY_PAYLOAD
        self._half_closed = False
        self._broken = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing can come after the request that is being served, or is to."""
        return (self._half_closed or self._broken or self._server.retiring) and not self._messages

    @property
    def is_new(self) -> bool:
        """Whether nothing has come so far."""
        return not self._request_count and self._head_timer is None

    @property
    def is_owed(self) -> bool:
        """Whether an answer is to come, or the rest of one; of the request there may be the beginning."""
        return not self._is_idle or self._head_timer is not None

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being served or waits for it; the first may come before aiohttp waits."""
        waits = self._waiter is not None and not self._waiter.done()
        return not self._messages and (waits or not self._request_count)

    def retire(self) -> None:
        """Close the connection if something has come on it and all is answered."""
        # Not by aiohttp's own close(): that would drop the rest of a body that is being sent.
        if not self.is_new and not self.is_owed:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Parse what comes, and see to what aiohttp leaves open: broken bodies and slow heads."""
        if self._broken:
            return
        super().data_received(data)
        if self._messages:
            message, body = self._messages[-1]
            if not isinstance(message, _ErrInfo):
                self._last_body = body
            elif not self._last_body.is_eof():
                # Whoever waits for the body would never hear of it, and the one request has one answer.
                self._messages.pop()
                self._break_body()
        if not self._is_idle:
            self._stop_head_timer()
        elif data and self._head_timer is None:
            self._head_timer = self._loop.call_later(
                HEAD_TIMEOUT_S, self._refuse, RequestTimeoutError("The request's headers took too long.")
            )

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection if an answer is owed; returns whether it is."""
        if self._half_closed:
            return True  # some event loops tell it again when reading goes on after a pause
        if self._is_idle:
            if self._head_timer is None:
                return False
            self._refuse(MalformedRequestError("The request ends within its headers."))
        if not self._last_body.is_eof():
            self._break_body()
        self._half_closed = True
        self._probing = self._loop.create_task(self._probe())
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop whatever waits for the client."""
        self._stop_head_timer()
        super().connection_lost(exc)
        if self._probing is not None:
            self._probing.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what could not be parsed, or to a fault of ours outside the middlewares."""
        del status
        REQUEST_ID.set(new_request_id())
        if isinstance(exc, HttpProcessingError):
            error: BaseException = _refusal(exc, message or "")
        else:
            error = exc or RuntimeError(message)
        if isinstance(error, CursorpipeError):
            logger.info("refused what %s sent with %d: %s", request.remote, http_error(error).status, error)
        else:
            self.logger.error("a request failed outside its handler", exc_info=error)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun; another cannot be sent")
        response = error_response(error)
        response.headers["Connection"] = "close"
        add_own_headers(response)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a failure of aiohttp's; a body that is broken is the client's, and it has been told."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            logger.info("the rest of a broken body is not read")
        else:
            super().log_exception(*args, **kw)

    def _refuse(self, error: CursorpipeError) -> None:
        """Answer a request of which only a part of the head is there; then the connection ends."""
        self._stop_head_timer()
        if not self._is_idle:
            return
        self._request_count += 1
        self._messages.append((_ErrInfo(http_error(error).status, error, ""), EMPTY_PAYLOAD))
        if self._waiter is not None:
            self._waiter.set_result(None)

    def _break_body(self) -> None:
        """Fail the last body, of which nothing more can come; nothing after it can be told from it."""
        self._broken = True
        self._last_body.set_exception(web.RequestPayloadError("The body is broken."))

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    async def _probe(self) -> None:
        """Send now and then what does no harm: the second time, the connection of who has left is lost."""
        for count, pause in enumerate(itertools.chain(FIRST_PROBES_S, itertools.repeat(PROBE_EVERY_S)), 1):
            await asyncio.sleep(pause)
            if self._is_idle or self.transport is None or self.transport.is_closing():
                self.force_close()
                return
            request = self.serving
            # What waits to be sent is a probe of its own.
            if request is None or self.writing_paused:
                continue
            if request.writer.output_size > 0:
                if PROBE in request:
                    with contextlib.suppress(ConnectionError):
                        await request[PROBE]()
            elif request.version >= HttpVersion11:
                self.transport.write(_CONTINUE)
            elif count >= len(FIRST_PROBES_S):
                # An older client takes whatever comes for its answer: nothing can be found out.
                self.transport.abort()


async def _serve(handler: _Handler, request: web.BaseRequest) -> web.StreamResponse:
    """Serve a request, and keep with its connection what its connection must know of it."""
    connection = cast("Connection", request.protocol)
    connection.serving = request
    try:
        response = await handler(request)
    except web.HTTPException as exc:
        # What aiohttp refuses before the middlewares see it: an expectation, for a path that is no route.
        REQUEST_ID.set(new_request_id())
        response = refusal_response(request, exc)
    finally:
        connection.serving = None
    if connection.is_last:
        response.force_close()
    return response


def _refusal(error: HttpProcessingError, message: str) -> CursorpipeError:
    """Return what a failure to parse is to the client: the parser's reason, without what it quotes."""
    if isinstance(error, LineTooLong):
        if error.args[1] == MAX_URL:
            return UriTooLongError(f"The URL is longer than {MAX_URL} bytes.")
        return HeaderTooLargeError(f"A header is longer than {MAX_HEADER} bytes.")
    if message.startswith("Too many headers"):
        return HeaderTooLargeError("The request has too many headers.")
    if isinstance(error, ContentEncodingError):
        return PayloadError("The body's content encoding is not one this server takes.")
    reason = _REASONS.get(type(error)) or " ".join(message.partition("\n\n")[0].split())
    return MalformedRequestError(f"The request is not valid HTTP: {reason.rstrip(':.')}.")
