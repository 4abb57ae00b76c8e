"""Between OpenAI's chat completions and the core's vocabulary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from cursorpipe_core import (
    AUTO_MODEL,
    Calls,
    CompletionEvent,
    CompletionRequest,
    Finish,
    FinishReason,
    InvalidRequestError,
    JsonFormat,
    Limits,
    TextDelta,
    ThoughtDelta,
    ToolCall,
    Usage,
)
from cursorpipe_server.chat.conversation import to_messages
from cursorpipe_server.chat.schemas import (
    ChatCompletionRequest,
    JsonObjectFormat,
    ResponseFormat,
    Sampling,
    StreamOptions,
    TextFormat,
)
from cursorpipe_server.chat.tools import check_calls, is_legacy, tool_use
from cursorpipe_server.choices import Choices
from cursorpipe_server.ids import new_id
from cursorpipe_server.params import without_effect
from cursorpipe_server.sse import DONE, Frames, around_pieces, frame

#: The parameters of this dialect, beside those of sampling, for which there is nothing to give them to.
WITHOUT_EFFECT = (*Sampling.model_fields, "logprobs", "top_logprobs")

FINISH_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.REFUSAL: "content_filter",
}

#: Characters of a call's arguments in one chunk.
ARGUMENTS_CHUNK = 4096


def to_core(body: ChatCompletionRequest, *, client: str, timeout_s: float | None) -> CompletionRequest:
    """Return what is asked of the agent; raises InvalidRequestError for what makes no sense together."""
    check_stream_options(body.stream_options, streamed=bool(body.stream))
    if "audio" in (body.modalities or ()):
        raise _invalid("modalities", "only 'text' is supported")
    messages = to_messages(body.messages)
    check_calls(messages)
    return CompletionRequest(
        messages,
        body.model or None,
        client,
        limits=Limits(stops(body.stop), _fewest(body.max_completion_tokens, body.max_tokens)),
        answer_format=_answer_format(body.response_format),
        timeout_s=timeout_s,
        tool_use=tool_use(body),
    )


def ignored(body: ChatCompletionRequest) -> list[str]:
    """Name the parameters that ask for something and have no effect."""
    return without_effect(body, WITHOUT_EFFECT)


def check_stream_options(options: StreamOptions | None, *, streamed: bool) -> None:
    """Raise InvalidRequestError for options of a stream where there is none."""
    if options is not None and not streamed:
        raise _invalid("stream_options", "it is only allowed when 'stream' is enabled")


def stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the texts before which an answer ends."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _answer_format(wanted: ResponseFormat | None) -> JsonFormat | None:
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    if isinstance(wanted, JsonObjectFormat):
        return JsonFormat()
    described = wanted.json_schema
    return JsonFormat(described.name, described.description or "", described.schema_)


def _fewest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _invalid(param: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"Invalid value for '{param}': {reason}.", param=param)


class ChatAnswer:
    """One answer on its way out: what all its chunks share, and the events turned into them."""

    def __init__(
        self, body: ChatCompletionRequest, choices: Choices, *, reasoning: bool, mark: Callable[[str], None]
    ) -> None:
        self.id = f"chatcmpl-{new_id()}"
        self.created = int(time.time())
        self.model = body.model or AUTO_MODEL
        self._choices = choices
        self._reasoning = reasoning
        self._mark = mark
        self._include_usage = bool(body.stream_options and body.stream_options.include_usage)
        #: Whether the caller knows calls in their older form only.
        self.legacy = is_legacy(body)

    async def frames(self) -> Frames:
        """Turn events into server-sent events, those of one batch joined; ends with `[DONE]`.

        The role goes out with the first words and not before: what fails without a word of an answer can
        still be an ordinary error. Closing this closes the answers.
        """
        writers = [
            _ChoiceWriter(self, index, reasoning=self._reasoning) for index in range(len(self._choices))
        ]
        first = True
        async with aclosing(self._choices.read()) as batches:
            async for index, batch in batches:
                if pieces := writers[index].write(batch):
                    if first:
                        first = False
                        self._mark("first text")
                    yield b"".join(pieces)
        if self._include_usage:
            yield frame({**self.chunk([]), "usage": usage_object(self._choices.usage)}) + DONE
        else:
            yield DONE

    async def collect(self) -> dict[str, Any]:
        """Wait for the whole answer; returns OpenAI's `chat.completion`."""
        collected = [
            _Message(reasoning=self._reasoning, legacy=self.legacy) for _ in range(len(self._choices))
        ]
        async with aclosing(self._choices.read()) as batches:
            async for index, batch in batches:
                collected[index].take(batch)
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [message.choice(index) for index, message in enumerate(collected)],
            "usage": usage_object(self._choices.usage),
        }

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a chunk with these choices."""
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        if self._include_usage:
            chunk["usage"] = None
        return chunk


class _ChoiceWriter:
    """Writes the chunks of one choice of a streamed answer."""

    def __init__(self, answer: ChatAnswer, index: int, *, reasoning: bool) -> None:
        self._answer = answer
        self._index = index
        # One chunk around each text, made once: a model or a dict for every piece would cost more than
        # all the rest of its way.
        self._text = around_pieces(self._frame({"content": "\0"}))
        self._thought = around_pieces(self._frame({"reasoning_content": "\0"})) if reasoning else None
        self._begun = False

    def write(self, batch: Sequence[CompletionEvent]) -> list[bytes]:
        pieces: list[bytes] = []
        said = False
        for event in batch:
            if isinstance(event, TextDelta):
                said = True
                pieces.append(self._text(event.pieces))
            elif isinstance(event, ThoughtDelta):
                if self._thought is not None:
                    pieces.append(self._thought(event.pieces))
            elif isinstance(event, Calls):
                pieces += self._calls(event.calls)
            elif isinstance(event, Finish):
                pieces.append(self._frame({}, finish_reason(event.reason, legacy=self._answer.legacy)))
        if pieces and not self._begun:
            self._begun = True
            # Without a word before the calls there is no content, as against an empty one.
            silent = any(isinstance(event, Calls) for event in batch) and not said
            pieces.insert(0, self._frame({"role": "assistant", "content": None if silent else ""}))
        return pieces

    def _calls(self, calls: Sequence[ToolCall]) -> Iterator[bytes]:
        """Yield what OpenAI sends of calls: of each first its name, and then its arguments in pieces."""
        # The older form has room for one.
        for index, call in enumerate(calls[:1] if self._answer.legacy else calls):
            for part in _in_parts(call):
                if self._answer.legacy:
                    yield self._frame({"function_call": part["function"]})
                else:
                    yield self._frame({"tool_calls": [{"index": index, **part}]})

    def _frame(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {
            "index": self._index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return frame(self._answer.chunk([choice]))


class _Message:
    """The message of one choice of an answer that is sent whole."""

    def __init__(self, *, reasoning: bool, legacy: bool) -> None:
        self._reasoning = reasoning
        self._legacy = legacy
        self._calls: list[ToolCall] = []
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._finish_reason: str | None = None

    def take(self, batch: Sequence[CompletionEvent]) -> None:
        for event in batch:
            if isinstance(event, TextDelta):
                self._texts += event.pieces
            elif isinstance(event, ThoughtDelta):
                self._thoughts += event.pieces
            elif isinstance(event, Calls):
                self._calls += event.calls
            elif isinstance(event, Finish):
                self._finish_reason = finish_reason(event.reason, legacy=self._legacy)

    def choice(self, index: int) -> dict[str, Any]:
        content = "".join(self._texts) if self._texts or not self._calls else None
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self._calls and self._legacy:
            message["function_call"] = _function(self._calls[0])
        elif self._calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": _function(call)} for call in self._calls
            ]
        if self._reasoning and self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        return {
            "index": index,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason,
        }


def finish_reason(reason: FinishReason, *, legacy: bool) -> str:
    """Return OpenAI's word for why an answer ended."""
    if reason is FinishReason.TOOL_CALLS:
        return "function_call" if legacy else "tool_calls"
    return FINISH_REASONS[reason]


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}


def _in_parts(call: ToolCall) -> Iterator[dict[str, Any]]:
    yield {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    for start in range(0, len(call.arguments), ARGUMENTS_CHUNK):
        yield {"function": {"arguments": call.arguments[start : start + ARGUMENTS_CHUNK]}}


def usage_object(usage: Usage | None) -> dict[str, Any] | None:
    """Return a usage in OpenAI's shape."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
