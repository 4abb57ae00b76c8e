"""The JSON schemas of what the API takes and answers, as the OpenAPI document holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cursorpipe_server.chat.schemas import MAX_CHOICES, ChatCompletionRequest
from cursorpipe_server.completions.schemas import TextCompletionRequest
from cursorpipe_server.openapi_operations import MODELS, OPERATIONS
from cursorpipe_server.openapi_shapes import REF_TEMPLATE, Schema, count, list_of, members, ref, text


def schemas() -> dict[str, Schema]:
    """Return every schema of the document by its name."""
    return {**_request_schemas(), **_CHAT, **_TEXT, **_USAGE, **MODELS, **_ERRORS, **OPERATIONS}


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names; the pages would show each name twice."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _request_schemas() -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for model in (ChatCompletionRequest, TextCompletionRequest):
        body = model.model_json_schema(ref_template=REF_TEMPLATE, schema_generator=_Untitled)
        found |= body.pop("$defs", {})
        found[model.__name__] = body
    return found


_CREATED: Schema = {"type": "integer", "description": "Unix time in seconds."}
_ID = text("Begins with `chatcmpl-`; the same in all chunks of an answer.")
_TEXT_ID = text("Begins with `cmpl-`; the same in all chunks of an answer.")
_MODEL = text("The model as it was asked for; `auto` if none was.")
_INDEX: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": MAX_CHOICES - 1,
    "description": "Which of the `n` answers this is.",
}
_TEXT_INDEX: Schema = {
    **_INDEX,
    "description": "Which of the answers this is: the `n` to the first prompt come first.",
}
_LOGPROBS: Schema = {"type": "null", "description": "The agent reports none."}
_FINISH_REASONS = ["stop", "length", "content_filter"]
_ABOUT_REASONS = (
    "Why the answer ended. `stop`: of itself, or at one of `stop`; `length`: at the limit of tokens; "
    "`content_filter`: the agent refused"
)
_CHAT_FINISH_REASONS = [*_FINISH_REASONS, "tool_calls", "function_call"]
_FINISH_REASON: Schema = {"enum": _FINISH_REASONS, "description": f"{_ABOUT_REASONS}."}
_CHAT_FINISH_REASON: Schema = {
    "enum": _CHAT_FINISH_REASONS,
    "description": f"{_ABOUT_REASONS}; `tool_calls`: the agent waits for what the tools give, which the next "
    "request tells; `function_call`: the same of `functions`.",
}


def _or_none_yet(reasons: Iterable[str]) -> Schema:
    return {"enum": [*reasons, None], "description": "Null until the answer ends."}


def _choices(schema: str) -> Schema:
    about = f"As many as `n`, at most {MAX_CHOICES}, in the order of their `index`."
    return {**list_of(ref(schema), about), "minItems": 1, "maxItems": MAX_CHOICES}


def _chunk_choices(schema: str) -> Schema:
    about = "One; chunks of several answers come as they are made. None in the last chunk with the usage."
    return {**list_of(ref(schema), about), "maxItems": 1}


_CHUNK_USAGE: Schema = {
    "anyOf": [ref("Usage"), {"type": "null"}],
    "description": "Only with `stream_options.include_usage`; null in all chunks but the last.",
}


def _event(chunk: str) -> Schema:
    """Return the schema of an event of a stream, as whoever reads the stream finds it in `data`."""
    return members(
        {
            "data": {
                "type": "string",
                "anyOf": [
                    {"const": "[DONE]"},
                    {
                        "contentMediaType": "application/json",
                        "contentSchema": {"anyOf": [ref(chunk), ref("Error")]},
                    },
                ],
                "description": f"A `{chunk}`, or the end: `[DONE]`, or the `Error` that ended it.",
            }
        },
        about="One server-sent event.",
    )


_CALLED = members(
    {"name": text("The tool."), "arguments": text("An object, JSON in a string.")},
    about="What is called, and with what.",
)
_CALLED_DELTA = members(
    {
        "name": text("The tool; in the first piece of a call."),
        "arguments": text("The next piece of the arguments, JSON in a string."),
    },
    about="What is called, and with what.",
    optional={"name"},
)

_CHAT: dict[str, Schema] = {
    "ChatCompletion": members(
        {
            "id": _ID,
            "object": {"const": "chat.completion"},
            "created": _CREATED,
            "model": _MODEL,
            "choices": _choices("Choice"),
            "usage": ref("Usage"),
        },
        about="A whole answer.",
    ),
    "Choice": members(
        {
            "index": _INDEX,
            "message": ref("AnswerMessage"),
            "logprobs": _LOGPROBS,
            "finish_reason": _CHAT_FINISH_REASON,
        },
        about="An answer and why it ended.",
    ),
    "AnswerMessage": members(
        {
            "role": {"const": "assistant"},
            "content": text("The text of the answer; null where there are only calls.", null=True),
            "refusal": {"type": "null", "description": "A refusal of the agent is part of its text."},
            "reasoning_content": text(
                "What the agent thought, if it said so; never with `CURSORPIPE_REASONING=off`."
            ),
            "tool_calls": {
                **list_of(
                    ref("ToolCall"), "The calls of your tools, to be answered all in the next request."
                ),
                "minItems": 1,
            },
            "function_call": {**_CALLED, "description": "The call of one of your `functions`."},
        },
        about="What the agent said, or wants to be called.",
        optional={"reasoning_content", "tool_calls", "function_call"},
    ),
    "ToolCall": members(
        {
            "id": text("What the tool's result refers to."),
            "type": {"const": "function"},
            "function": _CALLED,
        },
        about="A call of a tool.",
    ),
    "ChatCompletionChunk": members(
        {
            "id": _ID,
            "object": {"const": "chat.completion.chunk"},
            "created": _CREATED,
            "model": _MODEL,
            "choices": _chunk_choices("ChunkChoice"),
            "usage": _CHUNK_USAGE,
        },
        about="What one event of a streamed answer carries.",
        optional={"usage"},
    ),
    "ChatCompletionEvent": _event("ChatCompletionChunk"),
    "ChunkChoice": members(
        {
            "index": _INDEX,
            "delta": ref("Delta"),
            "logprobs": _LOGPROBS,
            "finish_reason": _or_none_yet(_CHAT_FINISH_REASONS),
        },
        about="The next piece of an answer.",
    ),
    "Delta": members(
        {
            "role": {"const": "assistant", "description": "In the first chunk of an answer."},
            "content": text(
                "The next piece of the text; null in the first chunk if nothing is said before calls.",
                null=True,
            ),
            "reasoning_content": text("The next piece of what the agent thinks."),
            "tool_calls": {
                **list_of(ref("ToolCallDelta"), "A call of a tool, or more of its arguments."),
                "minItems": 1,
                "maxItems": 1,
            },
            "function_call": {
                **_CALLED_DELTA,
                "description": "The call of one of your `functions`, or more of its arguments.",
            },
        },
        about="What is new; empty in the chunk that ends an answer.",
        optional={"role", "content", "reasoning_content", "tool_calls", "function_call"},
    ),
    "ToolCallDelta": members(
        {
            "index": count("Which of the answer's calls this is."),
            "id": text("What the tool's result refers to; in the first piece of a call."),
            "type": {"const": "function", "description": "In the first piece of a call."},
            "function": _CALLED_DELTA,
        },
        about="A piece of a call: first its id and its name, then its arguments.",
        optional={"id", "type"},
    ),
}

_TEXT: dict[str, Schema] = {
    "TextCompletion": members(
        {
            "id": _TEXT_ID,
            "object": {"const": "text_completion"},
            "created": _CREATED,
            "model": _MODEL,
            "choices": _choices("TextChoice"),
            "usage": ref("Usage"),
        },
        about="A whole answer to one or more prompts.",
    ),
    "TextChoice": members(
        {
            "text": text("The text of the answer."),
            "index": _TEXT_INDEX,
            "logprobs": _LOGPROBS,
            "finish_reason": _FINISH_REASON,
        },
        about="An answer and why it ended.",
    ),
    "TextCompletionChunk": members(
        {
            "id": _TEXT_ID,
            "object": {"const": "text_completion"},
            "created": _CREATED,
            "model": _MODEL,
            "choices": _chunk_choices("TextChunkChoice"),
            "usage": _CHUNK_USAGE,
        },
        about="What one event of a streamed answer carries.",
        optional={"usage"},
    ),
    "TextCompletionEvent": _event("TextCompletionChunk"),
    "TextChunkChoice": members(
        {
            "text": text("The next piece of the text; empty in the chunk that ends an answer."),
            "index": _TEXT_INDEX,
            "logprobs": _LOGPROBS,
            "finish_reason": _or_none_yet(_FINISH_REASONS),
        },
        about="The next piece of an answer.",
    ),
}

_USAGE: dict[str, Schema] = {
    "Usage": members(
        {
            "prompt_tokens": count("Tokens of the conversation, with the cached ones."),
            "completion_tokens": count("Tokens of all answers, with the thoughts."),
            "total_tokens": count("The sum of both."),
            "prompt_tokens_details": members(
                {"cached_tokens": count("Tokens that a cache of the provider held.")},
                about="What the tokens of the conversation were.",
            ),
            "completion_tokens_details": members(
                {"reasoning_tokens": count("Tokens of the thoughts; always estimated.")},
                about="What the tokens of the answers were.",
            ),
        },
        about="Tokens of the request; `x-cursorpipe-usage` says whether they are estimated.",
    ),
}

_ERRORS: dict[str, Schema] = {
    "Error": members(
        {
            "error": members(
                {
                    "message": text("What happened, for people."),
                    "type": text("The kind of error."),
                    "param": text(
                        "The path of the member of the request that is wrong, such as `messages.0.role`.",
                        null=True,
                    ),
                    "code": text("The cause, for programs.", null=True),
                },
                about="The error.",
            )
        },
        about="The body of every answer that is an error, and of the event that ends a failed stream.",
    ),
}
