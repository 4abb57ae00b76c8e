"""What requests have come to in the last half hour, for people who look now; bounded, whatever comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

#: Seconds that one bucket covers, and how many buckets are kept: 30 minutes.
BUCKET_S = 10
BUCKETS = 180
#: First texts kept of each bucket, the latest: their median is that of the bucket.
FIRST_TEXTS = 64
#: Errors that are kept, at most.
FAILURES = 20
#: Characters of an error's message that are kept.
MESSAGE_CHARS = 400


@dataclass(frozen=True, slots=True)
class Totals:
    """The requests that ended in some seconds; ``first_text_s`` is the median time to the first text."""

    seconds: float
    requests: int
    failed: int
    first_text_s: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error with which requests to one route ended: the last time, and how often since it is kept."""

    at: datetime
    route: str
    code: str
    message: str
    request_id: str
    count: int


class _Bucket:
    """The requests that ended in one span of time, ``number`` of the clock's."""

    __slots__ = ("failed", "first_texts", "number", "requests", "texts")

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = 0
        self.failed = 0
        self.texts = 0
        self.first_texts: list[float] = []

    def add_first_text(self, seconds: float) -> None:
        if self.texts < FIRST_TEXTS:
            self.first_texts.append(seconds)
        else:
            self.first_texts[self.texts % FIRST_TEXTS] = seconds
        self.texts += 1


class Recent:
    """The requests of the last half hour in short spans of time, and the last errors.

    Times are those of ``clock``, which is the one that requests are timed by.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._buckets = [_Bucket(-1) for _ in range(BUCKETS)]
        self._failures: dict[tuple[str, str, str], Failure] = {}

    @property
    def age_s(self) -> float:
        """Seconds since it began to be kept, which is when the server started."""
        return self._clock() - self._began

    @property
    def failures(self) -> Sequence[Failure]:
        """The last errors, the latest first."""
        return list(reversed(self._failures.values()))

    def count(self, at: float, *, failed: bool, first_text_s: float | None) -> None:
        """Count a request that ended at ``at``."""
        number = int(at // BUCKET_S)
        bucket = self._buckets[number % BUCKETS]
        if bucket.number != number:
            bucket = self._buckets[number % BUCKETS] = _Bucket(number)
        bucket.requests += 1
        bucket.failed += failed
        if first_text_s is not None:
            bucket.add_first_text(first_text_s)

    def note_failure(self, route: str, code: str, message: str, request_id: str) -> None:
        """Keep an error. One that is there already comes to the front: a flood of one hides no others."""
        kind = route, code, message[:MESSAGE_CHARS]
        known = self._failures.pop(kind, None)
        count = 1 if known is None else known.count + 1
        self._failures[kind] = Failure(datetime.now(UTC), *kind, request_id, count)
        if len(self._failures) > FAILURES:
            del self._failures[next(iter(self._failures))]

    def moments(self) -> list[Totals]:
        """Return the spans of the last half hour, the oldest first; the last one is not over."""
        now = self._clock()
        last = int(now // BUCKET_S)
        found = self._by_number(last - BUCKETS)
        return [
            _totals(min(BUCKET_S, now - number * BUCKET_S), [found[number]] if number in found else [])
            for number in range(last - BUCKETS + 1, last + 1)
        ]

    def window(self, seconds: int) -> Totals:
        """Return the requests of the last ``seconds``, or of as many as there are."""
        now = self._clock()
        last = int(now // BUCKET_S)
        oldest = last - seconds // BUCKET_S
        buckets = list(self._by_number(oldest).values())
        begins = max(self._began, (oldest + 1) * BUCKET_S)
        return _totals(now - begins, buckets)

    def _by_number(self, after: int) -> dict[int, _Bucket]:
        return {bucket.number: bucket for bucket in self._buckets if bucket.number > after}


def _totals(seconds: float, buckets: Sequence[_Bucket]) -> Totals:
    first_texts = list(_first_texts(buckets))
    return Totals(
        seconds=seconds,
        requests=sum(bucket.requests for bucket in buckets),
        failed=sum(bucket.failed for bucket in buckets),
        first_text_s=median(first_texts) if first_texts else None,
    )


def _first_texts(buckets: Sequence[_Bucket]) -> Iterator[float]:
    for bucket in buckets:
        yield from bucket.first_texts
