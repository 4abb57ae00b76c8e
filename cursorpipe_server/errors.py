"""What each error of the core, and of HTTP itself, is on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from cursorpipe_core import (
    AgentCrashError,
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    BacklogError,
    CursorpipeError,
    InvalidOutputError,
    InvalidRequestError,
    NetworkError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitError,
    SessionError,
    ToolArgumentsError,
    ToolChoiceError,
    ToolRoundsError,
    ToolsUnavailableError,
    UnknownModelError,
)
from cursorpipe_server.keys import CODE, WORDS
from cursorpipe_server.outcomes import SERVER_STOPPED

#: Seconds named in `Retry-After` where the cause names none.
RETRY_AFTER_S = 5.0

INVALID_REQUEST = "invalid_request_error"


class BearerError(CursorpipeError):
    """The request does not carry the server's token; ``in_browser``: a browser may ask people for it."""

    def __init__(self, *, given: bool, in_browser: bool = False) -> None:
        self.in_browser = in_browser
        # LiteLLM knows an authentication failure by these first words.
        super().__init__(
            "Incorrect API key provided." if given else "You didn't provide an API key. Use a bearer token."
        )


class UnsupportedParameterError(InvalidRequestError):
    """The request has a parameter that cannot be honoured, and is not to be served without it."""

    def __init__(self, param: str) -> None:
        super().__init__(f"Unsupported parameter: '{param}' is not supported.", param=param)


class PayloadError(CursorpipeError):
    """The body is not what the route takes, by its media type."""


class MalformedRequestError(CursorpipeError):
    """What came is no HTTP."""


class RequestTimeoutError(CursorpipeError):
    """The rest of a request did not come in time."""


class UriTooLongError(CursorpipeError):
    """The URL is longer than is read."""


class HeaderTooLargeError(CursorpipeError):
    """A header is longer than is read, or there are too many."""


class CrossOriginError(CursorpipeError):
    """A browser sends the request for a page that is not of this server."""

    def __init__(self) -> None:
        super().__init__(
            "A page of another origin may not use this server; CURSORPIPE_CORS_ORIGINS names those that may."
        )


class ForeignHostError(CursorpipeError):
    """A browser reaches the server by a name that could be anybody's."""

    def __init__(self) -> None:
        super().__init__(
            "Without a token, browsers may reach this server as localhost, by an IP address, and by the "
            "names in CURSORPIPE_ALLOWED_HOSTS."
        )


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error as HTTP and OpenAI's envelope tell it; ``retry``: `Retry-After` goes with it."""

    status: int
    type: str
    code: str
    retry: bool = False


INTERNAL = HttpError(500, "server_error", "internal_error")

#: By the nearest class in the error's own line; what is not here is a fault of ours.
HTTP_ERRORS: Mapping[type[CursorpipeError], HttpError] = {
    BearerError: HttpError(401, "authentication_error", "invalid_api_key"),
    CrossOriginError: HttpError(403, INVALID_REQUEST, "cross_origin"),
    ForeignHostError: HttpError(403, INVALID_REQUEST, "host_not_allowed"),
    AuthenticationError: HttpError(401, "authentication_error", "auth_failed"),
    RateLimitError: HttpError(429, "rate_limit_error", "rate_limited", retry=True),
    QueueFullError: HttpError(429, "rate_limit_error", "queue_full", retry=True),
    QueueTimeoutError: HttpError(429, "rate_limit_error", "queue_timeout", retry=True),
    AgentCrashError: HttpError(500, "server_error", "agent_crash"),
    SessionError: HttpError(500, "server_error", "session_error"),
    BacklogError: HttpError(500, "server_error", "client_too_slow"),
    InvalidOutputError: HttpError(502, "server_error", "invalid_output"),
    ToolsUnavailableError: HttpError(502, "server_error", "tools_unavailable"),
    ToolChoiceError: HttpError(502, "server_error", "tool_choice_unmet"),
    ToolArgumentsError: HttpError(502, "server_error", "invalid_tool_arguments"),
    ToolRoundsError: HttpError(502, "server_error", "too_many_tool_rounds"),
    NetworkError: HttpError(502, "upstream_unreachable", "network_error"),
    AgentNotFoundError: HttpError(503, "service_unavailable", "agent_not_found", retry=True),
    AgentUnavailableError: HttpError(503, "service_unavailable", "agent_unavailable", retry=True),
    AgentTimeoutError: HttpError(504, "timeout_error", "timeout"),
    UnknownModelError: HttpError(404, INVALID_REQUEST, "model_not_found"),
    UnsupportedParameterError: HttpError(400, INVALID_REQUEST, "unsupported_parameter"),
    InvalidRequestError: HttpError(400, INVALID_REQUEST, "invalid_value"),
    PayloadError: HttpError(415, INVALID_REQUEST, "unsupported_media_type"),
    MalformedRequestError: HttpError(400, INVALID_REQUEST, "malformed_request"),
    RequestTimeoutError: HttpError(408, INVALID_REQUEST, "request_timeout"),
    UriTooLongError: HttpError(414, INVALID_REQUEST, "uri_too_long"),
    HeaderTooLargeError: HttpError(431, INVALID_REQUEST, "header_too_large"),
}

#: How requests fail: the codes of all that is foreseen, and of what is not.
CODES = frozenset({SERVER_STOPPED, *(known.code for known in (*HTTP_ERRORS.values(), INTERNAL))})
#: Those of requests that fail by no mistake of their clients.
FAILURES = frozenset(
    known.code
    for kind, known in HTTP_ERRORS.items()
    if issubclass(kind, AgentError) and kind is not BacklogError
) | {INTERNAL.code, SERVER_STOPPED}

#: The errors whose messages quote a request or an answer, in other words; an error is of the first kind that
#: it is of.
_QUOTING: Mapping[type[CursorpipeError], str] = {
    UnknownModelError: "The model does not exist, or the account may not use it.",
    UnsupportedParameterError: "The request has a parameter that is not supported.",
    InvalidRequestError: "The request has a member that is missing or wrong; its sender was told which.",
    PayloadError: "The body is not JSON, by its content type or encoding.",
    MalformedRequestError: "The request is not valid HTTP.",
    InvalidOutputError: "The answer is not in the format that was asked for, not even after a correction.",
    ToolArgumentsError: "The agent's arguments for a tool are not what its schema allows.",
}

#: What aiohttp itself refuses, in words for the caller.
_HTTP_REFUSALS: Mapping[int, tuple[str, str]] = {
    404: ("unknown_url", "Unknown request URL: {method} {path}."),
    405: ("method_not_allowed", "Not allowed to {method} on {path}."),
    413: ("request_too_large", "The request body is larger than this server takes."),
    417: ("expectation_failed", "The only expectation that can be met is 100-continue."),
}


def http_error(error: BaseException) -> HttpError:
    """Return what an error is over HTTP."""
    return _known(type(error))


def code_of(kind: type[BaseException]) -> str:
    """Return the code of a kind of error."""
    return _known(kind).code


def _known(kind: type[BaseException]) -> HttpError:
    return next((HTTP_ERRORS[cls] for cls in kind.__mro__ if cls in HTTP_ERRORS), INTERNAL)


def note_failure(request: web.BaseRequest, error: BaseException) -> None:
    """Keep with a request what it failed with, for its line in the log and the metrics."""
    request[CODE] = code_of(type(error))
    request[WORDS] = words_of(error)


def words_of(error: BaseException) -> str:
    """Return an error in words for those who run the server, without what was asked or answered."""
    for kind, words in _QUOTING.items():
        if isinstance(error, kind):
            return words
    if http_error(error) is INTERNAL:
        return f"A fault of the server's: {type(error).__name__}. Its log has more."
    return error.plain if isinstance(error, AgentError) else str(error)


def envelope(error: BaseException) -> dict[str, Any]:
    """Return an error as OpenAI's body of an error; a fault of ours stays unexplained there."""
    known = http_error(error)
    message = str(error) if known is not INTERNAL else "The server failed to process the request."
    param = error.param if isinstance(error, InvalidRequestError) else None
    return _envelope(message, known.type, param, known.code)


def error_frame(error: BaseException) -> dict[str, Any]:
    """Return an error as the last event of a stream.

    Clients that read `server_error` there repeat the request, which had begun and would be done twice.
    """
    told = envelope(error)
    if told["error"]["type"] == "server_error":
        told["error"]["type"] = "agent_error"
    return told


def error_response(error: BaseException) -> web.Response:
    """Return the answer to a request that failed before its answer began."""
    known = http_error(error)
    headers: dict[str, str] = {}
    if known.retry:
        seconds = error.retry_after if isinstance(error, AgentError) else None
        headers["Retry-After"] = str(max(1, math.ceil(seconds or RETRY_AFTER_S)))
    if isinstance(error, AgentError) and error.begun:
        # The official clients repeat what they take for transient, and a turn that had begun would be
        # done twice.
        headers["x-should-retry"] = "false"
    if isinstance(error, BearerError):
        headers["WWW-Authenticate"] = 'Bearer realm="cursorpipe"'
    response = web.json_response(envelope(error), status=known.status, headers=headers)
    if isinstance(error, BearerError) and error.in_browser:
        # A header of its own: not every browser looks for a second scheme in the first.
        response.headers.add("WWW-Authenticate", 'Basic realm="cursorpipe", charset="UTF-8"')
    return response


def refusal_response(request: web.BaseRequest, refusal: web.HTTPException) -> web.Response:
    """Return aiohttp's own refusal of a request in the envelope, with the headers that belong to it."""
    code, words = _HTTP_REFUSALS.get(refusal.status, (None, refusal.reason or "The request is refused."))
    request[CODE] = code or f"http_{refusal.status}"
    # Without the path, which may be anything: a key, too.
    request[WORDS] = f"{refusal.reason} ({request.method})."
    message = words.format(method=request.method, path=request.path)
    headers = {name: refusal.headers[name] for name in ("Allow",) if name in refusal.headers}
    kind = INVALID_REQUEST if refusal.status < 500 else "server_error"
    return web.json_response(_envelope(message, kind, None, code), status=refusal.status, headers=headers)


def _envelope(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
