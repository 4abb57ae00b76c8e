"""The simulation behind the sizes in `deploy/README.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.sizing import mean_turn_s, simulate, table

STEPS = (Path(__file__).parents[2] / "deploy" / "README.md").read_text(encoding="utf-8")


def test_nobody_waits_where_there_are_slots_enough() -> None:
    waits = simulate(slots=512, busy=0.5, requests=10_000, seed=1)
    assert (waits.p99_s, waits.refused, waits.gave_up) == (0.0, 0.0, 0.0)


def test_waits_grow_with_what_is_asked() -> None:
    grown = [simulate(slots=8, busy=busy, requests=20_000, seed=1).p95_s for busy in (0.5, 0.7, 0.9)]
    assert grown == sorted(grown)
    assert grown[0] < grown[-1]


def test_many_slots_share_better_than_few() -> None:
    few, many = (simulate(slots=slots, busy=0.9, requests=20_000, seed=1) for slots in (8, 64))
    assert many.p95_s < few.p95_s


def test_what_cannot_be_served_is_turned_away() -> None:
    # A fifth more than there is room for: a sixth of all that come.
    waits = simulate(slots=64, busy=1.2, requests=50_000, seed=1)
    assert waits.refused + waits.gave_up == pytest.approx(1 - 1 / 1.2, abs=0.03)
    assert mean_turn_s() == pytest.approx(17.6, abs=0.1)


def test_the_steps_show_what_the_simulation_says() -> None:
    assert table(50_000, 1) in STEPS
