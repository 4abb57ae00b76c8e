"""What the OpenAPI document shows as examples; the errors are made by the code that makes real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cursorpipe_core import (
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    BacklogError,
    InvalidRequestError,
    NetworkError,
    QueueFullError,
    RateLimitError,
    SessionError,
    UnknownModelError,
)
from cursorpipe_server.errors import (
    BearerError,
    CrossOriginError,
    ForeignHostError,
    HeaderTooLargeError,
    MalformedRequestError,
    PayloadError,
    RequestTimeoutError,
    UriTooLongError,
)

#: One of each error of the table; what they are on the wire is asked of the table itself.
ERROR_EXAMPLES: tuple[Exception, ...] = (
    InvalidRequestError("Missing required parameter: 'messages'.", param="messages"),
    MalformedRequestError("The request is not valid HTTP: Invalid method encountered."),
    BearerError(given=False),
    AuthenticationError(),
    CrossOriginError(),
    ForeignHostError(),
    UnknownModelError("gpt-5.4-mini-medum", known=["gpt-5.4-mini-medium"]),
    RequestTimeoutError("The request's body took too long."),
    UriTooLongError("The URL is longer than 8190 bytes."),
    PayloadError("The content type must be application/json, not text/plain."),
    HeaderTooLargeError("A header is longer than 16384 bytes."),
    RateLimitError("You have reached a usage limit of your Cursor plan."),
    QueueFullError("Too many requests are waiting already."),
    AgentCrashError("The agent was killed by SIGKILL (out of memory?)."),
    SessionError("The agent answered with an error: Internal error."),
    BacklogError("The answer was read too slowly."),
    RuntimeError(),
    NetworkError("The agent cannot reach Cursor."),
    AgentNotFoundError("agent"),
    AgentUnavailableError("No agent became ready in time."),
    AgentTimeoutError("request", 300.0),
)

#: What HTTP itself refuses: status -> the body.
HTTP_REFUSALS: Mapping[int, dict[str, Any]] = {
    405: {
        "error": {
            "message": "Not allowed to GET on /v1/chat/completions.",
            "type": "invalid_request_error",
            "param": None,
            "code": "method_not_allowed",
        }
    },
    413: {
        "error": {
            "message": "The request body is larger than this server takes.",
            "type": "invalid_request_error",
            "param": None,
            "code": "request_too_large",
        }
    },
    417: {
        "error": {
            "message": "The only expectation that can be met is 100-continue.",
            "type": "invalid_request_error",
            "param": None,
            "code": "expectation_failed",
        }
    },
}

_CONVERSATION = [{"role": "user", "content": "What is an API?"}]
REQUEST_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "simple": {"summary": "A question", "value": {"model": "auto", "messages": _CONVERSATION}},
    "stream": {
        "summary": "Instructions, streamed",
        "value": {
            "model": "auto",
            "messages": [{"role": "system", "content": "Answer in one sentence."}, *_CONVERSATION],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    },
    "pinned": {
        "summary": "A pinned model",
        "value": {"model": "claude-4.5-sonnet-thinking", "messages": _CONVERSATION},
    },
}

_ANSWER: Mapping[str, Any] = {
    "id": "chatcmpl-7f3a",
    "object": "chat.completion",
    "created": 1712160000,
    "model": "auto",
}
_USAGE: Mapping[str, Any] = {
    "prompt_tokens": 12,
    "completion_tokens": 9,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 0},
}
_TEXT = "An API is a set of rules by which programs talk."
_MESSAGE = {"role": "assistant", "content": _TEXT, "refusal": None}
COMPLETION_EXAMPLE: Mapping[str, Any] = {
    **_ANSWER,
    "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
    "usage": _USAGE,
}
MODEL_EXAMPLE: Mapping[str, Any] = {
    "id": "claude-4.5-sonnet-thinking",
    "object": "model",
    "created": 1712160000,
    "owned_by": "cursor",
}
READY_EXAMPLE: Mapping[str, Any] = {
    "version": "1.0.0",
    "ready": True,
    "reason": None,
    "strategy": "auto",
    "workers": [
        {
            "slot": 0,
            "state": "ready",
            "reason": None,
            "pid": 4711,
            "restarts": 0,
            "in_flight": 1,
            "sessions_ready": 3,
            "notes": [],
            "permissions_refused": 0,
        }
    ],
    "draining": 0,
    "subprocesses": 0,
    "waiting": 0,
}
NOT_READY_EXAMPLE: Mapping[str, Any] = {
    **READY_EXAMPLE,
    "ready": False,
    "reason": "The Cursor CLI is not signed in.",
    "workers": [
        {
            **READY_EXAMPLE["workers"][0],
            "state": "tripped",
            "reason": "The Cursor CLI is not signed in.",
            "pid": None,
            "in_flight": 0,
            "sessions_ready": 0,
        }
    ],
}


def stream_example() -> str:
    """Return a streamed answer as it is on the wire."""
    chunk = {**_ANSWER, "object": "chat.completion.chunk", "usage": None}
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": _TEXT[:9]}, None),
        ({"content": _TEXT[9:]}, None),
        ({}, "stop"),
    ]
    events = [
        {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    lines = [json.dumps(event) for event in (*events, {**chunk, "choices": [], "usage": _USAGE})]
    return "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]"))
