from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core.waits import MAX_WAIT_S, named_wait

NOW = datetime(2025, 11, 16, 18, tzinfo=UTC)
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please retry after 30 seconds.", 30),
        ("Too many requests, try again in 5 minutes", 300),
        ("try again in 1h 20m", 4800),
        ("Try again in 1 hour and 20 minutes.", 4800),
        ("Your limit resets in 3 days", 3 * DAY),
        ("wait 1.5s", 1.5),
        ("Retry in 500ms", 0.5),
        ("Retry-After: 12", 12),
        ("(retry-after: 7s)", 7),
        ('{"retryAfterMs": 1500}', 1.5),
        ('{"retry_after":"2"}', 2),
        ("retryAfter=90", 90),
        ("Your usage limits will reset when your monthly cycle ends on 11/17/2025.*", DAY / 4),
        ("limits will reset when your monthly cycle ends on\n  11/17/2025.*", DAY / 4),
        ("resets at 2025-11-16T18:01:00Z", 60),
        ("try again at 2025-11-16T20:01:00+02:00", 60),
        ("resets on 2025-11-17", DAY / 4),
    ],
)
def test_a_time_that_a_text_names_is_read(text: str, seconds: float) -> None:
    assert named_wait(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Error: RetriableError: [resource_exhausted] Error",
        "try again later",
        "20 requests in 1 hour are too many",
        "the request timed out after 30 seconds",
        "try again with 5 models",
        "retry after 3 months",
        "Retry-After: 0",
        "spendLimits: [50,100,200]",
        "Your usage limits will reset when your monthly cycle ends on 17/11/2025.",
        "Your usage limits will reset when your monthly cycle ends on 11/16/2025.",
        "resets on 2025-13-40",
    ],
)
def test_what_names_no_time_to_come_is_none(text: str) -> None:
    assert named_wait(text, NOW) is None


@pytest.mark.parametrize(
    "text",
    ["try again in 400 days", "resets on 1/1/2999", "Retry-After: 99999999", "retry in " + "9" * 400 + "s"],
)
def test_a_wait_is_at_most_the_cycle_of_a_plan(text: str) -> None:
    assert named_wait(text, NOW) == MAX_WAIT_S


@given(st.text(alphabet="tryagin reset on:0123456789/-TZms.h", max_size=60))
def test_a_wait_lies_between_nothing_and_the_longest(text: str) -> None:
    wait = named_wait(f"retry {text}", NOW)
    assert wait is None or 0 < wait <= MAX_WAIT_S
