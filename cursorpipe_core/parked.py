"""The turns that wait for what their caller's tools give."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cursorpipe_core.errors import QueueFullError

logger = logging.getLogger(__name__)

#: Seconds after which it makes sense to ask again when too many wait.
RETRY_AFTER_S = 30.0


class Parkable(Protocol):
    """What can wait here."""

    key: str
    on_dead: Callable[[], None]

    @property
    def handed_out(self) -> Collection[str]:
        """The ids of the calls whose results it waits for."""


Thing = TypeVar("Thing", bound=Parkable)


@dataclass(slots=True)
class _Entry(Generic[Thing]):
    turn: Thing
    owner: str
    spare: bool
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class ParkedCounts:
    """How the turns fared that had to wait: for the operator."""

    parked: int = 0
    resumed: int = 0
    expired: int = 0
    died: int = 0
    refused: int = 0


class ParkedTurns(Generic[Thing]):
    """Keeps turns until the results of their calls come, each for a while and for its owner alone.

    Leaving ends all of them.
    """

    def __init__(
        self, end: Callable[[Thing], None], *, timeout_s: float, most: int, most_per_owner: int
    ) -> None:
        """Keep turns for ``timeout_s`` seconds; ``end`` ends one that is not fetched.

        ``most``, and ``most_per_owner``: how many at the same time.
        """
        self.timeout_s = timeout_s
        self._most, self._most_per_owner = most, most_per_owner
        self._end = end
        self.counts = ParkedCounts()
        self._entries: dict[str, _Entry[Thing]] = {}
        self._owners: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def check_room(self, owner: str) -> None:
        """Raise QueueFullError if one more turn of this owner could not wait here.

        Its oldest one to spare makes room.
        """
        if len(self._entries) >= self._most or self._owners[owner] >= self._most_per_owner:
            for key, entry in self._entries.items():
                if entry.spare and entry.owner == owner:
                    self.counts.expired += 1
                    self.drop(key)
                    return
            self.counts.refused += 1
            raise QueueFullError(
                "Too many turns wait for the results of their tools already.", retry_after=RETRY_AFTER_S
            )

    def park(self, turn: Thing, owner: str, *, spare: bool = False) -> None:
        """Keep a turn until ``take`` fetches it; it is ended when its time is over, or its agent is.

        ``spare``: nobody may ever come for it.
        """
        self.counts.parked += 1
        timer = asyncio.get_running_loop().call_later(self.timeout_s, self._expire, turn.key)
        self._entries[turn.key] = _Entry(turn, owner, spare, timer)
        self._owners[owner] += 1
        turn.on_dead = lambda: self._bury(turn.key)

    def take(self, key: str, owner: str) -> Thing | None:
        """Return the turn of this key, if there is one and it is this owner's; it is kept no more."""
        entry = self._entries.get(key)
        if entry is None or entry.owner != owner:
            return None
        self._forget(key)
        self.counts.resumed += 1
        return entry.turn

    def find(self, key: str, owner: str) -> Thing | None:
        """Return the turn of this key, if there is one and it is this owner's, and keep it."""
        entry = self._entries.get(key)
        return None if entry is None or entry.owner != owner else entry.turn

    def drop(self, key: str) -> None:
        """End the turn of this key."""
        self._end(self._forget(key).turn)

    def close(self) -> None:
        """End every turn."""
        for key in list(self._entries):
            self.drop(key)

    def _expire(self, key: str) -> None:
        self.counts.expired += 1
        logger.info("a turn has waited %.0fs for the results of its tools and is ended", self.timeout_s)
        self.drop(key)

    def _bury(self, key: str) -> None:
        if key not in self._entries:
            return  # it was fetched meanwhile, or ended
        self.counts.died += 1
        self.drop(key)

    def _forget(self, key: str) -> _Entry[Thing]:
        entry = self._entries.pop(key)
        entry.timer.cancel()
        self._owners[entry.owner] -= 1
        if not self._owners[entry.owner]:
            del self._owners[entry.owner]
        return entry
