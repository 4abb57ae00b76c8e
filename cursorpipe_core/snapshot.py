"""What the agent side looks like at one moment, for readiness checks and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cursorpipe_core.config import Strategy
from cursorpipe_core.durations import DurationsSnapshot
from cursorpipe_core.errors import CursorpipeError


class SlotState(StrEnum):
    """Where a worker's slot is in its life."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    TRIPPED = "tripped"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One slot: its state and why it is in it (``reason``: a sentence, where there is something to say).

    ``model`` is that of a worker which serves no other; ``rss_bytes`` the memory of the process and its
    children when it was last looked at, 0 before.
    """

    slot: int
    state: SlotState
    reason: str | None
    pid: int | None
    restarts: int
    in_flight: int
    sessions_ready: int
    notes: Sequence[str]
    permissions_refused: int = 0
    model: str | None = None
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ToolsSnapshot:
    """How callers' tools fare.

    ``channel`` is how agents come to them, None if in no way; ``proven``: one has. ``parked`` turns wait for
    results now; the others count since the start: calls and the groups in which they were handed out,
    requests by how they came to be answered, turns that waited too long, that their agent left, and requests
    refused because too many waited.
    """

    channel: str | None
    proven: bool = False
    parked: int = 0
    calls: int = 0
    groups: int = 0
    new: int = 0
    resumed: int = 0
    rebuilt: int = 0
    expired: int = 0
    died: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class BackendHistory:
    """Of one backend since the start: processes started, turns stopped before their end, waits for a place.

    ``waits`` are those of requests that had to stand in the line and got a place.
    """

    started: int = 0
    cancelled: int = 0
    waits: DurationsSnapshot = field(default_factory=lambda: DurationsSnapshot((), (0,), 0.0))


@dataclass(frozen=True, slots=True)
class History:
    """What has happened since the start, in numbers that only ever grow.

    Sessions that were made, and requests that found one in stock or missed it; workers that were started
    again, by the error that their last life ended with, and those that were worn and replaced.
    """

    acp: BackendHistory = field(default_factory=BackendHistory)
    subprocess: BackendHistory = field(default_factory=BackendHistory)
    sessions_made: int = 0
    sessions_found: int = 0
    sessions_missed: int = 0
    restarts: Mapping[type[CursorpipeError], int] = field(default_factory=dict)
    recycled: int = 0
    permissions_refused: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole agent side.

    ``ready``: a request made now would be served; ``reason`` says why not, or why by no worker. ``draining``
    are the workers that have been replaced and finish what they have, ``waiting`` the requests that wait for
    their turn, ``waiting_acp`` those of them that wait for a worker.
    """

    ready: bool
    reason: str | None
    strategy: Strategy
    workers: Sequence[WorkerSnapshot]
    draining: int
    subprocesses: int
    waiting: int
    tools: ToolsSnapshot
    waiting_acp: int = 0
    history: History = field(default_factory=History)
