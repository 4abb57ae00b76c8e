"""Waits: with a bound and a name for what was waited for, or to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cursorpipe_core.errors import AgentTimeoutError


@asynccontextmanager
async def bounded(phase: str, seconds: float, *, of: float | None = None) -> AsyncIterator[None]:
    """Bound what is awaited inside; raises AgentTimeoutError naming ``phase`` when it takes longer.

    ``of`` is the whole time that ``seconds`` are the rest of, for the message.
    """
    try:
        async with asyncio.timeout(seconds) as scope:
            yield
    except TimeoutError:
        # A TimeoutError from inside is somebody else's, unless it is this scope that ended.
        if not scope.expired():
            raise
        raise AgentTimeoutError(phase, of or seconds) from None


async def to_the_end(work: Callable[[], None]) -> None:
    """Do what blocks in a thread; cancelled, the cancellation waits until it is done."""
    job = asyncio.create_task(asyncio.to_thread(work))
    try:
        # Shielded, because a cancelled wait takes a job along that no thread has begun yet.
        await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait({job})
        raise
