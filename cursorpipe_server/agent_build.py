"""Which agent is installed, as it was last found out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from cursorpipe_core import CursorpipeError, Router

#: Seconds an answer is kept: people look at the build after they have updated it.
KEPT_S = 60.0
#: Seconds a look at the build may make somebody wait.
PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Build:
    """The agent's program and the build it names; ``reason`` says why one of them is not known."""

    path: str | None
    version: str | None
    reason: str | None = None


class AgentBuild:
    """Asks the agent for its build, which starts a process, at most once a while however many ask."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._asking = asyncio.Lock()
        self._found: Build | None = None
        self._found_at = 0.0

    async def get(self) -> Build:
        """Return the build; asks for it if that is long ago, within a bound."""
        async with self._asking:
            if self._found is None or time.monotonic() - self._found_at > KEPT_S:
                self._found = await self._ask()
                self._found_at = time.monotonic()
            return self._found

    async def _ask(self) -> Build:
        try:
            async with asyncio.timeout(PATIENCE_S):
                agent = await self._router.describe_agent()
        except TimeoutError:
            return Build(None, None, "The agent does not tell its version in time.")
        except CursorpipeError as exc:
            return Build(None, None, str(exc))
        return Build(
            agent.path, agent.version, None if agent.version else "The agent does not tell its version."
        )
