"""The answers of the API, with their headers, as the OpenAPI document holds them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cursorpipe_core import Backend, InvalidOutputError, ToolError, ToolWay
from cursorpipe_server.errors import envelope, http_error
from cursorpipe_server.openapi_examples import (
    ERROR_EXAMPLES,
    refused_expectation,
    refused_method,
    refused_size,
)
from cursorpipe_server.openapi_shapes import Schema, ref

#: What an error's status means.
_ERRORS: Mapping[int, str] = {
    400: "The request cannot be understood or honoured; `param` names what is wrong with it.",
    401: "The bearer token is missing or wrong, or Cursor refuses the server's credentials.",
    403: "A browser sends it for a page of another origin, or by a name that could be anybody's.",
    404: "There is no such model; the message names the nearest ones.",
    405: "Another method than the route's.",
    408: "The rest of the request did not come in time.",
    413: "The body is larger than `CURSORPIPE_MAX_BODY_MB`.",
    414: "The URL is too long.",
    415: "The body is not JSON.",
    417: "Another expectation than `100-continue`.",
    429: "A limit of Cursor's is reached, or too many requests are waiting.",
    431: "A header is too long, or there are too many.",
    500: "The agent, or the server, failed.",
    502: "The agent cannot reach Cursor, or does not answer in the format, or by the tools, that were given.",
    503: "There is no agent that could serve.",
    504: "The agent did not answer in time.",
}

#: The statuses of what the agent can fail with; every route that asks it has them.
AGENT_STATUSES = frozenset({401, 429, 500, 502, 503, 504})

#: The statuses of what a foreign page sends, of another method and of what is hardly HTTP: any route's.
COMMON_STATUSES = frozenset({400, 403, 405, 408, 414, 417, 431})

#: Everything that can happen to a body and what is done with it.
BODY_STATUSES = frozenset(_ERRORS)

#: On every answer.
_ALWAYS = ("x-request-id", "openai-processing-ms")

_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "x-request-id": ("The id of the request: the caller's own, if it sent one.", {"type": "string"}),
    "openai-processing-ms": (
        "Milliseconds until the answer began.",
        {"type": "integer", "minimum": 0},
    ),
    "x-cursorpipe-backend": (
        "The backend that serves the request; missing on a stream that began before it was known.",
        {"enum": [backend.value for backend in Backend]},
    ),
    "x-cursorpipe-model": (
        "The model the agent was pinned to, or `auto`; missing like the backend.",
        {"type": "string"},
    ),
    "x-cursorpipe-ignored": (
        "The parameters that were given and have no effect; `model` among them under the strategy `acp`.",
        {"type": "string", "examples": ["seed, temperature"]},
    ),
    "x-cursorpipe-tools": (
        (
            "How a turn with tools came to answer: it is `new`; it has `resumed`, as it waited for these "
            "results; it is `rebuilt`, from a conversation whose turn is no more; or the tools are in the "
            "`prompt`."
        ),
        {"enum": [way.value for way in ToolWay]},
    ),
    "x-cursorpipe-usage": (
        "Whether the agent reported the usage or it is estimated from the text; not on streams.",
        {"enum": ["reported", "estimated"]},
    ),
    "Retry-After": ("Seconds after which another try makes sense.", {"type": "integer", "minimum": 1}),
    "x-should-retry": (
        "`false` if the agent had begun to work: a repeat might do things twice. OpenAI's clients obey it.",
        {"const": "false"},
    ),
    "Allow": ("The methods of the route.", {"type": "string"}),
    "WWW-Authenticate": ("Names the scheme, where the bearer token is at fault.", {"type": "string"}),
}

#: What only an answer in a conversation can fail with.
_OF_CHAT = (InvalidOutputError, ToolError)

#: On what an agent has answered.
_HOW_IT_WAS_MADE = (
    "x-cursorpipe-backend",
    "x-cursorpipe-model",
    "x-cursorpipe-ignored",
    "x-cursorpipe-usage",
)


def headers() -> dict[str, Any]:
    """Return every header of the document by its name."""
    return {name: {"description": about, "schema": schema} for name, (about, schema) in _HEADERS.items()}


def json_answer(about: str, schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that the server makes of itself."""
    return {
        "description": about,
        "headers": _header_refs(*_ALWAYS),
        "content": {"application/json": {"schema": ref(schema), "example": example}},
    }


def text_answer(about: str, examples: Mapping[str, str]) -> dict[str, Any]:
    """Return an answer that is text, with an example for each media type."""
    return {
        "description": about,
        "headers": _header_refs(*_ALWAYS),
        "content": {
            media_type: {"schema": {"type": "string"}, "example": example}
            for media_type, example in examples.items()
        },
    }


ANSWER_DESCRIPTION = """\
The answer, whole or, with `stream`, as server-sent events. The schema of the stream is that of each event.

An event is `data: ` with a chunk in one line, and an empty line after it; the last one is `data: [DONE]`.
Comments (`: keep-alive`) keep the connection alive while the agent thinks. What fails before the first event
is an ordinary answer with its status; a failure after it is an event with an `Error`, and the stream ends
without `[DONE]`.
"""


def completion_answer(
    schema: str, examples: Mapping[str, Any], *, events: str, streams: Mapping[str, Any], tools: bool = False
) -> dict[str, Any]:
    """Return an answer of an agent, whole or as a stream of ``events``; ``tools``: it may call some."""
    answer: dict[str, Any] = {
        "description": ANSWER_DESCRIPTION,
        "headers": _header_refs(*_ALWAYS, *_HOW_IT_WAS_MADE),
        "content": {"application/json": {"schema": ref(schema), "examples": dict(examples)}},
    }
    if tools:
        answer["headers"] |= _header_refs("x-cursorpipe-tools")
    answer["content"]["text/event-stream"] = {
        "schema": ref(events),
        "examples": dict(streams),
    }
    return answer


def error_responses(
    method: str, path: str, statuses: Collection[int], *, chat: bool = False
) -> dict[str, Any]:
    """Return the errors of an operation by their status; ``chat``: it has formats of answers, and tools."""
    examples = [error for error in ERROR_EXAMPLES if chat or not isinstance(error, _OF_CHAT)]
    return {
        str(status): _error_response(status, method, path, examples)
        for status in sorted(COMMON_STATUSES.union(statuses))
    }


def _error_response(status: int, method: str, path: str, examples: Iterable[Exception]) -> dict[str, Any]:
    known = [(entry, envelope(error)) for error in examples if (entry := http_error(error)).status == status]
    bodies = [body for _, body in known]
    if status == 405:
        bodies.append(refused_method("GET" if method == "POST" else "POST", path))
    if status == 413:
        bodies.append(refused_size())
    if status == 417:
        bodies.append(refused_expectation())
    names = list(_ALWAYS)
    if any(entry.retry for entry, _ in known):
        names.append("Retry-After")
    if status in AGENT_STATUSES:
        names.append("x-should-retry")
    if status == 401:
        names.append("WWW-Authenticate")
    if status == 405:
        names.append("Allow")
    return {
        "description": _ERRORS[status],
        "headers": _header_refs(*names),
        "content": {
            "application/json": {
                "schema": ref("Error"),
                "examples": {body["error"]["code"]: {"value": body} for body in bodies},
            }
        },
    }


def _header_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
