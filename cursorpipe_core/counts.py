"""What happens on the agent side, counted as plain numbers by those that make it happen."""

from __future__ import annotations

from dataclasses import dataclass, field

from cursorpipe_core.durations import Durations
from cursorpipe_core.errors import CursorpipeError
from cursorpipe_core.snapshot import BackendHistory, History

#: The bounds of the buckets for the time in a waiting line, in seconds; it is given up after 60 by default.
WAIT_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


@dataclass(slots=True)
class BackendCounts:
    """Of one backend: processes started, turns stopped before their end, and waits for a place."""

    started: int = 0
    cancelled: int = 0
    waits: Durations = field(default_factory=lambda: Durations(WAIT_BOUNDS_S))

    def snapshot(self) -> BackendHistory:
        """Tell the numbers as they are now."""
        return BackendHistory(self.started, self.cancelled, self.waits.snapshot())


@dataclass(slots=True)
class Counts:
    """The numbers of the whole agent side since its start; they outlive every worker.

    Sessions are made, and a request finds one in stock or misses it; workers are started again for a reason,
    or recycled.
    """

    acp: BackendCounts = field(default_factory=BackendCounts)
    subprocess: BackendCounts = field(default_factory=BackendCounts)
    sessions_made: int = 0
    sessions_found: int = 0
    sessions_missed: int = 0
    restarts: dict[type[CursorpipeError], int] = field(default_factory=dict)
    recycled: int = 0
    permissions_refused: int = 0

    def restarted(self, reason: CursorpipeError) -> None:
        """Count a worker that is started again."""
        self.restarts[type(reason)] = self.restarts.get(type(reason), 0) + 1

    def snapshot(self) -> History:
        """Tell the numbers as they are now."""
        return History(
            acp=self.acp.snapshot(),
            subprocess=self.subprocess.snapshot(),
            sessions_made=self.sessions_made,
            sessions_found=self.sessions_found,
            sessions_missed=self.sessions_missed,
            restarts=dict(self.restarts),
            recycled=self.recycled,
            permissions_refused=self.permissions_refused,
        )
