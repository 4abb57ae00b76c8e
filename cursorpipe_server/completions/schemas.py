"""The shape of a text completion request, as old clients send it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema

from cursorpipe_server.chat.schemas import (
    MAX_CHOICES,
    STREAM_OPTIONS_NEED_STREAM,
    WHOLE,
    Bookkeeping,
    ChoiceCount,
    ModelName,
    Sampling,
    StopText,
    StreamOptions,
    TokenLimit,
)

#: The document's words for the rule that there are no more than 8 answers in all: if there are more than so
#: many prompts, there are no more than so many answers to each.
_FEWER_EACH: list[Any] = [
    {
        "if": {"properties": {"prompt": {"type": "array", "minItems": prompts + 1}}},
        "then": {"properties": {"n": {"anyOf": [{"type": "integer", "maximum": each}, {"type": "null"}]}}},
    }
    for prompts, each in ((1, 4), (2, 2), (4, 1))
]


class TextCompletionRequest(Bookkeeping, Sampling):
    """A text that the agent is given as it is. What has no effect is named in `x-cursorpipe-ignored`."""

    model_config = ConfigDict(
        extra="allow", strict=True, json_schema_extra={**STREAM_OPTIONS_NEED_STREAM, "allOf": _FEWER_EACH}
    )

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)] = Field(
        description="A text, or up to 8 of them; tokens as numbers cannot be read."
    )
    model: ModelName | None = Field(default=None, description="As for chat completions.")
    stream: bool | None = Field(default=None, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream`.")
    n: ChoiceCount | None = Field(default=None, description="How many answers to each prompt; 8 in all.")
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = Field(
        default=None, description="Up to 4 texts before which the answer ends."
    )
    max_tokens: TokenLimit | None = Field(
        default=None,
        description="Tokens, as estimated from the text, after which the answer ends; by default it is "
        "not cut.",
    )
    logprobs: Annotated[int, Field(ge=0, le=5), WHOLE] | None = Field(
        default=None, description="Has no effect: always null."
    )
    best_of: Annotated[int, Field(ge=0, le=20), WHOLE] | None = Field(
        default=None, description="Has no effect."
    )
    echo: Annotated[bool, WithJsonSchema({"const": False})] | None = Field(
        default=None, description="Only false: the prompt is not repeated."
    )
    suffix: Annotated[str, WithJsonSchema({"const": ""})] | None = Field(
        default=None, description="Only empty: nothing can be inserted."
    )
