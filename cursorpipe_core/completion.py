"""The neutral vocabulary: what is asked of an agent and what it says, in no API's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


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


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; ``name`` tells speakers of the same role apart."""

    role: Role
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A conversation to be continued, and the model that should do it (None: Cursor picks).

    ``client`` says whose request it is, for fairness between those who wait.
    """

    messages: Sequence[Message]
    model: str | None = None
    client: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the CLI lists it: the id that ``--model`` takes, and its display name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Began:
    """The agent has begun to answer: which backend, and the model it was pinned to, if any.

    Always the first event of an answer, and only ever one: what failed before it may be tried again.
    """

    backend: Backend
    model: str | None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """The next piece of the agent's reasoning; never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolEvent:
    """The agent used one of its own tools; ``status`` is the agent's word for how far it is."""

    call_id: str
    title: str
    status: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a turn. ``estimated``: counted from the text, because the agent reports none.

    ``input_tokens`` includes ``cached_tokens``.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is whole. Always the last event; an answer that fails raises instead."""

    reason: FinishReason


CompletionEvent = Began | TextDelta | ThoughtDelta | ToolEvent | Usage | Finish

#: UTF-8 bytes that make a token, for agents that report no usage: English prose has about four
#: characters to a token, CJK text (three bytes a character) about one token for one or two characters.
BYTES_PER_TOKEN = 4


def estimate_tokens(utf8_bytes: int) -> int:
    """Tokens that a text of so many UTF-8 bytes is likely to be; at least 1, for nothing is free."""
    return max(1, -(-utf8_bytes // BYTES_PER_TOKEN))


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
