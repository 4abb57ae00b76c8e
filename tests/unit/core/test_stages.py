from __future__ import annotations

from collections.abc import Iterator

import pytest

from cursorpipe_core.stages import Stages


@pytest.fixture(autouse=True)
def a_second_each_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have each look at the clock take a second."""
    seconds = iter(range(1000))
    monkeypatch.setattr("cursorpipe_core.stages.time.monotonic", lambda: float(next(seconds)))
    yield
    monkeypatch.undo()


def test_each_stage_lasts_until_the_next() -> None:
    stages = Stages()
    stages.begin("first")
    stages.begin("second")
    stages.end()
    assert stages.seconds == {"first": 1.0, "second": 1.0}
    assert stages.total_s == 3.0


def test_one_that_is_begun_again_goes_on() -> None:
    stages = Stages()
    for stage in ("first", "second", "first"):
        stages.begin(stage)
    stages.end()
    assert list(stages.seconds) == ["first", "second"]
    assert stages.seconds["first"] == 2.0


def test_nothing_is_begun_after_the_end() -> None:
    stages = Stages()
    stages.begin("first")
    stages.end()
    stages.begin("second")
    stages.end()
    assert stages.seconds == {"first": 1.0}
    assert stages.current == "first"
