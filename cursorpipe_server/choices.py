"""The answers to one request, side by side, and what is known of them all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing

from cursorpipe_core import AUTO_MODEL, Backend, Began, CompletionEvent, Course, TextDelta, Usage
from cursorpipe_server.params import as_header

Events = AsyncGenerator[list[CompletionEvent], None]


class Choices:
    """Reads the events of one or more answers as they come, each told by its index.

    ``course`` is how far they have come, ``began`` is there once an agent has told it, ``usage`` is the sum
    of what has ended; ``first_text_at``, by the clock of `time.perf_counter`, once there was text, of which
    ``pieces`` have come. ``mark`` is told the stages that are reached.
    """

    def __init__(
        self,
        sources: Sequence[Events],
        course: Course,
        *,
        ignored: Sequence[str],
        mark: Callable[[str], None],
    ) -> None:
        self._sources = sources
        self.course = course
        self._ignored = ignored
        self._mark = mark
        self.began: Began | None = None
        self.usage: Usage | None = None
        self.first_text_at: float | None = None
        self.pieces = 0

    def __len__(self) -> int:
        return len(self._sources)

    async def read(self) -> AsyncGenerator[tuple[int, list[CompletionEvent]], None]:
        """Yield batches with the index of their answer. Closing this closes every source."""
        if len(self._sources) == 1:
            async with aclosing(self._sources[0]) as source:
                async for batch in source:
                    self._note(batch)
                    yield 0, batch
            return
        async with AsyncExitStack() as stack:
            for source in self._sources:
                await stack.enter_async_context(aclosing(source))
            async with aclosing(_interleaved(self._sources)) as batches:
                async for index, batch in batches:
                    self._note(batch)
                    yield index, batch

    @property
    def backend(self) -> Backend | None:
        """The backend that has begun to answer, or else the one that was asked last."""
        return self.course.backend if self.began is None else self.began.backend

    def headers(self, *, whole: bool) -> Mapping[str, str]:
        """Return what an answer's headers tell by now of how it was made.

        A short stream knows its usage before its headers go out, a long one does not: only what is
        ``whole`` tells.
        """
        headers: dict[str, str] = {}
        if named := as_header(self._ignored):
            headers["x-cursorpipe-ignored"] = named
        if self.began is not None:
            headers["x-cursorpipe-backend"] = self.began.backend
            headers["x-cursorpipe-model"] = self.began.model or AUTO_MODEL
            if self.began.tools is not None:
                headers["x-cursorpipe-tools"] = self.began.tools
        if self.usage is not None and whole:
            headers["x-cursorpipe-usage"] = "estimated" if self.usage.estimated else "reported"
        return headers

    def _note(self, batch: Sequence[CompletionEvent]) -> None:
        for event in batch:
            if isinstance(event, TextDelta):
                if self.first_text_at is None:
                    self.first_text_at = time.perf_counter()
                self.pieces += len(event.pieces)
        # By the ends of a batch, which is where these events are.
        if isinstance(began := batch[0], Began) and self.began is None:
            self.began = began
            self._mark("agent began")
        for event in batch[-2:]:
            if isinstance(event, Usage):
                self.usage = event if self.usage is None else self.usage + event


async def _interleaved(sources: Sequence[Events]) -> AsyncGenerator[tuple[int, list[CompletionEvent]], None]:
    """Yield what comes from whichever source it comes; the first failure is everybody's."""
    waiting = {asyncio.ensure_future(anext(source)): index for index, source in enumerate(sources)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                index = waiting.pop(future)
                try:
                    batch = future.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(sources[index]))] = index
                yield index, batch
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
