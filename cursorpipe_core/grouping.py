"""When the calls that an agent has made are all that it makes together."""

from __future__ import annotations

import asyncio


class Grouping:
    """What is known of one kind of agent: the gaps between calls that belong together, and what it announces.

    Some agents make such calls within a millisecond, others take a tenth of a second. Nothing is lost where
    the wait is too short: a late call opens the next group. All turns share what is learned.
    """

    #: Seconds of silence that end a group: at first, at least and at most.
    FIRST_S = 0.25
    LEAST_S = 0.06
    MOST_S = 0.5
    #: The silence is to be so many times the largest gap that was seen.
    TIMES = 3.0
    #: And is that much shorter after each call that came alone, while no others were seen.
    SHORTER = 0.8
    #: Seconds for which a group waits for ACP to show its calls, which says that all that the agent said
    #: before them is there; after so many groups in vain it is not waited for any more.
    ANNOUNCED_WITHIN_S = 1.0
    IN_VAIN = 2

    def __init__(self) -> None:
        self._largest_gap_s: float | None = None
        self._first_s = self.FIRST_S
        self._unannounced = 0

    @property
    def quiet_s(self) -> float:
        """The seconds of silence after which a group is whole."""
        if self._largest_gap_s is None:
            return self._first_s
        return min(self.MOST_S, max(self.LEAST_S, self.TIMES * self._largest_gap_s))

    @property
    def announces(self) -> bool:
        """Whether calls are worth waiting for over ACP."""
        return self._unannounced < self.IN_VAIN

    def learn_gap(self, gap_s: float) -> None:
        """Take the seconds between two calls that belong together."""
        self._largest_gap_s = max(gap_s, self._largest_gap_s or 0.0)

    def learn_group(self, *, size: int, announced: bool) -> None:
        """Take what a group was: how many calls, and whether ACP had shown all of them."""
        if size == 1:
            self._first_s = max(self.LEAST_S, self._first_s * self.SHORTER)
        self._unannounced = 0 if announced else self._unannounced + 1


class CallClock:
    """When the calls of one turn come, and when they are a group."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._now = asyncio.get_running_loop().time
        self._calls = 0
        self._first_at = self._called_at = self._heard_at = 0.0

    def call(self, *, first: bool, late: bool) -> None:
        """Take note of a call; ``first`` of its group, or too ``late`` for the one that it belongs to."""
        now = self._now()
        if late or not first:
            self._grouping.learn_gap(now - self._called_at)
        if first:
            self._first_at = now
        self._called_at = self._heard_at = now
        self._calls += 1

    def hear(self) -> None:
        """Take note that the agent said something."""
        self._heard_at = self._now()

    def go_on(self) -> None:
        """Take note that the agent has got its results."""
        self._heard_at = self._first_at = self._now()

    def patience_s(self, announced: int) -> float:
        """Return the seconds until the calls that have come are a group; ACP has shown ``announced``."""
        due = self._heard_at + self._grouping.quiet_s
        if announced < self._calls and self._grouping.announces:
            due = max(due, self._first_at + Grouping.ANNOUNCED_WITHIN_S)
        return due - self._now()

    def close(self, size: int, announced: int) -> None:
        """Take note that a group was handed out."""
        self._grouping.learn_group(size=size, announced=announced >= self._calls)
