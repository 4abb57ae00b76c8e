"""A bounded waiting line, fair between those who wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from cursorpipe_core.durations import Durations
from cursorpipe_core.errors import AgentUnavailableError, CursorpipeError, QueueFullError, QueueTimeoutError

#: Seconds after which it makes sense to ask again when the line is full or was stood in for nothing.
RETRY_AFTER_S = 5.0

Thing = TypeVar("Thing")


class _Waiter(Generic[Thing]):
    """One who waits, and how to serve them."""

    __slots__ = ("future", "since", "take")

    def __init__(self, take: Callable[[], Thing | None]) -> None:
        self.take = take
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self.future: asyncio.Future[Thing] = loop.create_future()


class WaitingLine(Generic[Thing]):
    """Gives out things of which there may be none at the moment.

    Each client has a line of its own, first come, first served; the clients take turns, so that one
    that asks two hundred times at once delays another's single request by one turn. Whoever makes
    something available calls ``wake``. ``give_back`` takes what was given to somebody who had just left.
    """

    def __init__(
        self,
        *,
        max_waiting: int,
        give_back: Callable[[Thing], None],
        there_are_some: Callable[[], bool] = lambda: True,
        waits: Durations | None = None,
    ) -> None:
        """Prepare an empty line; ``waits`` gets the seconds that those who were served had waited.

        ``there_are_some`` tells whether all are given out or there are none at all.
        """
        #: May be changed; who is in the line stays.
        self.max_waiting = max_waiting
        self._give_back = give_back
        self._there_are_some = there_are_some
        self._waits = waits or Durations(())
        self._clients: OrderedDict[str, deque[_Waiter[Thing]]] = OrderedDict()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many are waiting."""
        return self._waiting

    async def acquire(self, client: str, take: Callable[[], Thing | None], timeout_s: float) -> Thing:
        """Return what ``take`` gives, waiting for it in the line of ``client``.

        Raises QueueFullError at once if too many are waiting, and after ``timeout_s`` QueueTimeoutError, or
        AgentUnavailableError if there is nothing to wait for. Who is cancelled has left the line.
        """
        if not self._waiting and (thing := take()) is not None:
            return thing
        if self._waiting >= self.max_waiting:
            raise QueueFullError(
                f"{self._waiting} requests are waiting for an agent already.", retry_after=RETRY_AFTER_S
            )
        waiter = _Waiter(take)
        self._clients.setdefault(client, deque()).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.future
        except TimeoutError:
            self._leave(client, waiter)
            error = QueueTimeoutError if self._there_are_some() else AgentUnavailableError
            raise error(f"No agent was free within {timeout_s:.1f}s.", retry_after=RETRY_AFTER_S) from None
        except asyncio.CancelledError:
            self._leave(client, waiter)
            raise

    def wake(self) -> None:
        """Serve those who wait, each client in turn, as far as there is something to give."""
        while self._clients:
            client, waiters = next(iter(self._clients.items()))
            waiter = waiters[0]
            if waiter.future.done():
                # Cancelled, and not come to leave yet: what it were given nobody would give back.
                self._strike_out(client, waiter)
                continue
            thing = waiter.take()
            if thing is None:
                return
            self._strike_out(client, waiter)
            if waiters:
                self._clients.move_to_end(client)
            self._waits.add(waiter.future.get_loop().time() - waiter.since)
            waiter.future.set_result(thing)

    def fail(self, error: CursorpipeError) -> None:
        """Send everybody away: there will be nothing to give."""
        clients, self._clients, self._waiting = self._clients, OrderedDict(), 0
        for waiters in clients.values():
            for waiter in waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(error)

    def _leave(self, client: str, waiter: _Waiter[Thing]) -> None:
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            # Served in the very moment of leaving.
            self._give_back(future.result())
            return
        future.cancel()
        if waiter in self._clients.get(client, ()):
            self._strike_out(client, waiter)

    def _strike_out(self, client: str, waiter: _Waiter[Thing]) -> None:
        waiters = self._clients[client]
        waiters.remove(waiter)
        self._waiting -= 1
        if not waiters:
            del self._clients[client]
