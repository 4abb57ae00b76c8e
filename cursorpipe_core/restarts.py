"""When a worker that ended is started again."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds before the first restart; doubled with each further one.
SHORTEST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
#: A worker that lived this long had started well: its next restart is a first one again.
STABLE_AFTER_S = 30.0
#: The share by which a delay varies, so that workers that fell together do not rise together.
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Restart:
    """The decision about one end: wait so long, and whether the slot is given up for a while."""

    delay_s: float
    tripped: bool


class RestartPolicy:
    """Delays by backoff, bounded by an intensity: more than so many ends within a window trip the slot.

    A tripped slot is tried again at the longest delay. The clock is the caller's, in seconds. The terms
    are those of OTP's supervisors (intensity, period) and of jupyter_client (stable start).
    """

    def __init__(
        self, *, max_restarts: int, window_s: float, spread: Callable[[], float] = random.random
    ) -> None:
        self._max_restarts = max_restarts
        self._window_s = window_s
        self._spread = spread
        self._ends: deque[float] = deque()
        self._delay_s = SHORTEST_DELAY_S
        self._failed_starts = 0

    def limit(self, *, max_restarts: int, window_s: float) -> None:
        """Decide by another intensity from now on; the ends so far count."""
        self._max_restarts = max_restarts
        self._window_s = window_s

    def after_end(self, *, uptime_s: float | None, now_s: float) -> Restart:
        """Decide about a worker that ended ``uptime_s`` after it was ready; None: it never was.

        A start may fail so slowly that no window ever holds two; failed starts are counted in a row too.
        """
        if uptime_s is None:
            self._failed_starts += 1
        else:
            self._failed_starts = 0
            if uptime_s >= STABLE_AFTER_S:
                self._delay_s = SHORTEST_DELAY_S
        self._ends.append(now_s)
        while self._ends[0] < now_s - self._window_s:
            self._ends.popleft()
        if max(len(self._ends), self._failed_starts) > self._max_restarts:
            return Restart(self._jittered(LONGEST_DELAY_S), tripped=True)
        delay_s, self._delay_s = self._delay_s, min(2 * self._delay_s, LONGEST_DELAY_S)
        return Restart(self._jittered(delay_s), tripped=False)

    def after_boot_error(self) -> Restart:
        """Decide about a worker that cannot start until the operator changes something."""
        return Restart(self._jittered(LONGEST_DELAY_S), tripped=True)

    def _jittered(self, delay_s: float) -> float:
        return delay_s * (1 - JITTER * self._spread())
