"""The shapes of a conversation's messages, one for each who speaks.

Members that belong to another role's message are as unknown as any: they are accepted and mean nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

_STRICT = ConfigDict(extra="allow", strict=True)

_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"
#: What the document says of a data URL. The code that decodes it says better what is wrong with one.
DATA_URL = f"^data:image/(?:png|jpeg|gif|webp);base64,{_BASE64}$"


def _refuse_media(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in {"text", "refusal", "image_url"}:
        raise ValueError(f"content of type '{kind}' is not supported; send text or images")
    return part


def _refuse_null(content: Any) -> Any:
    if content is None:
        raise ValueError("expected a string or a list of parts, got null")
    return content


def _refuse_image(image: Any) -> NoReturn:
    del image
    raise ValueError("only a user's message can have images")


class ImageUrl(BaseModel):
    """Where an image is: in the request itself."""

    model_config = _STRICT

    url: str = Field(
        description="A data URL, `data:image/png;base64,…`: PNG, JPEG, GIF or WebP. Nothing is fetched.",
        examples=["data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="],
        json_schema_extra={"pattern": DATA_URL},
    )
    detail: str | None = Field(default=None, description="Has no effect.")


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = _STRICT

    type: Literal["text"] = Field(description="The kind of part.")
    text: str = Field(description="The text.", examples=["Hello"])


class RefusalPart(BaseModel):
    """A part of an assistant's message that is a refusal."""

    model_config = _STRICT

    type: Literal["refusal"] = Field(description="The kind of part.")
    refusal: str = Field(description="What was said instead of an answer.")


class ImagePart(BaseModel):
    """A part of a user's message that is an image."""

    model_config = _STRICT

    type: Literal["image_url"] = Field(description="The kind of part.")
    image_url: ImageUrl = Field(description="The image.")


class _MisplacedImage(BaseModel):
    """An image where none can be, so that the mistake is named where it is."""

    type: Literal["image_url"]
    image_url: Annotated[Any, BeforeValidator(_refuse_image)]


UserPart = Annotated[
    TextPart | RefusalPart | ImagePart, Field(discriminator="type"), BeforeValidator(_refuse_media)
]
WordsPart = Annotated[
    TextPart | RefusalPart | SkipJsonSchema[_MisplacedImage],
    Field(discriminator="type"),
    BeforeValidator(_refuse_media),
]
Words = Annotated[str | list[WordsPart], BeforeValidator(_refuse_null)]

_SPEAKER = "Tells speakers of the same role apart."


class SystemMessage(BaseModel):
    """Instructions."""

    model_config = _STRICT

    role: Literal["system", "developer"] = Field(description="The two mean the same.")
    content: Words = Field(description="The text, whole or in parts.")
    name: str | None = Field(default=None, description=_SPEAKER)


class UserMessage(BaseModel):
    """What the user says."""

    model_config = _STRICT

    role: Literal["user"] = Field(description="Who speaks.")
    content: Annotated[str | list[UserPart], BeforeValidator(_refuse_null)] = Field(
        description="The text, whole or in parts, which can be images."
    )
    name: str | None = Field(default=None, description=_SPEAKER)


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
    """A call of a tool in an assistant's message: of a `function` or of a `custom` one."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "anyOf": [
                {"required": [kind], "properties": {kind: {"type": "object"}}}
                for kind in ("function", "custom")
            ]
        },
    )

    id: str = Field(description="What the tool's result refers to.")
    type: str = Field(default="function", description="`function` or `custom`.")
    function: CalledFunction | None = Field(default=None, description="The call of a `function`.")
    custom: CalledCustomTool | None = Field(default=None, description="The call of a `custom` tool.")


class AssistantMessage(BaseModel):
    """What was answered before."""

    model_config = _STRICT

    role: Literal["assistant"] = Field(description="Who speaks.")
    content: str | list[WordsPart] | None = Field(
        default=None, description="The text, whole or in parts; it may be missing."
    )
    name: str | None = Field(default=None, description=_SPEAKER)
    refusal: str | None = Field(default=None, description="What was said instead of an answer.")
    tool_calls: list[MessageToolCall] | None = Field(
        default=None, description="The tools that the message called."
    )
    function_call: CalledFunction | None = Field(
        default=None, description="The function that the message called, in the older form."
    )


class ToolMessage(BaseModel):
    """What a tool answered."""

    model_config = _STRICT

    role: Literal["tool"] = Field(description="Who speaks.")
    content: Words = Field(description="The result, whole or in parts.")
    tool_call_id: str = Field(min_length=1, description="The call that this is the result of.")
    name: str | None = Field(default=None, description=_SPEAKER)


class FunctionMessage(BaseModel):
    """What a function answered, in the older form."""

    model_config = _STRICT

    role: Literal["function"] = Field(description="Counts as `tool`.")
    content: Words = Field(description="The result, whole or in parts.")
    name: str = Field(min_length=1, description="The name of the function.")


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]
