"""Between OpenAI's chat completions and the core's vocabulary."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import orjson

from cursorpipe_core import (
    AUTO_MODEL,
    Began,
    CompletionEvent,
    CompletionRequest,
    Finish,
    FinishReason,
    InvalidRequestError,
    Message,
    Model,
    Role,
    Route,
    TextDelta,
    Usage,
)
from cursorpipe_server.chat.schemas import ChatCompletionRequest, ChatMessage
from cursorpipe_server.sse import DONE, Frames, frame

#: When this program's models came to be, as far as the list of models says: the CLI tells no dates, and
#: clients want the number to stay the same.
MODELS_CREATED = 1712160000

#: Parameters that are the caller's own notes: there is nothing of them to honour.
_BOOKKEEPING = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
)
#: What of a caller's words may stand in a header, and how many of them.
_HEADER_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_IGNORED_NAMED = 32

_ROLES = {"developer": Role.SYSTEM, "function": Role.TOOL}
_FINISH_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.REFUSAL: "content_filter",
}


def to_core(body: ChatCompletionRequest, *, client: str) -> CompletionRequest:
    """Return what is asked of the agent; raises InvalidRequestError for a message without content."""
    messages = [_message(index, message) for index, message in enumerate(body.messages)]
    return CompletionRequest(messages, body.model or None, client)


def _message(index: int, message: ChatMessage) -> Message:
    if message.content is None and message.role != "assistant":
        raise InvalidRequestError(
            f"Invalid value for 'messages.{index}.content': expected a string or a list of parts, got null.",
            param=f"messages.{index}.content",
        )
    return Message(_ROLES.get(message.role) or Role(message.role), _text(message), message.name)


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text or part.refusal or "" for part in message.content)
    return message.content or ""


class Answer:
    """One answer on its way out: what all its chunks share, and the events turned into them.

    ``began`` and ``usage`` are there once the agent has told them. ``mark`` is told the stages reached.
    """

    def __init__(self, body: ChatCompletionRequest, route: Route, mark: Callable[[str], None]) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = body.model or AUTO_MODEL
        self.began: Began | None = None
        self.usage: Usage | None = None
        self._streamed = bool(body.stream)
        self._ignored = _ignored(body, route)
        self._mark = mark
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)

    async def frames(self, events: AsyncGenerator[list[CompletionEvent], None]) -> Frames:
        """Turn events into server-sent events, those of one batch joined; ends with `[DONE]`.

        The role goes out with the first text and not before: what fails without a word of an answer can
        still be an ordinary error. Closing this closes ``events``.
        """
        # One chunk around each text, made once: a model or a dict for every piece would cost more than
        # all the rest of its way.
        before, _, after = frame(self._chunk({"content": "\0"})).partition(b'"\\u0000"')
        head = frame(self._chunk({"role": "assistant", "content": ""}))
        async with aclosing(events):
            async for batch in events:
                pieces: list[bytes] = []
                for event in batch:
                    if isinstance(event, TextDelta):
                        pieces += (before, orjson.dumps(event.text), after)
                    elif isinstance(event, Finish):
                        pieces += self._last_frames(event)
                    else:
                        self._note(event)
                if pieces:
                    if head:
                        self._mark("first text")
                    yield b"".join([head, *pieces])
                    head = b""

    async def collect(self, events: AsyncGenerator[list[CompletionEvent], None]) -> dict[str, Any]:
        """Wait for the whole answer; returns OpenAI's `chat.completion`."""
        texts: list[str] = []
        reason = None
        async with aclosing(events):
            async for batch in events:
                for event in batch:
                    if isinstance(event, TextDelta):
                        texts.append(event.text)
                    elif isinstance(event, Finish):
                        reason = _FINISH_REASONS[event.reason]
                    else:
                        self._note(event)
        message = {"role": "assistant", "content": "".join(texts), "refusal": None}
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": _usage(self.usage),
        }

    @property
    def backend(self) -> str | None:
        """The backend that serves this answer, once one does."""
        return self.began.backend if self.began is not None else None

    def headers(self) -> dict[str, str]:
        """Return what the answer's headers tell by now of how it was made."""
        headers: dict[str, str] = {}
        if self._ignored:
            headers["x-cursorpipe-ignored"] = ", ".join(self._ignored)
        if self.began is not None:
            headers["x-cursorpipe-backend"] = self.began.backend
            headers["x-cursorpipe-model"] = self.began.model or AUTO_MODEL
        # A short stream knows its usage before its headers go out, a long one does not: neither tells.
        if self.usage is not None and not self._streamed:
            headers["x-cursorpipe-usage"] = "estimated" if self.usage.estimated else "reported"
        return headers

    def _note(self, event: CompletionEvent) -> None:
        if isinstance(event, Began):
            self.began = event
            self._mark("agent began")
        elif isinstance(event, Usage):
            self.usage = event

    def _last_frames(self, finish: Finish) -> Iterable[bytes]:
        yield frame(self._chunk({}, _FINISH_REASONS[finish.reason]))
        if self._include_usage:
            yield frame({**self._chunk({}), "choices": [], "usage": _usage(self.usage)})
        yield DONE

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
        if self._include_usage:
            chunk["usage"] = None
        return chunk


def _ignored(body: ChatCompletionRequest, route: Route) -> list[str]:
    """Name the parameters that were given and have no effect on the answer."""
    given = [name for name, value in (body.model_extra or {}).items() if value is not None]
    names = sorted(name for name in given if name not in _BOOKKEEPING and _HEADER_WORD.fullmatch(name))
    return [*(["model"] if route.ignored_model else []), *names[:MAX_IGNORED_NAMED]]


def model_object(model: Model) -> dict[str, Any]:
    """Return a model in OpenAI's shape."""
    return {"id": model.id, "object": "model", "created": MODELS_CREATED, "owned_by": "cursor"}


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
