from __future__ import annotations

from cursorpipe_core.restarts import LONGEST_DELAY_S, SHORTEST_DELAY_S, STABLE_AFTER_S, Restart, RestartPolicy


def policy(max_restarts: int = 100, window_s: float = 1e6, spread: float = 0.0) -> RestartPolicy:
    return RestartPolicy(max_restarts=max_restarts, window_s=window_s, spread=lambda: spread)


def test_delays_double_up_to_the_longest() -> None:
    restarts = policy()
    delays = [restarts.after_end(uptime_s=0, now_s=now).delay_s for now in range(9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_stable_start_begins_again_with_the_shortest_delay() -> None:
    restarts = policy()
    for now in range(4):
        restarts.after_end(uptime_s=0, now_s=now)
    assert restarts.after_end(uptime_s=STABLE_AFTER_S, now_s=50).delay_s == 0.5


def test_more_ends_than_tolerated_within_the_window_trip_the_slot() -> None:
    restarts = policy(max_restarts=2, window_s=60)
    assert [restarts.after_end(uptime_s=0, now_s=now).tripped for now in (0, 1, 2)] == [False, False, True]
    assert restarts.after_end(uptime_s=0, now_s=3).delay_s == LONGEST_DELAY_S


def test_ends_outside_the_window_are_forgotten() -> None:
    restarts = policy(max_restarts=1, window_s=10)
    assert [restarts.after_end(uptime_s=0, now_s=now).tripped for now in (0, 20, 40)] == [False] * 3


def test_starts_that_fail_slowly_trip_the_slot_as_well() -> None:
    restarts = policy(max_restarts=2, window_s=60)
    tripped = [restarts.after_end(uptime_s=None, now_s=100 * n).tripped for n in range(4)]
    assert tripped == [False, False, True, True]


def test_a_boot_error_trips_at_once_and_is_tried_again_at_the_longest_delay() -> None:
    assert policy().after_boot_error() == Restart(LONGEST_DELAY_S, tripped=True)


def test_delays_are_spread_so_that_workers_do_not_rise_together() -> None:
    early, late = (policy(spread=spread).after_end(uptime_s=0, now_s=0).delay_s for spread in (1.0, 0.0))
    assert early < late


def test_two_workers_are_spread_unless_told_otherwise() -> None:
    delays = {
        RestartPolicy(max_restarts=9, window_s=60).after_end(uptime_s=0, now_s=0).delay_s for _ in range(20)
    }
    assert len(delays) > 1
    assert max(delays) <= SHORTEST_DELAY_S
