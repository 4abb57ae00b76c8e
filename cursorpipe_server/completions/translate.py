"""Between OpenAI's text completions and the core's vocabulary."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from cursorpipe_core import (
    AUTO_MODEL,
    CompletionRequest,
    Finish,
    InvalidRequestError,
    Limits,
    Message,
    Role,
    TextDelta,
)
from cursorpipe_server.chat.conversation import never_blank
from cursorpipe_server.chat.schemas import MAX_CHOICES, Sampling
from cursorpipe_server.chat.translate import FINISH_REASONS, check_stream_options, stops, usage_object
from cursorpipe_server.choices import Choices
from cursorpipe_server.completions.schemas import TextCompletionRequest
from cursorpipe_server.errors import UnsupportedParameterError
from cursorpipe_server.ids import new_id
from cursorpipe_server.params import without_effect
from cursorpipe_server.sse import DONE, Frames, around_pieces, frame

WITHOUT_EFFECT = (*Sampling.model_fields, "logprobs", "best_of")


def to_core(body: TextCompletionRequest, *, client: str, timeout_s: float | None) -> list[CompletionRequest]:
    """Return what is asked of the agents, for each prompt as often as there are to be answers to it."""
    check_stream_options(body.stream_options, streamed=bool(body.stream))
    if body.echo:
        raise UnsupportedParameterError("echo")
    if body.suffix:
        raise UnsupportedParameterError("suffix")
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    times = body.n or 1
    if len(prompts) * times > MAX_CHOICES:
        raise InvalidRequestError(
            f"Invalid value for 'n': {len(prompts)} prompts with {times} answers each are more than "
            f"{MAX_CHOICES} in all.",
            param="n",
        )
    limits = Limits(stops(body.stop), body.max_tokens)
    return [
        CompletionRequest(
            never_blank([Message(Role.USER, prompt)]),
            body.model or None,
            client,
            limits=limits,
            timeout_s=timeout_s,
        )
        for prompt in prompts
        for _ in range(times)
    ]


def ignored(body: TextCompletionRequest) -> list[str]:
    """Name the parameters that ask for something and have no effect."""
    return without_effect(body, WITHOUT_EFFECT)


class TextAnswer:
    """One answer on its way out, in the shape of a text completion."""

    def __init__(self, body: TextCompletionRequest, choices: Choices) -> None:
        self.id = f"cmpl-{new_id()}"
        self.created = int(time.time())
        self.model = body.model or AUTO_MODEL
        self._choices = choices
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)

    async def frames(self) -> Frames:
        """Turn events into server-sent events, those of one batch joined; ends with `[DONE]`."""
        writers = [around_pieces(self._frame(index, "\0")) for index in range(len(self._choices))]
        async with aclosing(self._choices.read()) as batches:
            async for index, batch in batches:
                pieces: list[bytes] = []
                for event in batch:
                    if isinstance(event, TextDelta):
                        pieces.append(writers[index](event.pieces))
                    elif isinstance(event, Finish):
                        pieces.append(self._frame(index, "", FINISH_REASONS[event.reason]))
                if pieces:
                    yield b"".join(pieces)
        if self._include_usage:
            yield frame({**self._object([]), "usage": usage_object(self._choices.usage)}) + DONE
        else:
            yield DONE

    async def collect(self) -> dict[str, Any]:
        """Wait for the whole answer; returns OpenAI's `text_completion`."""
        texts: list[list[str]] = [[] for _ in range(len(self._choices))]
        reasons: list[str | None] = [None] * len(texts)
        async with aclosing(self._choices.read()) as batches:
            async for index, batch in batches:
                for event in batch:
                    if isinstance(event, TextDelta):
                        texts[index] += event.pieces
                    elif isinstance(event, Finish):
                        reasons[index] = FINISH_REASONS[event.reason]
        choices = [
            _choice(index, "".join(text), reason)
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return {**self._object(choices), "usage": usage_object(self._choices.usage)}

    def _frame(self, index: int, text: str, reason: str | None = None) -> bytes:
        chunk = self._object([_choice(index, text, reason)])
        if self._include_usage:
            chunk["usage"] = None
        return frame(chunk)

    def _object(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
