"""What happens around every request: its id and its line in the log, its errors."""

from __future__ import annotations

import asyncio
import logging
import re
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cursorpipe_core import AgentError, CursorpipeError
from cursorpipe_server.errors import (
    INTERNAL,
    error_response,
    http_error,
    note_failure,
    refusal_response,
    words_of,
)
from cursorpipe_server.ids import new_id
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.keys import CLIENT, CODE, STARTED
from cursorpipe_server.ledger import Ledger
from cursorpipe_server.log import REQUEST_ID
from cursorpipe_server.outcomes import CLIENT_LEFT, OK, SERVER_STOPPED
from cursorpipe_server.trace_context import TRACE, TRACEPARENT, read_traceparent

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"

#: A caller's own id is taken if it can stand in a header and a log line.
_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_line(in_flight: InFlight, ledger: Ledger) -> Middleware:
    """Make the middleware that gives a request an id and a client, and enters it in ``ledger`` at its end.

    It is counted in ``in_flight`` while it is served.
    """

    @web.middleware
    async def attend(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(REQUEST_ID_HEADER, "")
        REQUEST_ID.set(given if _SANE_ID.fullmatch(given) else new_request_id())
        if (traceparent := request.headers.get(TRACEPARENT)) is not None:
            TRACE.set(read_traceparent(traceparent))
        request[CLIENT] = request.remote or "-"
        request[CODE] = OK
        request[STARTED] = started = time.perf_counter()
        status: int | None = None
        try:
            with in_flight:
                response = await handler(request)
            status = response.status
        except asyncio.CancelledError:
            # With handler cancellation on, this is how a client that hangs up is noticed.
            request[CODE] = SERVER_STOPPED if in_flight.cut else CLIENT_LEFT
            raise
        else:
            return response
        finally:
            took_s = time.perf_counter() - started
            # Not before the answer is on its way.
            asyncio.get_running_loop().call_soon(ledger.enter, request, status, took_s)

    return attend


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put on every answer what it always has; a stream's headers go out before a middleware sees it."""
    # What aiohttp refuses by itself has come by no middleware.
    if (started := request.get(STARTED)) is not None:
        response.headers["openai-processing-ms"] = str(int((time.perf_counter() - started) * 1000))
    add_own_headers(response)


def add_own_headers(response: web.StreamResponse) -> None:
    """Put on an answer the id of its request and the server's name."""
    response.headers[REQUEST_ID_HEADER] = REQUEST_ID.get()
    response.headers["Server"] = "cursorpipe"


def new_request_id() -> str:
    """Return an id for a request that brings none."""
    return f"req_{new_id()}"


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into an answer in OpenAI's envelope."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return refusal_response(request, exc)
    except CursorpipeError as exc:
        note_failure(request, exc)
        if isinstance(exc, AgentError):
            logger.info("the agent failed the request: %s", words_of(exc))
        elif http_error(exc) is INTERNAL:
            logger.exception("an error without a place in the table")
        return error_response(exc)
    except Exception as exc:
        note_failure(request, exc)
        logger.exception("the request failed")
        return error_response(exc)
