"""A stream of server-sent events whose headers wait for the first frame."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import HttpVersion11, web
from aiohttp_sse import EventSourceResponse

from cursorpipe_core import CursorpipeError
from cursorpipe_server.errors import error_frame, note_failure, words_of
from cursorpipe_server.keys import CODE, IN_FLIGHT, PROBE, Probe
from cursorpipe_server.outcomes import CLIENT_LEFT

logger = logging.getLogger(__name__)

#: Seconds a client may leave a full connection unread before it is cut.
SEND_TIMEOUT_S = 60.0

#: Frames as they go out: each item is one or more whole events.
Frames = AsyncGenerator[bytes, None]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def frame(data: Mapping[str, Any]) -> bytes:
    """Return one event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def around_pieces(sample: bytes) -> Callable[[Iterable[str]], bytes]:
    r"""Return what writes pieces of text as events, each in the place that ``"\0"`` has in ``sample``."""
    before, _, after = sample.partition(orjson.dumps("\0"))
    between = after + before

    def write(pieces: Iterable[str]) -> bytes:
        return before + between.join(map(orjson.dumps, pieces)) + after

    return write


async def stream_frames(
    request: web.Request, frames: Frames, *, headers: Callable[[], Mapping[str, str]], keepalive_s: float
) -> web.StreamResponse:
    """Send ``frames`` as they come; ``headers`` is asked when the response begins.

    The response begins with the first frame, or after ``keepalive_s`` of silence, from when on comments
    keep the connection alive. What fails before is raised and is an ordinary answer with its status; what
    fails after is one `error` frame, and the stream ends without `[DONE]`. ``frames`` is closed at the
    end, whichever it is, and at once when the client leaves.
    """
    first = asyncio.ensure_future(anext(frames, b""))
    try:
        await asyncio.wait({first}, timeout=keepalive_s)
        if first.done():
            first.result()
        response = EventSourceResponse(
            headers=headers(),
            sep="\n",
            allow_all_methods=True,
            ping_interval=keepalive_s,
        )
        # The class promises keep-alive to everybody; whether it holds, aiohttp knows.
        del response.headers["Connection"]
        # Without chunks the end of the connection is the only end an answer can have.
        if request.version < HttpVersion11 or request.app[IN_FLIGHT].closing:
            response.force_close()
        await _send_all(request, response, first, frames)
        return response
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await frames.aclose()


async def _send_all(
    request: web.Request, response: EventSourceResponse, first: asyncio.Future[bytes], frames: Frames
) -> None:
    """Send the response from its headers to its end; from here on nothing but a cancellation is raised.

    What a middleware made of an error would be written into the middle of the stream.
    """
    try:
        await response.prepare(request)
        async with response:
            with _Outlet(request, response) as outlet:
                probe: Probe = partial(outlet.send, KEEP_ALIVE)
                request[PROBE] = probe
                try:
                    if not first.done():
                        await outlet.send(KEEP_ALIVE)
                    await outlet.send(await first)
                    async for data in frames:
                        await outlet.send(data)
                except CursorpipeError as exc:
                    note_failure(request, exc)
                    logger.info("an answer ended in mid-stream: %s", words_of(exc))
                    await outlet.send(frame(error_frame(exc)))
                finally:
                    del request[PROBE]
    except ConnectionError:
        request[CODE] = CLIENT_LEFT
    except Exception as exc:
        note_failure(request, exc)
        logger.exception("an answer failed in mid-stream")
        with contextlib.suppress(ConnectionError), _Outlet(request, response) as outlet:
            await outlet.send(frame(error_frame(exc)))


class _Outlet:
    """The way out to one client, watched: a client that takes nothing for too long is cut off.

    However slowly it takes what it is sent, it is waited for as long as it takes something.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._transport = request.transport
        self._response = response
        self._handed = 0
        self._taken = 0
        self._timer: asyncio.TimerHandle

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    async def send(self, data: bytes) -> None:
        """Write, and wait while too much is unread; raises ConnectionError if the client is gone."""
        self._handed += len(data)
        await self._response.write(data)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SEND_TIMEOUT_S, self._look)

    def _look(self) -> None:
        if self._transport is None:
            return
        unread = self._transport.get_write_buffer_size()
        taken = self._handed - unread
        if unread and taken <= self._taken:
            self._transport.abort()
            return
        self._taken = taken
        self._wait()
