"""The size of a request's body, and the end of a connection whose body is larger."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from cursorpipe_server.errors import refusal_response
from cursorpipe_server.keys import SETTINGS

#: Seconds for which the rest of a refused body is still taken and thrown away. A client that is cut off
#: while it sends often never reads the answer; one that sends for longer than this has gigabytes.
HANG_UP_AFTER_S = 2.0


@web.middleware
async def bounded_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a body that is declared too large before any of it is read, and end such connections."""
    if _is_too_large(request):
        size = request.content_length or 0
        refusal = web.HTTPRequestEntityTooLarge(request.app[SETTINGS].max_body, size)
        response: web.StreamResponse = refusal_response(request, refusal)
    else:
        response = await handler(request)
    if response.status == web.HTTPRequestEntityTooLarge.status_code:
        response.force_close()
        # aiohttp itself would take the rest for its own ten seconds, at whatever speed it comes.
        asyncio.get_running_loop().call_later(HANG_UP_AFTER_S, request.protocol.force_close)
    return response


async def read_bounded(request: web.Request) -> bytes:
    """Return the body; raises aiohttp's 413 once more has come than a body may have."""
    most = request.app[SETTINGS].max_body
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise web.HTTPRequestEntityTooLarge(most, len(body))
    return bytes(body)


async def invite_body(request: web.Request) -> None:
    """Tell a client that waits for it (`Expect: 100-continue`) to send the body, if it is not too large."""
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.version >= HttpVersion11 and not _is_too_large(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer, of which nothing must seem to be sent.
        request.writer.output_size = 0


def _is_too_large(request: web.Request) -> bool:
    return (request.content_length or 0) > request.app[SETTINGS].max_body
