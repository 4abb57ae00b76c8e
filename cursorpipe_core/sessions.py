"""A stock of sessions made before they are needed, each for one request."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from cursorpipe_core.errors import CursorpipeError

logger = logging.getLogger(__name__)

#: Seconds between two tries when no session could be made for the stock; requests make their own then.
REFILL_PAUSE_S = 5.0


class SessionDispenser:
    """Hands out sessions that were never used, from stock or made on demand.

    ``create`` opens one session and returns its id. Entering makes the first one, so that what cannot
    open a session is never taken for ready, and raises what ``create`` raises; the rest of the stock is
    made behind. Opening takes seconds (CLI contract §6), hence the stock; a request that finds it empty
    opens its own at once and does not wait for the refill.
    """

    def __init__(self, create: Callable[[], Awaitable[str]], *, stock: int) -> None:
        self._create = create
        self._target = stock
        self._sessions: deque[str] = deque()
        self._taken = asyncio.Event()
        self._refill: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sessions.append(await self._create())
        self._taken.set()
        self._refill = asyncio.create_task(self._keep_stock(), name="session refill")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._refill is not None:
            self._refill.cancel()
            # Not awaited itself: a cancellation of ours could not be told from its own.
            await asyncio.wait({self._refill})

    @property
    def ready(self) -> int:
        """How many sessions are in stock."""
        return len(self._sessions)

    async def take(self) -> str:
        """Return the id of an unused session; raises what ``create`` raises when one must be made."""
        if self._sessions:
            self._taken.set()
            return self._sessions.popleft()
        return await self._create()

    async def _keep_stock(self) -> None:
        while True:
            await self._taken.wait()
            self._taken.clear()
            while len(self._sessions) < self._target:
                try:
                    self._sessions.append(await self._create())
                except CursorpipeError as exc:
                    logger.warning("no session could be made for the stock: %s", exc)
                    await asyncio.sleep(REFILL_PAUSE_S)
