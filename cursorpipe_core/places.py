"""A place made ahead of the process that will live in it, and the left ones removed behind."""

from __future__ import annotations

import asyncio
import logging
import os
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

#: Seconds for which places to be removed gather: each removal waits for the disk, so a thread does it, and
#: one thread for many costs much less than one for each.
GATHER_S = 0.05


class Places:
    """Gives each process a place of its own, never given to another, and removes it afterwards.

    Leaving removes all, the one in stock included; what lives in one must have ended by then.
    """

    def __init__(self, settings: AgentSettings, instance: Instance) -> None:
        self._furnishing = Furnishing(settings)
        self._instance = instance
        self._ready: Habitat | None = None
        self._left: list[Habitat] = []
        self._removing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._discard_ready()
        if self._removing is not None:
            self._removing.cancel()
            await asyncio.wait({self._removing})
        left, self._left = self._left, []
        await to_the_end(partial(_remove, left))

    def adopt(self, settings: AgentSettings) -> None:
        """Go on with other settings; what is in stock was made with those of before and is not given out."""
        self._furnishing = Furnishing(settings)
        self._discard_ready()

    def prepare(self) -> None:
        """Make the next place: to be called when there is nothing to do but to wait for an agent."""
        if self._ready is None:
            try:
                self._ready = self._furnishing.make(self._instance)
            except AgentCrashError as exc:
                # Tried again when it is wanted; whoever wants it is told.
                logger.debug("no place can be made ahead: %s", exc)

    def take(self) -> Habitat:
        """Return a place, made now if none is ready; raises AgentCrashError when it cannot be made."""
        place, self._ready = self._ready, None
        if place is None:
            return self._furnishing.make(self._instance)
        # It may have waited for long, and been swept away by whoever keeps the disk clean.
        if not all(map(os.path.isdir, place.made)):
            self._remove_later(place)
            return self._furnishing.make(self._instance)
        return place

    def leave(self, place: Habitat) -> None:
        """Give back a place whose process has ended; it is removed a moment later."""
        place.on_ended()
        self._remove_later(place)

    def _discard_ready(self) -> None:
        if self._ready is not None:
            self._remove_later(self._ready)
            self._ready = None

    def _remove_later(self, place: Habitat) -> None:
        self._left.append(place)
        if self._removing is None or self._removing.done():
            self._removing = asyncio.create_task(self._remove_left(), name="places")

    async def _remove_left(self) -> None:
        while self._left:
            await asyncio.sleep(GATHER_S)
            left, self._left = self._left, []
            await to_the_end(partial(_remove, left))


def _remove(places: Iterable[Habitat]) -> None:
    for place in places:
        place.remove()
