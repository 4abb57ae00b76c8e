"""The shape of a chat completion request, as OpenAI's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: The most messages a request may have; no client of today comes near it.
MAX_MESSAGES = 10_000


def _reject_media(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in {"text", "refusal"}:
        raise ValueError(f"content of type '{kind}' is not supported; send text")
    return part


class TextPart(BaseModel):
    """A part of a message's content. Only text can be passed on."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"type": "text", "text": "Hello"}})

    type: Literal["text", "refusal"] = Field(description="`text`; `refusal` in an assistant's message.")
    text: str | None = Field(default=None, description="The text of a `text` part.")
    refusal: str | None = Field(default=None, description="The text of a `refusal` part.")


Part = Annotated[TextPart, BeforeValidator(_reject_media)]


class ChatMessage(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="Who speaks. `developer` counts as `system`, `function` as `tool`."
    )
    content: str | list[Part] | None = Field(
        default=None, description="The text, whole or in parts. Only an assistant's may be missing."
    )
    name: str | None = Field(default=None, description="Tells speakers of the same role apart.")


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = Field(
        default=None, description="Send one more chunk, without choices, with the usage of the request."
    )


class ChatCompletionRequest(BaseModel):
    """A conversation to be continued. Members that are not listed are accepted and have no effect."""

    model_config = ConfigDict(extra="allow")

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The conversation so far, oldest first."
    )
    model: str | None = Field(
        default=None,
        description="`auto`, or absent: Cursor picks, on a warm agent. A name from `/v1/models` pins that "
        "model, on a process of its own.",
    )
    stream: bool | None = Field(default=None, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream`.")
