"""One request on its way to an answer."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import replace
from typing import TypeVar

from cursorpipe_core.bounds import bounded
from cursorpipe_core.completion import Backend, Began, CompletionEvent, CompletionRequest, Course, ToolWay
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.turn import Clocks, Dialogue, Turn
from cursorpipe_core.worker import AgentWorker

Begun = TypeVar("Begun")


class Attempt:
    """Where one request stands: how it is being tried, and what of its time is left."""

    def __init__(
        self,
        backend: Backend,
        model: str | None,
        prompt: Prompt,
        request: CompletionRequest,
        *,
        course: Course,
        clocks: Clocks,
        keep: bool,
    ) -> None:
        self._course = course
        self.lead_to(backend)
        self.model = course.model = model
        self.prompt = prompt
        self.client = request.client
        #: Whether the answer may have to be corrected where it was given.
        self.keep = keep
        if request.timeout_s is not None and request.timeout_s < clocks.total_s:
            clocks = replace(clocks, total_s=request.timeout_s)
        self.clocks = clocks
        self.worker: AgentWorker | None = None
        #: Whether an agent has the prompt, the last time that it was tried.
        self.prompted = False
        self.begun = False
        self.retried = False
        self.dialogue: Dialogue | None = None
        self._came_at = time.monotonic()
        self._deadline = self._came_at + self.clocks.total_s

    def lead_to(self, backend: Backend) -> None:
        """Have it tried by a backend, from the beginning."""
        self.backend = self._course.backend = backend
        self._course.queued_s = self._course.prompted_s = None

    def placed(self, worker: AgentWorker) -> AgentWorker:
        """Take a worker on which there is a place for it."""
        self.worker = worker
        self.prompted = False
        self.waited()
        return worker

    def waited(self) -> None:
        """Take note that there is a place for it."""
        self._course.queued_s = time.monotonic() - self._came_at
        self._course.prompted_s = None

    def asked(self) -> None:
        """Take note that an agent has the prompt, or what it waited for: it may be at work from here on."""
        self.prompted = True
        self._course.prompted_s = time.monotonic() - self._came_at

    def began(self, tools: ToolWay | None = None) -> Began:
        """Return the first event of the answer; what fails from here on is not tried again."""
        self.begun = True
        return Began(self.backend, self.model, tools)

    def seconds_left(self) -> float:
        """Return how much longer the request may take."""
        return self._deadline - time.monotonic()

    def turn(self, prompt: Prompt) -> Turn:
        """Return a turn that ends when the request has to."""
        return Turn(prompt_bytes=prompt.size, clocks=self.clocks, left_s=self.seconds_left())

    async def in_time(self, work: Awaitable[Begun]) -> Begun:
        """Wait for a step of the beginning, at most for the rest of the request's time."""
        async with bounded("request", self.seconds_left(), of=self.clocks.total_s):
            return await work

    async def another_turn(self, prompt: Prompt) -> AsyncGenerator[list[CompletionEvent], None]:
        """Yield the events of another turn where the last one was, which was kept for that."""
        turn = self.turn(prompt)
        try:
            if self.dialogue is not None:
                self.dialogue.go_on(prompt, turn)
                while batch := await turn.read():
                    yield batch
        finally:
            turn.close()

    def end_dialogue(self) -> None:
        """Give back what a turn may have been kept open for."""
        if self.dialogue is not None:
            self.dialogue.close()
            self.dialogue = None
