"""How long things took, counted in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DurationsSnapshot:
    """Durations by bucket; ``counts`` has one more than ``bounds``, for what took longer than all of them."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    def __add__(self, other: DurationsSnapshot) -> DurationsSnapshot:
        """Return both together; they have the same bounds."""
        counts = tuple(own + more for own, more in zip(self.counts, other.counts, strict=True))
        return DurationsSnapshot(self.bounds, counts, self.sum_s + other.sum_s)


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

    def snapshot(self) -> DurationsSnapshot:
        """Tell what was counted so far."""
        return DurationsSnapshot(self._bounds, tuple(self._counts), self._sum_s)
