"""How long things took, counted in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DurationsSnapshot:
    """Durations by bucket: ``counts`` has one more than there are ``bounds``, for what took longer than all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


class Durations:
    """Counts durations by the least bound, in seconds, that each does not exceed."""

    __slots__ = ("_bounds", "_counts", "_sum_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    @classmethod
    def sum(cls, several: Sequence[Durations]) -> Durations:
        """Return what several, at least one, with the same bounds have counted together."""
        whole = cls(several[0]._bounds)
        whole._counts = [sum(counts) for counts in zip(*(one._counts for one in several), strict=True)]
        whole._sum_s = sum(one._sum_s for one in several)
        return whole

    def snapshot(self) -> DurationsSnapshot:
        """Tell what was counted so far."""
        return DurationsSnapshot(self._bounds, tuple(self._counts), self._sum_s)
