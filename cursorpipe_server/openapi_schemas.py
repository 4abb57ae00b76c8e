"""The JSON schemas of what the API takes and answers, as the OpenAPI document holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cursorpipe_core import SlotState, Strategy
from cursorpipe_server.chat.schemas import MAX_CHOICES, ChatCompletionRequest
from cursorpipe_server.completions.schemas import TextCompletionRequest

#: A JSON schema, or a part of one.
Schema = dict[str, Any]

REF_TEMPLATE = "#/components/schemas/{model}"


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": REF_TEMPLATE.format(model=name)}


def schemas() -> dict[str, Schema]:
    """Return every schema of the document by its name."""
    return {**_request_schemas(), **_CHAT, **_TEXT, **_USAGE, **_MODELS, **_ERRORS, **_OPERATIONS}


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


def _object(properties: Mapping[str, Schema], *, about: str, optional: Iterable[str] = ()) -> Schema:
    left_out = frozenset(optional)
    return {
        "type": "object",
        "description": about,
        "properties": dict(properties),
        "required": [name for name in properties if name not in left_out],
    }


def _text(about: str, *, null: bool = False) -> Schema:
    return {"type": ["string", "null"] if null else "string", "description": about}


def _count(about: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": about}


def _one_of(values: type[StrEnum], about: str) -> Schema:
    return {"type": "string", "enum": [value.value for value in values], "description": about}


def _list(items: Schema, about: str) -> Schema:
    return {"type": "array", "items": items, "description": about}


_CREATED: Schema = {"type": "integer", "description": "Unix time in seconds."}
_ID = _text("Begins with `chatcmpl-`; the same in all chunks of an answer.")
_TEXT_ID = _text("Begins with `cmpl-`; the same in all chunks of an answer.")
_MODEL = _text("The model as it was asked for; `auto` if none was.")
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
_FINISH_REASON: Schema = {
    "enum": _FINISH_REASONS,
    "description": "Why the answer ended. `stop`: of itself, or at one of `stop`; `length`: at the limit of "
    "tokens; `content_filter`: the agent refused.",
}
_NO_FINISH_REASON_YET: Schema = {
    "enum": [*_FINISH_REASONS, None],
    "description": "Null until the answer ends.",
}


def _choices(schema: str) -> Schema:
    about = f"As many as `n`, at most {MAX_CHOICES}, in the order of their `index`."
    return {**_list(ref(schema), about), "minItems": 1, "maxItems": MAX_CHOICES}


def _chunk_choices(schema: str) -> Schema:
    about = "One; chunks of several answers come as they are made. None in the last chunk with the usage."
    return {**_list(ref(schema), about), "maxItems": 1}


_CHUNK_USAGE: Schema = {
    "anyOf": [ref("Usage"), {"type": "null"}],
    "description": "Only with `stream_options.include_usage`; null in all chunks but the last.",
}


def _event(chunk: str) -> Schema:
    """Return the schema of an event of a stream, as whoever reads the stream finds it in `data`."""
    return _object(
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


_CHAT: dict[str, Schema] = {
    "ChatCompletion": _object(
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
    "Choice": _object(
        {
            "index": _INDEX,
            "message": ref("AnswerMessage"),
            "logprobs": _LOGPROBS,
            "finish_reason": _FINISH_REASON,
        },
        about="An answer and why it ended.",
    ),
    "AnswerMessage": _object(
        {
            "role": {"const": "assistant"},
            "content": _text("The text of the answer."),
            "refusal": {"type": "null", "description": "A refusal of the agent is part of its text."},
            "reasoning_content": _text(
                "What the agent thought, if it said so; never with `CURSORPIPE_REASONING=off`."
            ),
        },
        about="What the agent said.",
        optional={"reasoning_content"},
    ),
    "ChatCompletionChunk": _object(
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
    "ChunkChoice": _object(
        {
            "index": _INDEX,
            "delta": ref("Delta"),
            "logprobs": _LOGPROBS,
            "finish_reason": _NO_FINISH_REASON_YET,
        },
        about="The next piece of an answer.",
    ),
    "Delta": _object(
        {
            "role": {"const": "assistant", "description": "In the first chunk of an answer."},
            "content": _text("The next piece of the text."),
            "reasoning_content": _text("The next piece of what the agent thinks."),
        },
        about="What is new; empty in the chunk that ends an answer.",
        optional={"role", "content", "reasoning_content"},
    ),
}

_TEXT: dict[str, Schema] = {
    "TextCompletion": _object(
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
    "TextChoice": _object(
        {
            "text": _text("The text of the answer."),
            "index": _TEXT_INDEX,
            "logprobs": _LOGPROBS,
            "finish_reason": _FINISH_REASON,
        },
        about="An answer and why it ended.",
    ),
    "TextCompletionChunk": _object(
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
    "TextChunkChoice": _object(
        {
            "text": _text("The next piece of the text; empty in the chunk that ends an answer."),
            "index": _TEXT_INDEX,
            "logprobs": _LOGPROBS,
            "finish_reason": _NO_FINISH_REASON_YET,
        },
        about="The next piece of an answer.",
    ),
}

_USAGE: dict[str, Schema] = {
    "Usage": _object(
        {
            "prompt_tokens": _count("Tokens of the conversation, with the cached ones."),
            "completion_tokens": _count("Tokens of all answers, with the thoughts."),
            "total_tokens": _count("The sum of both."),
            "prompt_tokens_details": _object(
                {"cached_tokens": _count("Tokens that a cache of the provider held.")},
                about="What the tokens of the conversation were.",
            ),
            "completion_tokens_details": _object(
                {"reasoning_tokens": _count("Tokens of the thoughts; always estimated.")},
                about="What the tokens of the answers were.",
            ),
        },
        about="Tokens of the request; `x-cursorpipe-usage` says whether they are estimated.",
    ),
}

_MODELS: dict[str, Schema] = {
    "Model": _object(
        {
            "id": _text("The name that `model` takes."),
            "object": {"const": "model"},
            "created": {**_CREATED, "description": "A fixed date: the agent tells none."},
            "owned_by": _text(
                "Who makes models of this family, by the name: `anthropic`, `openai`, `google`, …; `cursor` "
                "for all others."
            ),
        },
        about="A model that can be asked for.",
    ),
    "ModelList": _object(
        {"object": {"const": "list"}, "data": _list(ref("Model"), "`auto` is the first, aliases come last.")},
        about="The models that can be asked for.",
    ),
}

_ERRORS: dict[str, Schema] = {
    "Error": _object(
        {
            "error": _object(
                {
                    "message": _text("What happened, for people."),
                    "type": _text("The kind of error."),
                    "param": _text(
                        "The path of the member of the request that is wrong, such as `messages.0.role`.",
                        null=True,
                    ),
                    "code": _text("The cause, for programs.", null=True),
                },
                about="The error.",
            )
        },
        about="The body of every answer that is an error, and of the event that ends a failed stream.",
    ),
}

_OPERATIONS: dict[str, Schema] = {
    "Health": _object({"status": {"const": "ok"}}, about="The server is up."),
    "Readiness": _object(
        {
            "version": _text("The version of cursorpipe."),
            "ready": {"type": "boolean", "description": "A request made now would be served."},
            "reason": _text("Why not, if not.", null=True),
            "strategy": _one_of(Strategy, "Which backends serve."),
            "workers": _list(ref("Worker"), "The agents that are kept alive."),
            "draining": _count("Workers that have been replaced and finish what they have."),
            "subprocesses": _count("Agents that run for one request each, now."),
            "waiting": _count("Requests that wait for their turn."),
        },
        about="Whether an agent can serve, and what each one does.",
    ),
    "Worker": _object(
        {
            "slot": _count("The place of the worker; it outlives its process."),
            "state": _one_of(SlotState, "Where the worker is in its life."),
            "reason": _text("Why it is in this state, where there is something to say.", null=True),
            "pid": {"type": ["integer", "null"], "description": "The process, if there is one."},
            "restarts": _count("How often it was started again."),
            "in_flight": _count("Requests it serves now."),
            "sessions_ready": _count("Sessions that wait for a request."),
            "notes": _list({"type": "string"}, "What the operator should know of it."),
            "permissions_refused": _count("Permission requests of the agent that were refused."),
            "model": _text("The model of a worker that serves no other.", null=True),
        },
        about="One agent that is kept alive.",
    ),
}
