"""The look, once at the start, for the way in which an agent comes to its callers' tools."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from cursorpipe_core.channels import Channel, Channels
from cursorpipe_core.description import AgentDescription
from cursorpipe_core.errors import AgentError, CursorpipeError
from cursorpipe_core.state import state_directory
from cursorpipe_core.tool_sessions import ToolSessions
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: Seconds an agent may take to ask for the tools of a session in which nothing is said.
PROBE_S = 5.0
#: Seconds the whole look may take: what the build is, the first way, and the others together.
OUTCOME_S = 3 * PROBE_S


class ChannelProbe:
    """Finds the way that works, by sessions in which nothing is said, unless it is known for the build.

    Entering begins it, in the background; leaving ends it.
    """

    def __init__(
        self,
        channels: Channels,
        sessions: ToolSessions,
        *,
        state_dir: str,
        any_worker: Callable[[], Awaitable[AgentWorker]],
        describe: Callable[[], Awaitable[AgentDescription]],
    ) -> None:
        """``any_worker`` waits for one that serves, ``describe`` tells the build."""
        self._channels = channels
        self._sessions = sessions
        self._state_dir = state_dir
        self._any_worker = any_worker
        self._describe = describe
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look(), name="how agents come to tools")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def wait(self) -> None:
        """Wait for the outcome, as long as it may take where there is a worker to ask."""
        if self._looking is not None and not self._looking.done():
            await asyncio.wait({self._looking}, timeout=OUTCOME_S)

    async def _look(self) -> None:
        try:
            working = await self._find()
        except Exception:
            logger.exception("the look for a way to tools failed")
            return
        if working is not None:
            self._channels.prove(working)
        elif not self._channels.proven:
            logger.info("no way to the agent's tools is proven; each will be tried with the first that asks")

    async def _find(self) -> Channel | None:
        worker = await self._any_worker()
        try:
            version = (await self._describe()).version
        except AgentError:
            version = None  # nothing is remembered of it
        if version:
            await asyncio.to_thread(self._channels.load, state_directory(self._state_dir), version)
        if self._channels.proven:
            return None
        return await find_channel(self._channels, self._sessions, worker)


async def find_channel(channels: Channels, sessions: ToolSessions, worker: AgentWorker) -> Channel | None:
    """Try the ways that are left; returns the first by which the agent asks for tools."""
    first, *others = channels.ways()
    if await _works(sessions, worker, first):
        return first
    # Together: none of them asks anything of a model, and a caller may wait for the outcome.
    found = await asyncio.gather(*(_works(sessions, worker, channel) for channel in others))
    return next((channel for channel, works in zip(others, found, strict=True) if works), None)


async def _works(sessions: ToolSessions, worker: AgentWorker, channel: Channel) -> bool:
    try:
        return await sessions.try_channel(worker, channel, PROBE_S)
    except CursorpipeError as exc:
        logger.info("tools by %s: %s", channel, exc)
        return False
