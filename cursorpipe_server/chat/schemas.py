"""The shape of a chat completion request, as OpenAI's clients send it.

An explicit null counts as "not given" everywhere but in a message's content. Members that are not
listed are accepted, because clients send ahead of every published schema; they are named as ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from cursorpipe_server.chat.message_schemas import ChatMessage

#: The most messages a request may have; no client of today comes near it.
MAX_MESSAGES = 10_000
#: The most answers to one request, each of which is a turn of an agent.
MAX_CHOICES = 8
#: The most tools that one request may offer.
MAX_TOOLS = 128

#: Space and control characters one by one: what `\s` is, each dialect of patterns has its own mind about.
_NO_NAME = r"\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
#: The document's words for `is_model_name`; an empty name is none, which is taken as well.
MODEL_NAME = f"^(?:[^{_NO_NAME}-][^{_NO_NAME}]{{0,255}})?$"

_STRICT = ConfigDict(extra="allow", strict=True)


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
    schema_: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        examples=[{"type": "object", "properties": {"answer": {"type": "string"}}}],
        description="The schema; by default that of 2020-12. References within it only, no "
        "`patternProperties`.",
    )
    strict: bool | None = Field(
        default=None, description="Every answer is checked by the schema, whatever this says."
    )


class TextFormat(BaseModel):
    """The ordinary way: no format."""

    model_config = _STRICT

    type: Literal["text"] = Field(description="The kind of format.")


class JsonObjectFormat(BaseModel):
    """Any JSON object."""

    model_config = _STRICT

    type: Literal["json_object"] = Field(description="The kind of format.")


class JsonSchemaFormat(BaseModel):
    """JSON that is valid by a schema."""

    model_config = _STRICT

    type: Literal["json_schema"] = Field(description="The kind of format.")
    json_schema: JsonSchema = Field(description="What the answer is checked by.")


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class FunctionDefinition(BaseModel):
    """A function that the caller offers."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="The name of the function.")
    description: str | None = Field(default=None, description="What it does.")
    parameters: dict[str, Any] | None = Field(
        default=None, description="Its arguments as a JSON schema; without one it takes any object."
    )
    strict: bool | None = Field(
        default=None,
        description="Calls are checked by the schema, and the agent corrects those that are not valid. With "
        "`CURSORPIPE_TOOL_CHECKS=strict` only calls of tools that ask for it are.",
    )


def _refuse_kind(kind: Any) -> Any:
    if isinstance(kind, str) and kind != "function":
        raise ValueError(f"tools of type '{kind}' are not supported")
    return kind


class Tool(BaseModel):
    """A tool that the caller offers, and runs."""

    model_config = _STRICT

    type: Annotated[Literal["function"], BeforeValidator(_refuse_kind)] = Field(
        description="There are no others."
    )
    function: FunctionDefinition = Field(description="What the tool is.")


#: The document's words for what `check_stream_options` refuses.
STREAM_OPTIONS_NEED_STREAM: dict[str, Any] = {
    "if": {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}},
    "then": {"required": ["stream"], "properties": {"stream": {"const": True}}},
}


class Bookkeeping(BaseModel):
    """Parameters that are the caller's own notes: there is nothing of them to honour."""

    user: str | None = Field(default=None, description="Your name for the end user. Accepted.")
    metadata: dict[str, str] | None = Field(default=None, description="Your own notes. Accepted.")
    store: bool | None = Field(default=None, description="Accepted: nothing is ever stored.")
    service_tier: str | None = Field(default=None, description="Accepted: there is one tier.")
    safety_identifier: str | None = Field(default=None, description="Accepted.")
    prompt_cache_key: str | None = Field(default=None, description="Accepted.")
    prompt_cache_retention: str | None = Field(default=None, description="Accepted.")


def _whole(number: Any) -> Any:
    # JSON has one kind of number, and some programs write 1 as 1.0. From 2^53 on a float is not one number.
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return number


WHOLE = BeforeValidator(_whole)
Bias = Annotated[float, Field(ge=-100, le=100)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
StopText = Annotated[str, StringConstraints(min_length=1)]
#: A name that a model can have; what is none is refused before any model is looked for.
ModelName = Annotated[str, WithJsonSchema({"type": "string", "pattern": MODEL_NAME, "examples": ["auto"]})]
TokenLimit = Annotated[int, Field(ge=1, le=2**63 - 1), WHOLE]
ChoiceCount = Annotated[int, Field(ge=1, le=MAX_CHOICES), WHOLE]


class Sampling(BaseModel):
    """Parameters of sampling, for which the CLI has no argument: named as ignored unless they say nothing."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="Has no effect.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Has no effect.")
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1), WHOLE] | None = Field(
        default=None, description="Has no effect."
    )
    presence_penalty: Penalty | None = Field(default=None, description="Has no effect.")
    frequency_penalty: Penalty | None = Field(default=None, description="Has no effect.")
    logit_bias: dict[str, Bias] | None = Field(default=None, description="Has no effect.")


#: The next three are refused in words of ours where they ask for what there is not, so the types are wider
#: than what the document says.
Modality = Annotated[Literal["text", "audio"], WithJsonSchema({"const": "text"})]
_NAMED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
_NAMED_TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "function": _NAMED},
    "required": ["type", "function"],
}
_ALLOWED_TOOLS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["auto", "required"]},
        "tools": {"type": "array", "minItems": 1, "items": _NAMED_TOOL},
    },
    "required": ["mode", "tools"],
}
ToolChoice = Annotated[
    str | dict[str, Any],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["none", "auto", "required"]},
                _NAMED_TOOL,
                {
                    "type": "object",
                    "properties": {"type": {"const": "allowed_tools"}, "allowed_tools": _ALLOWED_TOOLS},
                    "required": ["type", "allowed_tools"],
                },
            ]
        }
    ),
]
FunctionChoice = Annotated[
    str | dict[str, Any],
    WithJsonSchema({"anyOf": [{"type": "string", "enum": ["none", "auto"]}, _NAMED]}),
]


def _given(name: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"required": [name], "properties": {name: what}}


_SOME: dict[str, Any] = {"type": "array", "minItems": 1}
#: The document's words for what `tool_use` refuses.
_CHOICES_NEED_TOOLS: dict[str, Any] = {
    "allOf": [
        {
            "if": _given("tool_choice", {"anyOf": [{"const": "required"}, {"type": "object"}]}),
            "then": _given("tools", _SOME),
        },
        {"if": _given("function_call", {"type": "object"}), "then": _given("functions", _SOME)},
        {"if": _given("tools", _SOME), "then": {"properties": {"functions": {"maxItems": 0}}}},
    ]
}


class ChatCompletionRequest(Bookkeeping, Sampling):
    """A conversation to be continued.

    What has no effect is named in the header `x-cursorpipe-ignored`, as is every member that is not
    listed here; with `CURSORPIPE_STRICT_PARAMS` it is refused instead.
    """

    model_config = ConfigDict(
        extra="allow", strict=True, json_schema_extra=STREAM_OPTIONS_NEED_STREAM | _CHOICES_NEED_TOOLS
    )

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The conversation so far, oldest first."
    )
    model: ModelName | None = Field(
        default=None,
        description="`auto`, or absent: Cursor picks, on a warm agent. A name from `/v1/models` pins that "
        "model, on a process of its own.",
    )
    stream: bool | None = Field(default=None, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(default=None, description="Only with `stream`.")
    n: ChoiceCount | None = Field(
        default=None, description="How many answers, each a turn of an agent of its own."
    )
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = Field(
        default=None, description="Up to 4 texts before which the answer ends."
    )
    max_completion_tokens: TokenLimit | None = Field(
        default=None,
        description="Tokens, as estimated from the text, after which the answer ends. Thoughts do not count.",
    )
    max_tokens: TokenLimit | None = Field(
        default=None, description="The older name of `max_completion_tokens`; the smaller one counts."
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="JSON is checked; an answer that is not valid is corrected once."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None,
        description="Picks the variant of a pinned model whose name ends so, where there is one.",
    )
    modalities: list[Modality] | None = Field(default=None, description="Only `text` can be had.")
    logprobs: bool | None = Field(default=None, description="Has no effect: always null.")
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = Field(
        default=None, description="Has no effect."
    )
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = Field(
        default=None,
        description="What the agent may call, and you run. No effect with `CURSORPIPE_TOOLS=off`.",
    )
    tool_choice: ToolChoice | None = Field(
        default=None,
        description="`auto`, the default: the agent may call; `none`: no tool is offered; `required`, or an "
        "object that names tools: it has to call one, or may only call those.",
    )
    parallel_tool_calls: bool | None = Field(
        default=None, description="`false`: one call at a time. Several may come together else."
    )
    functions: Annotated[list[FunctionDefinition], Field(max_length=MAX_TOOLS)] | None = Field(
        default=None, description="The older form of `tools`, and not beside it; one is called at a time."
    )
    function_call: FunctionChoice | None = Field(
        default=None, description="`none`, `auto`, or the one of the `functions` that has to be called."
    )
