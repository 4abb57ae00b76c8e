"""How long calls are waited for that may belong together."""

from __future__ import annotations

import pytest

from cursorpipe_core.grouping import CallClock, Grouping


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, to be set."""
    return [100.0]


@pytest.fixture
def grouping() -> Grouping:
    return Grouping()


@pytest.fixture
async def clock(grouping: Grouping, now: list[float]) -> CallClock:
    clock = CallClock(grouping)
    clock._now = lambda: now[0]
    return clock


@pytest.mark.parametrize(
    ("gap_s", "quiet_s"), [(0.0, Grouping.LEAST_S), (0.05, 0.15), (0.2, Grouping.MOST_S)]
)
def test_the_silence_is_three_times_the_largest_gap_within_bounds(
    grouping: Grouping, gap_s: float, quiet_s: float
) -> None:
    assert grouping.quiet_s == Grouping.FIRST_S
    grouping.learn_gap(gap_s / 2)
    grouping.learn_gap(gap_s)
    grouping.learn_gap(0.0)
    assert grouping.quiet_s == pytest.approx(quiet_s)


def test_calls_that_always_come_alone_are_waited_for_less_and_less(grouping: Grouping) -> None:
    waits = []
    for _ in range(20):
        waits.append(grouping.quiet_s)
        grouping.learn_group(size=1, announced=True)
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == Grouping.LEAST_S
    grouping.learn_gap(0.1)
    assert grouping.quiet_s == pytest.approx(0.3), "one pair says more than all that came alone"


async def test_a_group_is_whole_when_both_pipes_have_been_silent(
    grouping: Grouping, clock: CallClock, now: list[float]
) -> None:
    clock.call(first=True, late=False)
    assert clock.patience_s(1) == pytest.approx(Grouping.FIRST_S)
    now[0] += 0.2
    clock.hear()
    assert clock.patience_s(1) == pytest.approx(Grouping.FIRST_S), "words may belong before the call"
    now[0] += Grouping.FIRST_S
    assert clock.patience_s(1) <= 0


async def test_a_second_call_teaches_the_gap(grouping: Grouping, clock: CallClock, now: list[float]) -> None:
    clock.call(first=True, late=False)
    now[0] += 0.04
    clock.call(first=False, late=False)
    assert clock.patience_s(2) == pytest.approx(0.12)


async def test_a_call_that_came_too_late_teaches_the_gap_as_well(
    grouping: Grouping, clock: CallClock, now: list[float]
) -> None:
    clock.call(first=True, late=False)
    clock.close(1, 1)
    now[0] += 0.1
    clock.call(first=True, late=True)
    assert grouping.quiet_s == pytest.approx(0.3)


async def test_the_next_group_teaches_no_gap(grouping: Grouping, clock: CallClock, now: list[float]) -> None:
    clock.call(first=True, late=False)
    clock.close(1, 1)
    now[0] += 5
    clock.go_on()
    clock.call(first=True, late=False)
    assert grouping.quiet_s < Grouping.FIRST_S


async def test_a_call_that_acp_has_not_shown_is_waited_for_a_while(
    grouping: Grouping, clock: CallClock, now: list[float]
) -> None:
    clock.call(first=True, late=False)
    assert clock.patience_s(0) == pytest.approx(Grouping.ANNOUNCED_WITHIN_S)
    now[0] += Grouping.ANNOUNCED_WITHIN_S
    assert clock.patience_s(0) <= 0


async def test_an_agent_that_never_shows_its_calls_is_not_waited_for(
    grouping: Grouping, clock: CallClock
) -> None:
    for _ in range(Grouping.IN_VAIN):
        assert grouping.announces
        grouping.learn_group(size=2, announced=False)
    clock.call(first=True, late=False)
    assert clock.patience_s(0) == pytest.approx(Grouping.FIRST_S)
    grouping.learn_group(size=2, announced=True)
    assert grouping.announces
