"""Whether an agent that has been silent still listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError


class Liveness:
    """Has an agent asked after each silence of some length; silence alone is not death."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._adopted = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()

    def heard(self) -> None:
        """Take note of a sign of life."""
        self._heard_at = self._loop.time()

    def adopt(self, settings: AgentSettings) -> None:
        """Go on with the bounds of other settings."""
        self._settings = settings
        self._adopted.set()

    async def wait_deaf(self, answers: Callable[[float], Awaitable[bool]]) -> AgentCrashError:
        """Wait until the agent is deaf; returns what to tell those who wait for it.

        ``answers`` asks it, and returns whether there was an answer within so many seconds.
        """
        while True:
            await self._wait_silent()
            timeout_s = self._settings.liveness_timeout_s
            asked_at = self._loop.time()
            if not (await answers(timeout_s) or self._heard_at > asked_at):
                return AgentCrashError(f"The agent is deaf: it did not answer within {timeout_s:g}s.")
            self.heard()

    async def _wait_silent(self) -> None:
        while self._loop.time() < (until := self._heard_at + self._settings.liveness_interval_s):
            self._adopted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._adopted.wait()
