from __future__ import annotations

import pytest

from cursorpipe_core import Durations, DurationsSnapshot


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0.0, (1, 0, 0)), (0.1, (1, 0, 0)), (0.11, (0, 1, 0)), (1.0, (0, 1, 0)), (9.0, (0, 0, 1))],
)
def test_a_duration_is_counted_by_the_least_bound_it_does_not_exceed(
    seconds: float, counts: tuple[int, ...]
) -> None:
    durations = Durations((0.1, 1.0))
    durations.add(seconds)
    assert durations.snapshot() == DurationsSnapshot((0.1, 1.0), counts, seconds)


def test_two_counts_can_be_added() -> None:
    one = DurationsSnapshot((1.0,), (1, 2), 5.5)
    other = DurationsSnapshot((1.0,), (3, 0), 1.0)
    assert one + other == DurationsSnapshot((1.0,), (4, 2), 6.5)


def test_a_snapshot_stays_what_it_was() -> None:
    durations = Durations((1.0,))
    before = durations.snapshot()
    durations.add(0.5)
    assert before.counts == (0, 0)
