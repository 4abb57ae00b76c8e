"""Clients that ask and ask, and what became of each request."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import aiohttp

from tests.integration.conftest import CHAT, ask
from tests.waiting import until

#: Pieces of a slow answer, and between which two of these milliseconds they come one after the other.
PIECES = 10
PACES_MS = (100, 300)
#: What LiteLLM says of an answer of which it has had no text, but the beginning.
_BROKEN_BEHIND = "Response payload is not completed"


def slow() -> Iterator[str]:
    """Yield what to say for slow answers, the same text each in its own time, as those of models come.

    Clients whose answers take equally long stay in step, and come to the same server again and again.
    """
    draw = random.Random(1)
    while True:
        yield f"[[demo:slow-chunks count={PIECES} ms={draw.randint(*PACES_MS)}]]"


class Fate(Enum):
    """What became of a request."""

    WHOLE = "whole"
    CUT = "cut after it had begun to stream"
    LOST = "lost before it had begun"


@dataclass(eq=False)
class Answer:
    """A request's fate, its text, and when the pieces of it came."""

    fate: Fate
    text: str = ""
    pieces_at: list[float] = field(default_factory=list)
    complaint: str = ""

    @property
    def code(self) -> str:
        """The code of the error that it ended with; `ok` if it did not."""
        found = re.search(r'"code": ?"(\w+)"', self.complaint)
        return "ok" if self.fate is Fate.WHOLE else found[1] if found else self.complaint


@dataclass
class Front:
    """Where clients ask: the address, their key, and the name of the model there."""

    url: str
    key: str
    model: str

    async def ask(
        self,
        http: aiohttp.ClientSession,
        text: str,
        *,
        stream: bool,
        model: str | None = None,
        answer: Answer | None = None,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """Ask once; never raises what the network does. ``answer`` fills as it comes."""
        body = ask(text, model=model or self.model, stream=stream)
        given = {"Authorization": f"Bearer {self.key}", **headers}
        answer = answer or Answer(Fate.LOST)
        try:
            async with http.post(self.url + CHAT, json=body, headers=given) as response:
                if response.status != 200:
                    answer.complaint = f"{response.status} {(await response.text())[:300]}"
                    if _BROKEN_BEHIND in answer.complaint:
                        answer.fate = Fate.CUT
                elif stream:
                    await _read(response, answer)
                else:
                    answer.text = _text((await response.json())["choices"], "message")
                    answer.fate = Fate.WHOLE
        except aiohttp.ClientError as exc:
            answer.complaint = repr(exc)
        return answer


async def _read(response: aiohttp.ClientResponse, answer: Answer) -> None:
    async for line in response.content:
        data = line.decode().strip().removeprefix("data: ")
        if data == "[DONE]":
            answer.fate = Fate.WHOLE
            return
        if not data.startswith("{"):
            continue
        frame = json.loads(data)
        if "error" in frame:
            answer.complaint = data[:300]
            return
        if piece := _text(frame["choices"], "delta"):
            answer.text += piece
            answer.pieces_at.append(time.monotonic())
            answer.fate = Fate.CUT
    answer.complaint = "the stream ended early"


def _text(choices: list[dict[str, Any]], member: str) -> str:
    return "".join(choice[member].get("content") or "" for choice in choices)


class Load:
    """Clients that ask on until they are told to stop: every other request is a stream."""

    def __init__(self, front: Front, texts: Iterator[str]) -> None:
        self.answers: list[Answer] = []
        self._coming: list[Answer] = []
        self._front = front
        self._texts = texts
        self._over = asyncio.Event()

    def fates(self) -> Counter[Fate]:
        return Counter(answer.fate for answer in self.answers)

    @property
    def halfway(self) -> int:
        """How many streams have begun and are not yet near their end."""
        return sum(1 <= len(answer.pieces_at) <= PIECES // 2 for answer in self._coming)

    def texts(self) -> Counter[str]:
        return Counter(answer.text for answer in self.answers if answer.fate is Fate.WHOLE)

    async def more(self, count: int) -> None:
        """Wait for so many answers more."""
        wanted = len(self.answers) + count
        await until(lambda: len(self.answers) >= wanted, patience_s=120)

    @property
    def complaints(self) -> list[str]:
        return [answer.complaint for answer in self.answers if answer.fate is not Fate.WHOLE]

    async def _client(self, http: aiohttp.ClientSession, begin_after_s: float, *, stream: bool) -> None:
        # Clients in step would all be at the same point of their answers when something happens.
        await asyncio.sleep(begin_after_s)
        while not self._over.is_set():
            answer = Answer(Fate.LOST)
            self._coming.append(answer)
            await self._front.ask(http, next(self._texts), stream=stream, answer=answer)
            self._coming.remove(answer)
            self.answers.append(answer)
            stream = not stream

    @asynccontextmanager
    async def from_clients(self, http: aiohttp.ClientSession, count: int) -> AsyncIterator[None]:
        """Ask with so many clients; leaving waits for the answers that are under way."""
        clients = [
            asyncio.create_task(self._client(http, number / count, stream=bool(number % 2)))
            for number in range(count)
        ]
        try:
            yield
        finally:
            self._over.set()
            await asyncio.gather(*clients)
