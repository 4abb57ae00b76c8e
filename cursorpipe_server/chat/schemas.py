"""The shape of a chat completion request, as OpenAI's clients send it.

An explicit null counts as "not given" everywhere but in a message's content. Members that are not
listed are accepted, because clients send ahead of every published schema; they are named as ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

#: The most messages a request may have; no client of today comes near it.
MAX_MESSAGES = 10_000
#: The most answers to one request, each of which is a turn of an agent.
MAX_CHOICES = 8

_STRICT = ConfigDict(extra="allow", strict=True)


def _refuse_media(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in {"text", "refusal", "image_url"}:
        raise ValueError(f"content of type '{kind}' is not supported; send text or images")
    return part


class ImageUrl(BaseModel):
    """Where an image is: in the request itself."""

    model_config = _STRICT

    url: str = Field(
        description="A data URL, `data:image/png;base64,…`: PNG, JPEG, GIF or WebP. Nothing is fetched."
    )
    detail: str | None = Field(default=None, description="Has no effect.")


class ContentPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(
        extra="allow", strict=True, json_schema_extra={"example": {"type": "text", "text": "Hello"}}
    )

    type: Literal["text", "refusal", "image_url"] = Field(
        description="`text`; `image_url` in a user's message; `refusal` in an assistant's."
    )
    text: str | None = Field(default=None, description="The text of a `text` part.")
    refusal: str | None = Field(default=None, description="The text of a `refusal` part.")
    image_url: ImageUrl | None = Field(default=None, description="The image of an `image_url` part.")


Part = Annotated[ContentPart, BeforeValidator(_refuse_media)]


class CalledFunction(BaseModel):
    """A function that an assistant's message called."""

    model_config = _STRICT

    name: str = Field(description="The name of the function.")
    arguments: str = Field(description="The arguments, JSON in a string.")


class CalledCustomTool(BaseModel):
    """A custom tool that an assistant's message called."""

    model_config = _STRICT

    name: str = Field(description="The name of the tool.")
    input: str = Field(description="What it was given.")


class MessageToolCall(BaseModel):
    """A call of a tool in an assistant's message."""

    model_config = _STRICT

    id: str = Field(description="What the tool's result refers to.")
    type: str = Field(default="function", description="`function` or `custom`.")
    function: CalledFunction | None = Field(default=None, description="The call of a `function`.")
    custom: CalledCustomTool | None = Field(default=None, description="The call of a `custom` tool.")


class ChatMessage(BaseModel):
    """One message of the conversation."""

    model_config = _STRICT

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="Who speaks. `developer` counts as `system`, `function` as `tool`."
    )
    content: str | list[Part] | None = Field(
        default=None, description="The text, whole or in parts. Only an assistant's may be missing."
    )
    name: str | None = Field(default=None, description="Tells speakers of the same role apart.")
    refusal: str | None = Field(default=None, description="What an assistant said instead of an answer.")
    tool_calls: list[MessageToolCall] | None = Field(
        default=None, description="The tools that an assistant's message called."
    )
    function_call: CalledFunction | None = Field(
        default=None, description="The function that an assistant's message called, in the older form."
    )
    tool_call_id: str | None = Field(
        default=None, description="The call that a tool's message is the result of."
    )


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = _STRICT

    include_usage: bool | None = Field(
        default=None, description="Send one more chunk, without choices, with the usage of the request."
    )
    include_obfuscation: bool | None = Field(default=None, description="Has no effect: nothing is padded.")


class JsonSchema(BaseModel):
    """A JSON schema for the answer."""

    model_config = _STRICT

    name: str = Field(
        pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="A name for the schema, which the agent is told."
    )
    description: str | None = Field(default=None, description="What the answer is for.")
    schema_: dict[str, Any] | bool | None = Field(
        default=None,
        alias="schema",
        description="The schema; by default that of 2020-12. References within it only, no "
        "`patternProperties`.",
    )
    strict: bool | None = Field(
        default=None, description="Every answer is checked by the schema, whatever this says."
    )


class ResponseFormat(BaseModel):
    """The format of the answer."""

    model_config = _STRICT

    type: Literal["text", "json_object", "json_schema"] = Field(description="`text` is the ordinary way.")
    json_schema: JsonSchema | None = Field(default=None, description="With `json_schema`.")


class FunctionDefinition(BaseModel):
    """A function that the caller offers."""

    model_config = _STRICT

    name: str = Field(description="The name of the function.")
    description: str | None = Field(default=None, description="What it does.")
    parameters: dict[str, Any] | None = Field(default=None, description="Its arguments as a JSON schema.")
    strict: bool | None = Field(default=None, description="Whether calls must keep to the schema.")


class Tool(BaseModel):
    """A tool that the caller offers."""

    model_config = _STRICT

    type: str = Field(description="`function`, or another kind.")
    function: FunctionDefinition | None = Field(default=None, description="The tool of kind `function`.")


class Bookkeeping(BaseModel):
    """Parameters that are the caller's own notes: there is nothing of them to honour."""

    user: str | None = Field(default=None, description="Your name for the end user. Accepted.")
    metadata: dict[str, str] | None = Field(default=None, description="Your own notes. Accepted.")
    store: bool | None = Field(default=None, description="Accepted: nothing is ever stored.")
    service_tier: str | None = Field(default=None, description="Accepted: there is one tier.")
    safety_identifier: str | None = Field(default=None, description="Accepted.")
    prompt_cache_key: str | None = Field(default=None, description="Accepted.")
    prompt_cache_retention: str | None = Field(default=None, description="Accepted.")


Bias = Annotated[float, Field(ge=-100, le=100)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
StopText = Annotated[str, StringConstraints(min_length=1)]


class Sampling(BaseModel):
    """Parameters of sampling, for which the CLI has no argument: named as ignored unless they say nothing."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="Has no effect.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Has no effect.")
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1, description="Has no effect.")
    presence_penalty: Penalty | None = Field(default=None, description="Has no effect.")
    frequency_penalty: Penalty | None = Field(default=None, description="Has no effect.")
    logit_bias: dict[str, Bias] | None = Field(default=None, description="Has no effect.")


class ChatCompletionRequest(Bookkeeping, Sampling):
    """A conversation to be continued.

    What has no effect is named in the header `x-cursorpipe-ignored`, as is every member that is not
    listed here; with `CURSORPIPE_STRICT_PARAMS` it is refused instead.
    """

    model_config = _STRICT

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
    n: int | None = Field(
        default=None,
        ge=1,
        le=MAX_CHOICES,
        description="How many answers, each a turn of an agent of its own.",
    )
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = Field(
        default=None, description="Up to 4 texts before which the answer ends."
    )
    max_completion_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens, as estimated from the text, after which the answer ends. Thoughts do not count.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="The older name of `max_completion_tokens`; the smaller one counts."
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="JSON is checked; an answer that is not valid is corrected once."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None,
        description="Picks the variant of a pinned model whose name ends so, where there is one.",
    )
    modalities: list[Literal["text", "audio"]] | None = Field(
        default=None, description="Only `text` can be had."
    )
    logprobs: bool | None = Field(default=None, description="Has no effect: always null.")
    top_logprobs: int | None = Field(default=None, ge=0, le=20, description="Has no effect.")
    tools: list[Tool] | None = Field(default=None, description="Has no effect yet.")
    tool_choice: str | dict[str, Any] | None = Field(
        default=None, description="`none` or `auto`; a tool cannot be required yet."
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Has no effect yet.")
    functions: list[FunctionDefinition] | None = Field(default=None, description="Has no effect yet.")
    function_call: str | dict[str, Any] | None = Field(
        default=None, description="`none` or `auto`; a function cannot be required yet."
    )
