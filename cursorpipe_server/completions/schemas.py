"""The shape of a text completion request, as old clients send it."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from cursorpipe_server.chat.schemas import MAX_CHOICES, Bookkeeping, Sampling, StopText, StreamOptions


class TextCompletionRequest(Bookkeeping, Sampling):
    """A text that the agent is given as it is. What has no effect is named in `x-cursorpipe-ignored`."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)] = Field(
        description="A text, or up to 8 of them; tokens as numbers cannot be read."
    )
    model: str | None = Field(default=None, description="As for chat completions.")
    stream: bool | None = Field(default=None, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream`.")
    n: int | None = Field(
        default=None, ge=1, le=MAX_CHOICES, description="How many answers to each prompt; 8 in all."
    )
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = Field(
        default=None, description="Up to 4 texts before which the answer ends."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens, as estimated from the text, after which the answer ends; by default it is "
        "not cut.",
    )
    logprobs: int | None = Field(default=None, ge=0, le=5, description="Has no effect: always null.")
    best_of: int | None = Field(default=None, ge=0, le=20, description="Has no effect.")
    echo: bool | None = Field(default=None, description="Only false: the prompt is not repeated.")
    suffix: str | None = Field(default=None, description="Only empty: nothing can be inserted.")
