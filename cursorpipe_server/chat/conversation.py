"""OpenAI's messages as the core's."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from cursorpipe_core import Image, InvalidRequestError, Message, Role, ToolCall
from cursorpipe_server.chat.schemas import ChatMessage, ContentPart

_ROLES = {"developer": Role.SYSTEM, "function": Role.TOOL}

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+)(?:;[^,;]*)*?;base64,", re.IGNORECASE)
#: The kinds of image that models take.
_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def to_messages(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the conversation; raises InvalidRequestError naming the member that is wrong."""
    return [_message(f"messages.{index}", message) for index, message in enumerate(messages)]


def _message(at: str, message: ChatMessage) -> Message:
    if message.content is None and message.role != "assistant":
        raise _invalid(f"{at}.content", "expected a string or a list of parts, got null")
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequestError(
            f"Missing required parameter: '{at}.tool_call_id'.", param=f"{at}.tool_call_id"
        )
    if message.role == "function" and not message.name:
        raise InvalidRequestError(f"Missing required parameter: '{at}.name'.", param=f"{at}.name")
    parts = message.content if isinstance(message.content, list) else []
    return Message(
        _ROLES.get(message.role) or Role(message.role),
        _text(message),
        message.name,
        images=tuple(_images(at, message.role, parts)),
        calls=tuple(_calls(at, message)),
        call_id=message.tool_call_id,
    )


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text or part.refusal or "" for part in message.content)
    return message.content or message.refusal or ""


def _calls(at: str, message: ChatMessage) -> Iterator[ToolCall]:
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


def _images(at: str, role: str, parts: Sequence[ContentPart]) -> Iterator[Image]:
    for index, part in enumerate(parts):
        if part.type != "image_url":
            continue
        param = f"{at}.content.{index}.image_url"
        if role != "user":
            raise _invalid(param, "only a user's message can have images")
        if part.image_url is None:
            raise InvalidRequestError(f"Missing required parameter: '{param}'.", param=param)
        yield _image(f"{param}.url", part.image_url.url)


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
