"""What a check has found: fine or not, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """How a check ended; ``skipped``: it could not be made, because of what another has found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about something that is wrong: ``cause`` names that for programs, ``fix`` is a sentence."""

    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    ``remedy`` is there unless all is fine, ``seconds`` where waiting was part of the check, and ``stages``
    are its parts in seconds, in their order.
    """

    name: str
    status: Status
    detail: str
    remedy: Remedy | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether something is broken."""
        return self.status is Status.FAILED


def fine(
    name: str, detail: str, *, seconds: float | None = None, stages: Mapping[str, float] | None = None
) -> Finding:
    """Return what is found where nothing is wrong."""
    return Finding(name, Status.OK, detail, seconds=seconds, stages=stages or {})


def doubtful(
    name: str,
    detail: str,
    remedy: Remedy,
    *,
    seconds: float | None = None,
    stages: Mapping[str, float] | None = None,
) -> Finding:
    """Return what is found where the server would serve all the same."""
    return Finding(name, Status.WARNING, detail, remedy, seconds, stages or {})


def broken(
    name: str,
    detail: str,
    remedy: Remedy,
    *,
    seconds: float | None = None,
    stages: Mapping[str, float] | None = None,
) -> Finding:
    """Return what is found where something does not work."""
    return Finding(name, Status.FAILED, detail, remedy, seconds, stages or {})
