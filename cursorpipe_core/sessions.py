"""A stock of sessions made before they are needed, each for one request."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from cursorpipe_core.counts import Counts
from cursorpipe_core.errors import CursorpipeError

logger = logging.getLogger(__name__)

#: Seconds between two tries when no session could be made for the stock; requests make their own then.
REFILL_PAUSE_S = 5.0
#: Sessions that are made for the stock at the same time, at least and at most: a request that finds none
#: stands behind them in an agent that makes one after the other.
REFILL_PARALLEL = 4
REFILL_PARALLEL_MOST = 64
#: Seconds for which sessions to be made gather: an agent is woken once for all of them.
GATHER_S = 0.02
#: Seconds over which the rate of requests is counted, at most and, of those that have just begun, at least.
RATE_WINDOW_S = 5.0
RATE_WINDOW_LEAST_S = 1.0
#: The stock is to last for so many times the time that a session takes to be made.
STOCK_FOR = 3.0
#: And so many times as many are made at once as it takes to keep pace.
AHEAD = 1.5
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

    def __init__(
        self,
        create: Callable[[], Awaitable[str]],
        *,
        stock: int,
        most: int = 0,
        counts: Counts | None = None,
    ) -> None:
        self._create = create
        self._counts = counts or Counts()
        self._stock = stock
        self._most = max(stock, most)
        self._sessions: deque[str] = deque()
        self._making: set[asyncio.Task[None]] = set()
        self._entered = False
        self._urgent = False
        self._planned: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._taken_at: deque[float] = deque()
        self._create_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time

    async def __aenter__(self) -> Self:
        self._sessions.append(await self._make())
        self._entered = True
        self._refill()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered = False
        for timer in (self._pause, self._planned):
            if timer is not None:
                timer.cancel()
        for making in self._making:
            making.cancel()
        if self._making:
            # Not awaited themselves: a cancellation of ours could not be told from their own.
            await asyncio.wait(self._making)

    @property
    def ready(self) -> int:
        """How many sessions are in stock."""
        return len(self._sessions)

    def take_now(self) -> str | None:
        """Return the id of an unused session, if one is in stock."""
        if not self._sessions:
            return None
        self._taken_at.append(self._clock())
        session = self._sessions.popleft()
        self._counts.sessions_found += 1
        self._plan_refill()
        return session

    async def make(self) -> str:
        """Return the id of a session made now, for one who found none; raises what ``create`` raises."""
        self._counts.sessions_missed += 1
        self._taken_at.append(self._clock())
        self._refill()
        return await self._make()

    def _plan_refill(self) -> None:
        """See to it that the stock is filled: in a moment, for several at once, or now if it runs low."""
        if len(self._sessions) * 2 < self._stock:
            if not self._urgent:
                # Still after the prompt that this session is for has gone out.
                self._urgent = True
                self._loop.call_soon(self._refill)
        elif self._planned is None:
            self._planned = self._loop.call_later(GATHER_S, self._refill)

    def _refill(self) -> None:
        """Make as many sessions as are wanted, behind the requests."""
        self._urgent = False
        if self._planned is not None:
            self._planned.cancel()
            self._planned = None
        if self._pause is not None or not self._entered:
            return
        rate = self._rate()
        wanted = min(self._most, max(self._stock, math.ceil(rate * self._create_s * STOCK_FOR)))
        at_once = min(REFILL_PARALLEL_MOST, max(REFILL_PARALLEL, math.ceil(rate * self._create_s * AHEAD)))
        while len(self._making) < min(at_once, wanted - len(self._sessions)):
            making = asyncio.create_task(self._make_for_stock(), name="session for the stock")
            self._making.add(making)
            making.add_done_callback(self._made)

    def _rate(self) -> float:
        """Return how many sessions are taken in a second."""
        now = self._clock()
        while self._taken_at and self._taken_at[0] < now - RATE_WINDOW_S:
            self._taken_at.popleft()
        if not self._taken_at:
            return 0.0
        return len(self._taken_at) / max(RATE_WINDOW_LEAST_S, now - self._taken_at[0])

    async def _make_for_stock(self) -> None:
        try:
            self._sessions.append(await self._make())
        except CursorpipeError as exc:
            # Many fail together where an agent dies; the first says why.
            if self._pause is None:
                logger.warning("no session could be made for the stock: %s", exc)
        except Exception:
            logger.exception("no session could be made for the stock")
        else:
            return
        if self._pause is None:
            self._pause = self._loop.call_later(REFILL_PAUSE_S, self._go_on)

    def _made(self, making: asyncio.Task[None]) -> None:
        self._making.discard(making)
        if not making.cancelled():
            self._refill()

    def _go_on(self) -> None:
        self._pause = None
        self._refill()

    async def _make(self) -> str:
        began = self._clock()
        session = await self._create()
        took = self._clock() - began
        self._create_s = (
            took if not self._create_s else self._create_s + LATEST_WEIGHT * (took - self._create_s)
        )
        return session
