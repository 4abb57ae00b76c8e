"""The stages of something that takes a while, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Stages:
    """A stopwatch: a stage lasts from its ``begin`` to that of the next, or to ``end``.

    One that is begun again goes on; after the end nothing is begun any more.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._since = self._started = time.monotonic()
        self._ended = False
        #: The stage that was begun last.
        self.current = ""

    def begin(self, stage: str) -> None:
        """End the stage that runs, and begin another."""
        if not self._ended:
            self._stop()
            self.current = stage

    def end(self) -> None:
        """End the last stage. Idempotent."""
        if not self._ended:
            self._stop()
            self._ended = True

    @property
    def seconds(self) -> Mapping[str, float]:
        """How long each has taken, in the order of their beginnings."""
        return dict(self._seconds)

    @property
    def total_s(self) -> float:
        """Seconds from the making of this to its end, or to now."""
        return (self._since if self._ended else time.monotonic()) - self._started

    def _stop(self) -> None:
        now = time.monotonic()
        if self.current:
            self._seconds[self.current] = self._seconds.get(self.current, 0.0) + now - self._since
        self._since = now
