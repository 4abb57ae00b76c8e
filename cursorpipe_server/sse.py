"""A stream of server-sent events whose headers wait for the first frame."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp_sse import EventSourceResponse

from cursorpipe_core import CursorpipeError
from cursorpipe_server.errors import envelope
from cursorpipe_server.keys import PROBE, Probe
from cursorpipe_server.log import OUTCOME

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
            send_timeout=SEND_TIMEOUT_S,
            ping_interval=keepalive_s,
        )
        # The class promises keep-alive to everybody; whether it holds, aiohttp knows.
        del response.headers["Connection"]
        if request.version < HttpVersion11:
            # Without chunks the end of the connection is the only end an answer can have.
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
            probe: Probe = partial(_send, request, response, KEEP_ALIVE)
            request[PROBE] = probe
            try:
                if not first.done():
                    await _send(request, response, KEEP_ALIVE)
                await _send(request, response, await first)
                async for data in frames:
                    await _send(request, response, data)
            except CursorpipeError as exc:
                request[OUTCOME] = type(exc).__name__
                logger.info("an answer ended in mid-stream: %s", exc)
                await _send(request, response, frame(envelope(exc)))
            finally:
                del request[PROBE]
    except ConnectionError:
        request[OUTCOME] = "client left"
    except Exception as exc:
        request[OUTCOME] = type(exc).__name__
        logger.exception("an answer failed in mid-stream")
        with contextlib.suppress(ConnectionError):
            await _send(request, response, frame(envelope(exc)))


async def _send(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Write, and wait while the client does not read; raises ConnectionError if it is gone."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client has stopped reading") from None
