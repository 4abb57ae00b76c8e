"""What the OpenAPI document shows as examples; the errors are made by the code that makes real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cursorpipe_core import (
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    BacklogError,
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
from cursorpipe_server.errors import (
    INVALID_REQUEST,
    BearerError,
    CrossOriginError,
    ForeignHostError,
    HeaderTooLargeError,
    MalformedRequestError,
    PayloadError,
    RequestTimeoutError,
    UnsupportedParameterError,
    UriTooLongError,
    envelope,
)
from cursorpipe_server.sse import DONE, KEEP_ALIVE, frame

#: One of each error of the table; what they are on the wire is asked of the table itself.
ERROR_EXAMPLES: tuple[Exception, ...] = (
    InvalidRequestError("Missing required parameter: 'messages'.", param="messages"),
    UnsupportedParameterError("temperature"),
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
    QueueTimeoutError("No agent was free within 60.0s."),
    AgentCrashError("The agent was killed by SIGKILL (out of memory?)."),
    SessionError("The agent answered with an error: Internal error."),
    BacklogError("The answer was read too slowly."),
    RuntimeError(),
    NetworkError("The agent cannot reach Cursor."),
    InvalidOutputError(["year: 'eighteen forty-three' is not of type 'integer'"]),
    ToolsUnavailableError("http"),
    ToolChoiceError(),
    ToolArgumentsError("temperature", ["city: 7 is not of type 'string'"]),
    ToolRoundsError(64),
    AgentNotFoundError("agent"),
    AgentUnavailableError("No agent became ready in time."),
    AgentTimeoutError("request", 300.0),
)


def refused_method(method: str, path: str) -> dict[str, Any]:
    """Return the body of a 405."""
    return _refusal("method_not_allowed", f"Not allowed to {method} on {path}.")


def refused_size() -> dict[str, Any]:
    """Return the body of a 413."""
    return _refusal("request_too_large", "The request body is larger than this server takes.")


def refused_expectation() -> dict[str, Any]:
    """Return the body of a 417."""
    return _refusal("expectation_failed", "The only expectation that can be met is 100-continue.")


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": INVALID_REQUEST, "param": None, "code": code}}


_DONE, _KEEP_ALIVE = DONE.decode(), KEEP_ALIVE.decode()

_CONVERSATION = [{"role": "user", "content": "What is an API?"}]
#: One red pixel.
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
    "/pLvAAAAAElFTkSuQmCC"
)
_PROGRAMMER_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["name", "year"],
    "additionalProperties": False,
}
_WARMTH = {"role": "user", "content": "How warm is it in Oslo?"}
_THERMOMETER = {
    "type": "function",
    "function": {
        "name": "temperature",
        "description": "The temperature outdoors.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_CALL: Mapping[str, Any] = {
    "id": "call_8Qw2bT5xLr9ZkV3nYc7HdE1s",
    "type": "function",
    "function": {"name": "temperature", "arguments": '{"city":"Oslo"}'},
}
CHAT_REQUEST_EXAMPLES: Mapping[str, dict[str, Any]] = {
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
    "choices": {
        "summary": "Two answers, limited",
        "value": {"messages": _CONVERSATION, "n": 2, "stop": ["\n\n"], "max_completion_tokens": 50},
    },
    "json": {
        "summary": "JSON by a schema",
        "value": {
            "messages": [
                {
                    "role": "user",
                    "content": "Who wrote the first program, and when? As in "
                    '{"name": "Tim Berners-Lee", "year": 1991}.',
                }
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "programmer", "schema": _PROGRAMMER_SCHEMA},
            },
        },
    },
    "image": {
        "summary": "A question about an image",
        "value": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What colour is this?"},
                        {"type": "image_url", "image_url": {"url": _PICTURE}},
                    ],
                }
            ]
        },
    },
    "tools": {
        "summary": "A question, and a tool",
        "value": {"messages": [_WARMTH], "tools": [_THERMOMETER], "tool_choice": "auto"},
    },
    "results": {
        "summary": "What the tool gave",
        "value": {
            "messages": [
                _WARMTH,
                {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                {"role": "tool", "tool_call_id": _CALL["id"], "content": "7 °C"},
            ],
            "tools": [_THERMOMETER],
        },
    },
}
TEXT_REQUEST_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "simple": {"summary": "A question", "value": {"model": "auto", "prompt": "What is an API?"}},
    "stream": {
        "summary": "Streamed, with usage",
        "value": {
            "prompt": "What is an API?",
            "max_tokens": 50,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    },
    "prompts": {
        "summary": "Two prompts",
        "value": {"prompt": ["What is an API?", "What is a token?"]},
    },
}

_CREATED = 1712160000
_USAGE: Mapping[str, Any] = {
    "prompt_tokens": 12,
    "completion_tokens": 17,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
_TEXT = "An API is a set of rules by which programs talk."
_THOUGHT = "A definition is wanted."
_CHAT_ANSWER = {"id": "chatcmpl-7f3a", "created": _CREATED, "model": "auto"}
_TEXT_ANSWER = {"id": "cmpl-7f3a", "object": "text_completion", "created": _CREATED, "model": "auto"}
_MESSAGE = {"role": "assistant", "content": _TEXT, "refusal": None, "reasoning_content": _THOUGHT}
_CALLING = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_CALL]}


def _chat_example(message: Mapping[str, Any], reason: str) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {**_CHAT_ANSWER, "object": "chat.completion", "choices": [choice], "usage": _USAGE}


CHAT_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "answer": {"summary": "An answer", "value": _chat_example(_MESSAGE, "stop")},
    "calls": {"summary": "A call of a tool", "value": _chat_example(_CALLING, "tool_calls")},
}
_TEXT_CHOICE = {"text": _TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}
TEXT_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "answer": {"summary": "An answer", "value": {**_TEXT_ANSWER, "choices": [_TEXT_CHOICE], "usage": _USAGE}},
}
MODEL_EXAMPLE: Mapping[str, Any] = {
    "id": "claude-4.5-sonnet-thinking",
    "object": "model",
    "created": _CREATED,
    "owned_by": "anthropic",
}


def chat_stream_examples() -> dict[str, dict[str, Any]]:
    """Return streamed answers to a conversation as they are on the wire."""
    chunk = {**_CHAT_ANSWER, "object": "chat.completion.chunk"}
    said: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"reasoning_content": _THOUGHT}, None),
        ({"content": _TEXT[:9]}, None),
        ({"content": _TEXT[9:]}, None),
        ({}, "stop"),
    ]
    begun = {**_CALL, "function": {**_CALL["function"], "arguments": ""}}
    arguments = {"arguments": _CALL["function"]["arguments"]}
    called: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": None}, None),
        ({"tool_calls": [{"index": 0, **begun}]}, None),
        ({"tool_calls": [{"index": 0, "function": arguments}]}, None),
        ({}, "tool_calls"),
    ]
    calls = "".join([_event({**chunk, "choices": [choice]}) for choice in _chat_choices(called)])
    return {
        **_stream_examples(chunk, _chat_choices(said)),
        "calls": {"summary": "A call of a tool", "value": calls + _DONE},
    }


def _chat_choices(deltas: Sequence[tuple[dict[str, Any], str | None]]) -> list[dict[str, Any]]:
    return [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason} for delta, reason in deltas
    ]


def text_stream_examples() -> dict[str, dict[str, Any]]:
    """Return streamed answers to a prompt as they are on the wire."""
    texts = [(_TEXT[:9], None), (_TEXT[9:], None), ("", "stop")]
    choices = [
        {"text": text, "index": 0, "logprobs": None, "finish_reason": reason} for text, reason in texts
    ]
    return _stream_examples(_TEXT_ANSWER, choices)


def _stream_examples(chunk: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    plain = [_event({**chunk, "choices": [choice]}) for choice in choices]
    counted = [_event({**chunk, "choices": [choice], "usage": None}) for choice in choices]
    usage = _event({**chunk, "choices": [], "usage": _USAGE})
    failure = _event(envelope(AgentCrashError("The agent was killed by SIGKILL (out of memory?).")))
    return {
        "answer": {"summary": "An answer", "value": "".join([*plain, _DONE])},
        "usage": {"summary": "With the usage", "value": "".join([*counted, usage, _DONE])},
        "failure": {
            "summary": "After a silence, and failed on the way",
            "value": "".join([_KEEP_ALIVE, *plain[:-1], failure]),
        },
    }


def _event(data: Mapping[str, Any]) -> str:
    return frame(data).decode()
