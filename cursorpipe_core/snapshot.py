"""What the agent side looks like at one moment, for readiness checks and people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cursorpipe_core.config import Strategy


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

    ``model`` is that of a worker which serves no other.
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
class Snapshot:
    """The whole agent side. ``ready``: a request made now would be served; ``reason`` says why not.

    ``draining`` are the workers that have been replaced and finish what they have, ``waiting`` the
    requests that wait for their turn.
    """

    ready: bool
    reason: str | None
    strategy: Strategy
    workers: Sequence[WorkerSnapshot]
    draining: int
    subprocesses: int
    waiting: int
    tools: ToolsSnapshot
