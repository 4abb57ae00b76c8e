"""The API as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cursorpipe_server.openapi_examples import (
    CHAT_EXAMPLES,
    CHAT_REQUEST_EXAMPLES,
    MODEL_EXAMPLE,
    TEXT_EXAMPLES,
    TEXT_REQUEST_EXAMPLES,
    chat_stream_examples,
    text_stream_examples,
)
from cursorpipe_server.openapi_operation_examples import (
    METRICS_EXAMPLES,
    NOT_READY_EXAMPLE,
    READY_EXAMPLE,
    STATUS_EXAMPLE,
)
from cursorpipe_server.openapi_responses import (
    AGENT_STATUSES,
    BODY_STATUSES,
    completion_answer,
    error_responses,
    headers,
    json_answer,
    text_answer,
)
from cursorpipe_server.openapi_schemas import schemas
from cursorpipe_server.openapi_shapes import ref

DESCRIPTION = """\
OpenAI's chat and text completions, answered by the Cursor Agent CLI.

Point any OpenAI client at `/v1` of this server. If the server was given tokens, `/v1` takes one of them
as `Authorization: Bearer …` or `x-api-key: …`; without any it takes whatever is sent.

Pages of other origins are refused unless the server names them (`CURSORPIPE_CORS_ORIGINS`).

Every error but the 503 of `/ready`, that of an unknown URL included, has OpenAI's envelope
`{"error": {"message", "type", "param", "code"}}`.

A request may name itself by `x-request-id`. An explicit `null` for a member that may be left out means that
it is left out. Bodies may be nested 64 levels deep.
"""

_PARAMETERS = """\

A parameter that cannot be honoured, such as `temperature`, is accepted and has no effect, as are members
that are not listed; the header `x-cursorpipe-ignored` names them. With `CURSORPIPE_STRICT_PARAMS` they are
refused instead.

With `x-stainless-timeout` or `x-stainless-read-timeout`, which OpenAI's own clients send, an answer that is
not streamed is given up after so many seconds.
"""

CHAT_DESCRIPTION = f"""\
Continues a conversation, whole or, with `stream`, as server-sent events.

| `model` | strategy `auto` (default) | `acp` | `subprocess` |
|---|---|---|---|
| `auto` or absent | warm agent, Cursor picks | warm agent, Cursor picks | own process, Cursor picks |
| a name | own process with that model | warm agent, the name is ignored | own process with that model |

With a `response_format` of JSON the answer is checked; one that is not valid is corrected once, by the agent
itself, and an answer that is not valid then is the error `invalid_output`. Nothing of it is sent before it
is valid.

With `tools` the agent may call them: the answer then ends with `tool_calls`, and the agent waits. The next
request repeats the conversation with that answer and a message of `tool` for each call, offers the same
tools, and the agent goes on where it was. If it waits no more, it begins anew with the whole conversation;
`x-cursorpipe-tools` says which it was. An answer that had to call a tool and did not is the error
`tool_choice_unmet`, with nothing sent before.
{_PARAMETERS}"""

TEXT_DESCRIPTION = f"""\
Gives the agent each prompt as it is, and answers whole or, with `stream`, as server-sent events. For old
clients: chat completions can do more.
{_PARAMETERS}"""


#: What is for people with a browser, too.
_IN_BROWSER: list[dict[str, list[str]]] = [{"bearerAuth": []}, {"basicAuth": []}]


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
            {"name": "Completions", "description": "Answers."},
            {"name": "Models", "description": "What can be asked for."},
            {"name": "Operations", "description": "For load balancers, supervisors and people."},
        ],
        "security": [{"bearerAuth": []}],
        "paths": {
            "/v1/chat/completions": {"post": _chat_completions()},
            "/v1/completions": {"post": _text_completions()},
            "/v1/models": {"get": _list_models()},
            "/v1/models/{id}": {"get": _retrieve_model()},
            "/health": {"get": _health()},
            "/ready": {"get": _ready()},
            "/metrics": {"get": _metrics()},
            "/status": {"get": _status()},
        },
        "components": {
            "schemas": schemas(),
            "headers": headers(),
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the server's tokens, if it has any; also in `x-api-key`.",
                },
                "basicAuth": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A token as the password, with any name: for people with a browser.",
                },
            },
        },
    }


def _chat_completions() -> dict[str, Any]:
    return {
        "operationId": "createChatCompletion",
        "tags": ["Completions"],
        "summary": "Chat completion",
        "description": CHAT_DESCRIPTION,
        "requestBody": _body("ChatCompletionRequest", CHAT_REQUEST_EXAMPLES),
        "responses": {
            "200": completion_answer(
                "ChatCompletion",
                CHAT_EXAMPLES,
                events="ChatCompletionEvent",
                streams=chat_stream_examples(),
                tools=True,
            ),
            **error_responses("POST", "/v1/chat/completions", BODY_STATUSES, chat=True),
        },
    }


def _text_completions() -> dict[str, Any]:
    return {
        "operationId": "createCompletion",
        "tags": ["Completions"],
        "summary": "Text completion",
        "description": TEXT_DESCRIPTION,
        "requestBody": _body("TextCompletionRequest", TEXT_REQUEST_EXAMPLES),
        "responses": {
            "200": completion_answer(
                "TextCompletion", TEXT_EXAMPLES, events="TextCompletionEvent", streams=text_stream_examples()
            ),
            **error_responses("POST", "/v1/completions", BODY_STATUSES),
        },
    }


def _list_models() -> dict[str, Any]:
    auto = {**MODEL_EXAMPLE, "id": "auto", "owned_by": "cursor"}
    models = {"object": "list", "data": [auto, MODEL_EXAMPLE]}
    return {
        "operationId": "listModels",
        "tags": ["Models"],
        "summary": "List of models",
        "description": "The models that the agent's account can use, `auto`, and the server's aliases.",
        "responses": {
            "200": json_answer("The list.", "ModelList", models),
            **error_responses("GET", "/v1/models", AGENT_STATUSES),
        },
    }


def _retrieve_model() -> dict[str, Any]:
    name = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The name of the model; slashes and brackets may stand in it as they are.",
        "schema": {"type": "string", "minLength": 1},
        "example": MODEL_EXAMPLE["id"],
    }
    return {
        "operationId": "retrieveModel",
        "tags": ["Models"],
        "summary": "One model",
        "description": "A model of the list.",
        "parameters": [name],
        "responses": {
            "200": json_answer("The model.", "Model", MODEL_EXAMPLE),
            **error_responses("GET", "/v1/models/{id}", {404, *AGENT_STATUSES}),
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
            "200": json_answer("It is.", "Health", {"status": "ok"}),
            **error_responses("GET", "/health", ()),
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
            "200": json_answer("A request would be served.", "Readiness", READY_EXAMPLE),
            "503": json_answer("It would not; `reason` says why.", "Readiness", NOT_READY_EXAMPLE),
            **error_responses("GET", "/ready", ()),
        },
    }


def _metrics() -> dict[str, Any]:
    return {
        "operationId": "getMetrics",
        "tags": ["Operations"],
        "summary": "Numbers for Prometheus",
        "description": (
            "In the text format, or in that of OpenMetrics if `Accept` asks for it. Needs a token if the "
            "server has any, unless `CURSORPIPE_METRICS_AUTH` is `open`."
        ),
        "security": _IN_BROWSER,
        "responses": {
            "200": text_answer("The numbers.", METRICS_EXAMPLES),
            **error_responses("GET", "/metrics", {401}),
        },
    }


def _status() -> dict[str, Any]:
    return {
        "operationId": "getStatus",
        "tags": ["Operations"],
        "summary": "What is going on",
        "description": "For people and their scripts; the same as a page is at `/`.",
        "security": _IN_BROWSER,
        "responses": {
            "200": json_answer("As of now.", "Status", STATUS_EXAMPLE),
            **error_responses("GET", "/status", {401}),
        },
    }


def _body(schema: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": ref(schema), "examples": dict(examples)}},
    }
