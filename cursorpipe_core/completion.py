"""The neutral vocabulary: what is asked of an agent and what it says, in no API's dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cursorpipe_core.tools import ToolSet


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Backend(StrEnum):
    """The two ways to run the CLI."""

    ACP = "acp"
    SUBPROCESS = "subprocess"


class ToolWay(StrEnum):
    """How a turn with its caller's tools came to answer a request; ``PROMPT``: without MCP."""

    NEW = "new"
    RESUMED = "resumed"
    REBUILT = "rebuilt"
    PROMPT = "prompt"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: ``data`` are the bytes of a file of the type ``mime``, such as `image/png`."""

    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool of the caller's that an assistant's message called; ``arguments`` is JSON as it was sent."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool of the caller's gave."""

    text: str
    images: Sequence[Image] = ()

    @property
    def size(self) -> int:
        """The text in UTF-8 bytes."""
        return utf8_length(well_formed(self.text))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; ``name`` tells speakers of the same role apart.

    ``calls`` are an assistant's; ``call_id`` names the call that a tool's message is the result of.
    """

    role: Role
    text: str
    name: str | None = None
    images: Sequence[Image] = ()
    calls: Sequence[ToolCall] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an answer ends before the agent ends it.

    Before the first of the ``stop`` texts, or after ``max_tokens`` as ``estimate_tokens`` counts them.
    """

    stop: Sequence[str] = ()
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer is to be JSON: an object, or by ``schema`` whatever that describes."""

    name: str = ""
    description: str = ""
    schema: Mapping[str, Any] | bool | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of the caller that an answer may call; ``required``: it has to call one.

    ``parallel``: it may call several at once. ``resumable``: the caller can say which calls results are of.
    """

    tools: ToolSet
    required: bool = False
    parallel: bool = True
    resumable: bool = True


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A conversation to be continued, and the model that should do it (None: Cursor picks).

    ``client`` says whose request it is, for fairness between those who wait, and ``owner`` who alone may
    go on with it where it calls tools; ``timeout_s`` how long that one waits for a whole answer, where it
    said so.
    """

    messages: Sequence[Message]
    model: str | None = None
    client: str = ""
    limits: Limits = Limits()
    answer_format: JsonFormat | None = None
    timeout_s: float | None = None
    tool_use: ToolUse | None = None
    owner: str = ""


@dataclass(slots=True)
class Course:
    """How far a request has come, for who tells of it however it ends; kept up to date until then.

    ``backend`` is the one that it was led to last, ``model`` the one it is pinned to (None: Cursor picks);
    ``queued_s`` seconds until there was a place for it there, ``prompted_s`` until the agent had the prompt,
    None until then. Of a request for several answers it is the course of the one that moved last.
    """

    backend: Backend | None = None
    model: str | None = None
    queued_s: float | None = None
    prompted_s: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the CLI lists it: the id that ``--model`` takes, and its display name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Began:
    """The agent has begun to answer: which backend, and the model it was pinned to, if any.

    ``tools``: how a turn with its caller's tools came to be here. Always the first event of an answer, and
    only ever one: what failed before it may be tried again.
    """

    backend: Backend
    model: str | None
    tools: ToolWay | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next pieces of the answer, as the agent sent them."""

    pieces: list[str]

    @property
    def text(self) -> str:
        """The pieces as one text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """The next pieces of the agent's reasoning; never part of the answer."""

    pieces: list[str]

    @property
    def text(self) -> str:
        """The pieces as one text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class ToolEvent:
    """The agent used one of its own tools; ``status`` is the agent's word for how far it is."""

    call_id: str
    title: str
    status: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The agent calls tools of the caller's, and waits for what they give.

    A Usage and a Finish follow; the agent's turn goes on when the results come with the next request.
    """

    calls: Sequence[ToolCall]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a turn. ``estimated``: counted from the text, because the agent reports none.

    ``input_tokens`` includes ``cached_tokens``, ``output_tokens`` includes ``reasoning_tokens``; those are
    always estimated, from the thoughts that were shown.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        """Return the usage of both; a sum with an estimate in it is one."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is whole. Always the last event; an answer that fails raises instead."""

    reason: FinishReason


CompletionEvent = Began | TextDelta | ThoughtDelta | ToolEvent | Calls | Usage | Finish

#: UTF-8 bytes that make a token, for agents that report no usage: English prose has about four
#: characters to a token, CJK text (three bytes a character) about one token for one or two characters.
BYTES_PER_TOKEN = 4


def estimate_tokens(utf8_bytes: int) -> int:
    """Tokens that a text of so many UTF-8 bytes is likely to be; at least 1, for nothing is free."""
    return max(1, -(-utf8_bytes // BYTES_PER_TOKEN))


def estimated_usage(prompt_bytes: int, answer_bytes: int, thought_bytes: int) -> Usage:
    """Return the usage that texts of so many UTF-8 bytes are likely to be; thoughts are output as well."""
    reasoning = estimate_tokens(thought_bytes) if thought_bytes else 0
    output = estimate_tokens(answer_bytes) + reasoning
    return Usage(estimate_tokens(prompt_bytes), output, reasoning_tokens=reasoning, estimated=True)


def utf8_length(text: str) -> int:
    """Return the bytes that a text is in UTF-8; free for plain ASCII, which most text is.

    Raises UnicodeEncodeError for a text that is not well formed.
    """
    return len(text) if text.isascii() else len(text.encode())


def well_formed(text: str) -> str:
    """Join surrogate pairs and replace halves of them by U+FFFD, so that the text can be encoded.

    JavaScript cuts and passes on texts by UTF-16 units; neither UTF-8 nor JSON has a place for a half.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
