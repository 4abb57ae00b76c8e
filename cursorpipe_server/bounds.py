"""The bounds of a request's body, its size and its time, and the end of a connection that passes them."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from cursorpipe_server.errors import RequestTimeoutError, refusal_response
from cursorpipe_server.keys import SETTINGS

#: Seconds for which the rest of a refused body is still taken and thrown away. A client that is cut off
#: while it sends often never reads the answer; one that sends for longer than this has gigabytes.
HANG_UP_AFTER_S = 2.0

#: Seconds of silence within a body, and seconds for the whole of it: a slow line may take its time, but
#: nobody may hold a connection with a byte now and then.
BODY_SILENCE_S = 30.0
BODY_TIMEOUT_S = 300.0

_ENDS_CONNECTION = frozenset({web.HTTPRequestEntityTooLarge.status_code, web.HTTPRequestTimeout.status_code})


@web.middleware
async def bounded_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a body that is declared too large before any of it is read, and end such connections.

    An expectation that cannot be met is refused here too: the client may wait with the body for an answer.
    """
    if _is_too_large(request):
        size = request.content_length or 0
        refusal = web.HTTPRequestEntityTooLarge(request.app[SETTINGS].max_body, size)
        response: web.StreamResponse = refusal_response(request, refusal)
    elif request.headers.get("Expect", "100-continue").lower() != "100-continue":
        response = refusal_response(request, web.HTTPExpectationFailed())
    else:
        response = await handler(request)
    if response.status in _ENDS_CONNECTION:
        response.force_close()
        # aiohttp itself would take the rest for its own ten seconds, at whatever speed it comes.
        asyncio.get_running_loop().call_later(HANG_UP_AFTER_S, request.protocol.force_close)
    return response


async def invite_body(request: web.Request) -> None:
    """Tell a client that waits for it (`Expect: 100-continue`) to send the body, if it is not too large."""
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.version >= HttpVersion11 and not _is_too_large(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer, of which nothing must seem to be sent.
        request.writer.output_size = 0


async def read_bounded(request: web.Request) -> bytes | bytearray:
    """Return the body; raises RequestTimeoutError, and aiohttp's 413 for one over the limit."""
    most = request.app[SETTINGS].max_body
    content = request.content
    if content.is_eof() and content.total_bytes <= most and "Content-Encoding" not in request.headers:
        # It came together with its headers, as most do: there is nothing to wait for.
        return content.read_nowait()
    loop = asyncio.get_running_loop()
    data = bytearray()
    # In pieces as large as may be: what is compressed would come in very many.
    content.set_read_chunk_size(most)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S), asyncio.timeout(BODY_SILENCE_S) as silence:
            async for piece in content.iter_any():
                data += piece
                if len(data) > most:
                    raise web.HTTPRequestEntityTooLarge(most, len(data))
                silence.reschedule(loop.time() + BODY_SILENCE_S)
    except TimeoutError:
        raise RequestTimeoutError("The request's body took too long.") from None
    return data


def _is_too_large(request: web.Request) -> bool:
    return (request.content_length or 0) > request.app[SETTINGS].max_body
