"""The API as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cursorpipe_core import Backend
from cursorpipe_server.errors import envelope, http_error
from cursorpipe_server.openapi_examples import (
    COMPLETION_EXAMPLE,
    ERROR_EXAMPLES,
    HTTP_REFUSALS,
    MODEL_EXAMPLE,
    NOT_READY_EXAMPLE,
    READY_EXAMPLE,
    REQUEST_EXAMPLES,
    stream_example,
)
from cursorpipe_server.openapi_schemas import Schema, ref, schemas

#: What an error's status means; all of them can come from chat completions.
_ERRORS: Mapping[int, str] = {
    400: "The request cannot be understood; `param` names what is wrong with it.",
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
    502: "The agent cannot reach Cursor.",
    503: "There is no agent that could serve.",
    504: "The agent did not answer in time.",
}

#: The statuses of what the agent can fail with; every route that asks it has them.
_AGENT_STATUSES = (401, 429, 500, 502, 503, 504)

#: The status of what a foreign page sends; every route has it.
_FOREIGN = 403

_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "x-request-id": ("The id of the request: the caller's own, if it sent one.", {"type": "string"}),
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
        {"type": "string"},
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

DESCRIPTION = """\
OpenAI's chat completions, answered by the Cursor Agent CLI.

Point any OpenAI client at `/v1` of this server. If the server was given tokens, `/v1` takes one of them
as `Authorization: Bearer …` or `x-api-key: …`; without any it takes whatever is sent.

Pages of other origins are refused unless the server names them (`CURSORPIPE_CORS_ORIGINS`).

Every error but the 503 of `/ready`, that of an unknown URL included, has OpenAI's envelope
`{"error": {"message", "type", "param", "code"}}`.
"""

CHAT_DESCRIPTION = """\
Continues a conversation, whole or, with `stream`, as server-sent events.

| `model` | strategy `auto` (default) | `acp` | `subprocess` |
|---|---|---|---|
| `auto` or absent | warm agent, Cursor picks | warm agent, Cursor picks | own process, Cursor picks |
| a name | own process with that model | warm agent, the name is ignored | own process with that model |

Members that are not listed, such as `temperature`, are accepted and have no effect; the header
`x-cursorpipe-ignored` names them.
"""

STREAM_DESCRIPTION = """\
Events `data: ` with a `ChatCompletionChunk` each, then `data: [DONE]`. Comments keep the connection alive
while the agent thinks. A failure after the beginning is an event with an `Error`; `[DONE]` does not follow.
"""


def openapi_document(*, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of this API; ``version`` is that of the program."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cursorpipe",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [
            {"name": "Chat", "description": "Answers."},
            {"name": "Models", "description": "What can be asked for."},
            {"name": "Operations", "description": "For load balancers, supervisors and people."},
        ],
        "security": [{"bearerAuth": []}],
        "paths": {
            "/v1/chat/completions": {"post": _chat_completions()},
            "/v1/models": {"get": _list_models()},
            "/v1/models/{id}": {"get": _retrieve_model()},
            "/health": {"get": _health()},
            "/ready": {"get": _ready()},
        },
        "components": {
            "schemas": schemas(),
            "headers": _headers(),
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the server's tokens, if it has any; also in `x-api-key`.",
                }
            },
        },
    }


def _chat_completions() -> dict[str, Any]:
    stream = {"answer": {"summary": "With usage", "value": stream_example()}}
    return {
        "operationId": "createChatCompletion",
        "tags": ["Chat"],
        "summary": "Chat completion",
        "description": CHAT_DESCRIPTION,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("ChatCompletionRequest"),
                    "examples": dict(REQUEST_EXAMPLES),
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": _header_refs(
                    "x-request-id",
                    "x-cursorpipe-backend",
                    "x-cursorpipe-model",
                    "x-cursorpipe-ignored",
                    "x-cursorpipe-usage",
                ),
                "content": {
                    **_json("ChatCompletion", COMPLETION_EXAMPLE),
                    "text/event-stream": {
                        "schema": {"type": "string", "description": STREAM_DESCRIPTION},
                        "examples": stream,
                    },
                },
            },
            **_error_responses(_ERRORS),
        },
    }


def _list_models() -> dict[str, Any]:
    auto = {**MODEL_EXAMPLE, "id": "auto"}
    return {
        "operationId": "listModels",
        "tags": ["Models"],
        "summary": "List of models",
        "description": "The models that the agent's account can use, and `auto`.",
        "responses": {
            "200": _answer("The list.", "ModelList", {"object": "list", "data": [auto, MODEL_EXAMPLE]}),
            **_error_responses((_FOREIGN, *_AGENT_STATUSES)),
        },
    }


def _retrieve_model() -> dict[str, Any]:
    name = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The name of the model; slashes and brackets may stand in it as they are.",
        "schema": {"type": "string"},
        "example": MODEL_EXAMPLE["id"],
    }
    return {
        "operationId": "retrieveModel",
        "tags": ["Models"],
        "summary": "One model",
        "description": "A model of the list.",
        "parameters": [name],
        "responses": {
            "200": _answer("The model.", "Model", MODEL_EXAMPLE),
            **_error_responses((_FOREIGN, 404, *_AGENT_STATUSES)),
        },
    }


def _health() -> dict[str, Any]:
    return {
        "operationId": "getHealth",
        "tags": ["Operations"],
        "summary": "The server is up",
        "description": "Says nothing of the agents: for a check of the process. Needs no token.",
        "security": [],
        "responses": {
            "200": _answer("It is.", "Health", {"status": "ok"}),
            **_error_responses((_FOREIGN,)),
        },
    }


def _ready() -> dict[str, Any]:
    return {
        "operationId": "getReady",
        "tags": ["Operations"],
        "summary": "An agent can serve",
        "description": "For whoever sends requests here or elsewhere. Needs no token.",
        "security": [],
        "responses": {
            "200": _answer("A request would be served.", "Readiness", READY_EXAMPLE),
            "503": _answer("It would not; `reason` says why.", "Readiness", NOT_READY_EXAMPLE),
            **_error_responses((_FOREIGN,)),
        },
    }


def _answer(about: str, schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": about,
        "headers": _header_refs("x-request-id"),
        "content": _json(schema, example),
    }


def _json(schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": ref(schema), "example": example}}


def _error_responses(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): _error_response(status) for status in statuses}


def _error_response(status: int) -> dict[str, Any]:
    known = [(http_error(error), envelope(error)) for error in ERROR_EXAMPLES]
    bodies = [body for entry, body in known if entry.status == status]
    if status in HTTP_REFUSALS:
        bodies.append(HTTP_REFUSALS[status])
    headers = ["x-request-id"]
    if any(entry.status == status and entry.retry for entry, _ in known):
        headers.append("Retry-After")
    if status in _AGENT_STATUSES:
        headers.append("x-should-retry")
    if status == 401:
        headers.append("WWW-Authenticate")
    if status == 405:
        headers.append("Allow")
    return {
        "description": _ERRORS[status],
        "headers": _header_refs(*headers),
        "content": {
            "application/json": {
                "schema": ref("Error"),
                "examples": {body["error"]["code"]: {"value": body} for body in bodies},
            }
        },
    }


def _header_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> dict[str, Any]:
    return {name: {"description": about, "schema": schema} for name, (about, schema) in _HEADERS.items()}
