"""Places made ahead of the processes that will live in them, and the left ones removed behind them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Self

from cursorpipe_core.bounds import to_the_end
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError
from cursorpipe_core.habitat import Furnishing, Habitat
from cursorpipe_core.instance import Instance

logger = logging.getLogger(__name__)

#: How many places are kept ready; each is a few empty directories.
STOCK = 16
#: Seconds that what is to be done gathers: one thread for many places costs much less than one for each.
GATHER_S = 0.02


class Places:
    """Gives a process a place of its own, never given to another, and takes it back to remove it.

    Places are made ahead as soon as one was wanted: a server that starts no such process makes none.
    Leaving removes all, those in stock included; what lives in one must have ended by then.
    """

    def __init__(self, settings: AgentSettings, instance: Instance) -> None:
        self._furnishing = Furnishing(settings)
        self._instance = instance
        self._ready: deque[Habitat] = deque()
        self._left: list[Habitat] = []
        self._tending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait({self._tending})
        await to_the_end(partial(_remove, [*self._left, *self._ready]))

    def adopt(self, settings: AgentSettings) -> None:
        """Go on with other settings; what is in stock was made with those of before and is removed."""
        self._furnishing = Furnishing(settings)
        if self._ready:
            self._left += self._ready
            self._ready.clear()
            self._tend()

    def take(self) -> Habitat:
        """Return a place, made now if none is ready; raises AgentCrashError when it cannot be made."""
        while self._ready:
            place = self._ready.popleft()
            # One that waited for long may have been swept away by whoever keeps the disk clean.
            if all(map(os.path.isdir, place.made)):
                break
            self._left.append(place)
        else:
            place = self._furnishing.make(self._instance)
        self._tend()
        return place

    def leave(self, place: Habitat) -> None:
        """Give back a place whose process has ended; it is removed a moment later."""
        place.on_ended()
        self._left.append(place)
        self._tend()

    def _tend(self) -> None:
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._make_and_remove(), name="places")

    async def _make_and_remove(self) -> None:
        short = True
        while self._left or (short and len(self._ready) < STOCK):
            await asyncio.sleep(GATHER_S)
            furnishing, made = self._furnishing, list[Habitat]()
            left, self._left = self._left, []
            try:
                await to_the_end(
                    partial(self._work, furnishing, left, made, STOCK - len(self._ready) if short else 0)
                )
            finally:
                if furnishing is self._furnishing:
                    self._ready += made
                else:
                    self._left += made
            # What cannot be made ahead is tried again when it is wanted, and its failure told then.
            short = bool(made) or furnishing is not self._furnishing

    def _work(self, furnishing: Furnishing, left: list[Habitat], made: list[Habitat], count: int) -> None:
        _remove(left)
        try:
            for _ in range(count):
                made.append(furnishing.make(self._instance))  # noqa: PERF401 — those before a failure count
        except AgentCrashError as exc:
            logger.debug("no place can be made ahead: %s", exc)


def _remove(places: Iterable[Habitat]) -> None:
    for place in places:
        place.remove()
