"""What requests have come to lately: the right ones, and never more than was promised."""

from __future__ import annotations

from cursorpipe_server.recent import BUCKET_S, BUCKETS, FAILURES, FIRST_TEXTS, MESSAGE_CHARS, Recent, Totals

#: A whole number of spans: a span begins here.
EPOCH = 1000.0 * BUCKET_S


class Clock:
    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> float:
        return self.now


def kept(clock: Clock) -> Recent:
    return Recent(clock)


def test_requests_are_in_the_span_in_which_they_ended() -> None:
    clock = Clock()
    recent = kept(clock)
    recent.count(EPOCH + 1, failed=False, first_text_s=0.5)
    recent.count(EPOCH + BUCKET_S - 0.01, failed=True, first_text_s=None)
    recent.count(EPOCH + BUCKET_S, failed=False, first_text_s=1.5)
    clock.now = EPOCH + BUCKET_S + 4
    moments = recent.moments()
    assert len(moments) == BUCKETS
    assert moments[-2:] == [Totals(BUCKET_S, 2, 1, 0.5), Totals(4, 1, 0, 1.5)]
    assert all(moment.requests == 0 for moment in moments[:-2])


def test_a_window_has_what_ended_in_it_and_says_how_long_it_is() -> None:
    clock = Clock()
    recent = kept(clock)
    clock.now = EPOCH + 5 * 60
    recent.count(clock.now - 90, failed=True, first_text_s=9.0)
    recent.count(clock.now - 30, failed=False, first_text_s=1.0)
    recent.count(clock.now - 20, failed=False, first_text_s=3.0)
    clock.now += 2
    assert recent.window(60) == Totals(52, 2, 0, 2.0)
    assert recent.window(300).requests == 3


def test_a_window_is_no_longer_than_the_server_is_old() -> None:
    clock = Clock()
    recent = kept(clock)
    clock.now += 3
    assert recent.window(1800) == Totals(3, 0, 0, None)
    assert recent.age_s == 3


def test_what_is_older_than_the_last_span_is_forgotten_where_its_place_is_not_taken_too() -> None:
    clock = Clock()
    recent = kept(clock)
    recent.count(EPOCH, failed=False, first_text_s=1.0)
    clock.now = EPOCH + BUCKETS * BUCKET_S
    assert recent.window(1800).requests == 0
    recent.count(clock.now, failed=False, first_text_s=2.0)
    assert [moment.requests for moment in recent.moments()] == [0] * (BUCKETS - 1) + [1]


def test_of_many_first_texts_of_a_span_the_latest_are_kept() -> None:
    clock = Clock()
    recent = kept(clock)
    for seconds in (100.0, *[1.0] * FIRST_TEXTS):
        recent.count(EPOCH, failed=False, first_text_s=seconds)
    assert recent.moments()[-1] == Totals(0, FIRST_TEXTS + 1, 0, 1.0)
    recent.count(EPOCH, failed=False, first_text_s=5.0)
    for _ in range(FIRST_TEXTS):
        recent.count(EPOCH, failed=False, first_text_s=7.0)
    assert recent.moments()[-1].first_text_s == 7.0


def test_one_failure_again_and_again_is_one_entry_at_the_front() -> None:
    recent = kept(Clock())
    recent.note_failure("/a", "queue_full", "full", "req_1")
    recent.note_failure("/a", "timeout", "late", "req_2")
    recent.note_failure("/a", "queue_full", "full", "req_3")
    assert [(each.code, each.count, each.request_id) for each in recent.failures] == [
        ("queue_full", 2, "req_3"),
        ("timeout", 1, "req_2"),
    ]


def test_the_oldest_failures_give_way() -> None:
    recent = kept(Clock())
    for number in range(FAILURES + 5):
        recent.note_failure("/a", f"code_{number}", "x" * 10_000, "req")
    assert [each.code for each in recent.failures] == [f"code_{n}" for n in range(FAILURES + 4, 4, -1)]
    assert {len(each.message) for each in recent.failures} == {MESSAGE_CHARS}
