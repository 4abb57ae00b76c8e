"""A stock of sessions made before they are needed, each for one request."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from cursorpipe_core.errors import CursorpipeError

logger = logging.getLogger(__name__)

#: Seconds between two tries when no session could be made for the stock; requests make their own then.
REFILL_PAUSE_S = 5.0
#: Sessions that are made for the stock at the same time.
REFILL_PARALLEL = 4
#: Seconds over which the rate of requests is counted.
RATE_WINDOW_S = 5.0
#: The stock is to last for so many times the time that a session takes to be made.
STOCK_FOR = 3.0
#: How much the latest session counts in what is expected of the next.
LATEST_WEIGHT = 0.3


class SessionDispenser:
    """Hands out sessions that were never used, from stock or made on demand.

    ``create`` opens one session and returns its id. Entering makes the first one, so that what cannot
    open a session is never taken for ready, and raises what ``create`` raises; the rest of the stock is
    made behind. Opening takes seconds (CLI contract §6), hence the stock; a request that finds it empty
    opens its own at once and does not wait for the refill.

    ``stock`` is kept at least, and as many as are likely to be taken while others are made, up to ``most``.
    """

    def __init__(self, create: Callable[[], Awaitable[str]], *, stock: int, most: int = 0) -> None:
        self._create = create
        self._stock = stock
        self._most = max(stock, most)
        self._sessions: deque[str] = deque()
        self._making = 0
        self._needed = asyncio.Event()
        self._refills: list[asyncio.Task[None]] = []
        self._taken_at: deque[float] = deque()
        self._create_s = 0.0
        self._clock = asyncio.get_running_loop().time
        self.found = 0
        self.missed = 0

    async def __aenter__(self) -> Self:
        self._sessions.append(await self._make())
        self._needed.set()
        self._refills = [
            asyncio.create_task(self._keep_stock(), name=f"session refill {number}")
            for number in range(REFILL_PARALLEL)
        ]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for refill in self._refills:
            refill.cancel()
        if self._refills:
            # Not awaited themselves: a cancellation of ours could not be told from their own.
            await asyncio.wait(self._refills)

    @property
    def ready(self) -> int:
        """How many sessions are in stock."""
        return len(self._sessions)

    async def take(self) -> str:
        """Return the id of an unused session; raises what ``create`` raises when one must be made."""
        self._taken_at.append(self._clock())
        self._needed.set()
        if self._sessions:
            self.found += 1
            return self._sessions.popleft()
        self.missed += 1
        return await self._make()

    def _wanted(self) -> int:
        """Return how many sessions there should be, by how fast they are taken and how slowly made."""
        forgotten_at = self._clock() - RATE_WINDOW_S
        while self._taken_at and self._taken_at[0] < forgotten_at:
            self._taken_at.popleft()
        rate = len(self._taken_at) / RATE_WINDOW_S
        return min(self._most, max(self._stock, math.ceil(rate * self._create_s * STOCK_FOR)))

    async def _keep_stock(self) -> None:
        while True:
            await self._needed.wait()
            if len(self._sessions) + self._making >= self._wanted():
                self._needed.clear()
                continue
            self._making += 1
            try:
                session = await self._make()
            except CursorpipeError as exc:
                logger.warning("no session could be made for the stock: %s", exc)
                await asyncio.sleep(REFILL_PAUSE_S)
                self._needed.set()  # the others have counted on this one
            else:
                self._sessions.append(session)
            finally:
                self._making -= 1

    async def _make(self) -> str:
        began = self._clock()
        session = await self._create()
        took = self._clock() - began
        self._create_s = (
            took if not self._create_s else self._create_s + LATEST_WEIGHT * (took - self._create_s)
        )
        return session
