"""What is asked of a load generator, and what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its body for a server, and what the agent needs of it when there is none.

    ``pieces`` is how many the answer must have; a stream that brings fewer has lost some.
    """

    body: str
    prompt: str
    pieces: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A number of requests, made in turn from ``asks``.

    ``concurrency`` connections make one after the other; with ``rate`` instead as many begin each second,
    whether the earlier ones have ended or not. With ``drop_after`` pieces a client hangs up.
    """

    asks: Sequence[Ask]
    count: int
    concurrency: int = 1
    rate: float = 0.0
    drop_after: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    timeout_s: float = 120.0


@dataclass(slots=True)
class Found:
    """What one kind of request met: seconds to the end and to the first piece, and how it went."""

    took_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    pieces: int = 0
    failed: int = 0


@dataclass(slots=True)
class Outcome:
    """What a job found: one entry for each ask, how late paced pieces were, and what it cost to find out.

    ``said`` is the beginning of the last answer.
    """

    found: list[Found]
    wall_s: float = 0.0
    load_cpu_s: float = 0.0
    late_s: list[float] = field(default_factory=list)
    said: str = ""
    cpu_s: float = 0.0
    rss_mb: float = 0.0

    @property
    def all(self) -> Found:
        """Everything together."""
        whole = Found()
        for found in self.found:
            whole.took_s += found.took_s
            whole.first_s += found.first_s
            whole.pieces += found.pieces
            whole.failed += found.failed
        return whole


def encode(value: Job | Outcome) -> bytes:
    """Return a job or an outcome as a line."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def decode_job(line: bytes) -> Job:
    """Read a line that is a job."""
    fields = orjson.loads(line)
    return Job(**{**fields, "asks": [Ask(**ask) for ask in fields["asks"]]})


def decode_outcome(line: bytes) -> Outcome:
    """Read a line that is an outcome."""
    fields = orjson.loads(line)
    return Outcome(**{**fields, "found": [Found(**found) for found in fields["found"]]})


def ask(
    *,
    chunks: int = 1,
    size: int = 20,
    pace_us: int = 0,
    apart: bool = False,
    stream: bool = False,
    model: str = "auto",
    padding: int = 0,
    messages: int = 1,
    tell: bool = False,
) -> Ask:
    """Compose a request: what the agent is to answer, ``padding`` bytes of prompt, ``messages`` in all.

    With ``apart`` the pieces of streams that began together do not come in step.
    """
    what = f"bench:chunks={chunks},bytes={size},pace={pace_us},apart={apart:d}"
    if tell:
        what = "bench:tell"
    text = f"{what} Say it." + " word" * (padding // 5)
    conversation = [{"role": "user", "content": text}]
    for n in range(1, messages):
        # A conversation ends with its user, or there would be nothing to answer.
        role = "assistant" if (messages - n) % 2 == 0 else "user"
        conversation.append({"role": role, "content": f"Message {n}: about as long as a line of a chat is."})
    body = orjson.dumps({"model": model, "messages": conversation, "stream": stream}).decode()
    prompt = "\n".join(message["content"] for message in conversation)
    return Ask(body, prompt, chunks, pinned=model != "auto")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of them do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
