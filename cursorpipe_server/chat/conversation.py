"""OpenAI's messages as the core's."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import BaseModel

from cursorpipe_core import Image, InvalidRequestError, Message, Role, ToolCall
from cursorpipe_server.chat.message_schemas import (
    AssistantMessage,
    ChatMessage,
    ImagePart,
    RefusalPart,
    TextPart,
    ToolMessage,
    UserMessage,
)

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+)(?:;[^,;]*)*?;base64,", re.IGNORECASE)
#: The kinds of image that models take.
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def to_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the conversation; raises InvalidRequestError naming the member that is wrong."""
    return never_blank([_message(index, message) for index, message in enumerate(messages)])


def never_blank(messages: list[Message]) -> list[Message]:
    """Return a conversation that is a prompt even if nothing is said in it.

    A user's message alone is passed on as it is, and an agent in print mode takes a blank prompt for none
    and ends; with a name it stands between markers, as the messages of a conversation do.
    """
    if len(messages) == 1 and messages[0].role is Role.USER and not messages[0].text.strip():
        return [replace(messages[0], name=messages[0].name or "user")]
    return messages


def _message(index: int, message: ChatMessage) -> Message:
    role, at = _ROLES[message.role], f"messages.{index}"
    if isinstance(message, UserMessage):
        images = tuple(_images(at, message)) if isinstance(message.content, list) else ()
        return Message(role, _text(message), message.name, images)
    if isinstance(message, AssistantMessage):
        return Message(role, _text(message), message.name, calls=tuple(_calls(at, message)))
    call_id = message.tool_call_id if isinstance(message, ToolMessage) else None
    return Message(role, _text(message), message.name, call_id=call_id)


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(_words(part) for part in message.content)
    refusal = message.refusal if isinstance(message, AssistantMessage) else None
    return message.content or refusal or ""


def _words(part: BaseModel) -> str:
    if isinstance(part, TextPart):
        return part.text
    return part.refusal if isinstance(part, RefusalPart) else ""


def _calls(at: str, message: AssistantMessage) -> Iterator[ToolCall]:
    for index, call in enumerate(message.tool_calls or ()):
        if call.function is not None:
            yield ToolCall(call.id, call.function.name, call.function.arguments)
        elif call.custom is not None:
            yield ToolCall(call.id, call.custom.name, call.custom.input)
        else:
            param = f"{at}.tool_calls.{index}.function"
            raise InvalidRequestError(f"Missing required parameter: '{param}'.", param=param)
    if message.function_call is not None:
        yield ToolCall("", message.function_call.name, message.function_call.arguments)


def _images(at: str, message: UserMessage) -> Iterator[Image]:
    parts = message.content if isinstance(message.content, list) else ()
    for index, part in enumerate(parts):
        if isinstance(part, ImagePart):
            yield _image(f"{at}.content.{index}.image_url.url", part.image_url.url)


def _image(param: str, url: str) -> Image:
    found = _DATA_URL.match(url)
    if found is None:
        raise _invalid(param, "images are not fetched; send a data URL, 'data:image/png;base64,…'")
    mime = found[1].lower()
    if mime not in _IMAGE_TYPES:
        raise _invalid(param, f"images of type '{mime}' are not supported; send PNG, JPEG, GIF or WebP")
    try:
        data = base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError) as exc:
        raise _invalid(param, "the data is not base64") from exc
    if not data:
        raise _invalid(param, "the image is empty")
    return Image(mime, data)


def _invalid(param: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"Invalid value for '{param}': {reason}.", param=param)
