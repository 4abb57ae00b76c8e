from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core.completion import (
    Backend,
    Began,
    CompletionEvent,
    Finish,
    FinishReason,
    Limits,
    TextDelta,
    ThoughtDelta,
    Usage,
)
from cursorpipe_core.limits import Limiter

END: list[CompletionEvent] = [Usage(1, 1), Finish(FinishReason.STOP)]


def passed(limits: Limits, *pieces: str) -> tuple[str, list[CompletionEvent], bool]:
    """Return the text that passes, the other events, and whether the agent is to be stopped."""
    limiter = Limiter(limits, prompt_bytes=40)
    events: list[CompletionEvent] = []
    for piece in pieces:
        if limiter.over:
            break
        events += limiter.apply([TextDelta([piece])])
    if not limiter.over:
        events += limiter.apply(END)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if not isinstance(event, TextDelta)], limiter.over


def test_without_limits_everything_passes_as_it_is() -> None:
    assert passed(Limits(), "a", "b") == ("ab", END, False)


@pytest.mark.parametrize("pieces", [["one END two"], ["one E", "ND two"], list("one END two")])
def test_an_answer_ends_before_a_stop_text_wherever_it_is_cut(pieces: Sequence[str]) -> None:
    text, rest, over = passed(Limits(stop=("END",)), *pieces)
    assert (text, over) == ("one ", True)
    assert rest == [Usage(10, 1, estimated=True), Finish(FinishReason.STOP)]


def test_the_first_of_several_stop_texts_counts() -> None:
    assert passed(Limits(stop=("zwei", "eins", "ei")), "null eins zwei")[0] == "null "


def test_what_only_looked_like_a_stop_text_is_passed_on_at_the_end() -> None:
    assert passed(Limits(stop=("END",)), "the E", "N") == ("the EN", END, False)


def test_text_is_held_back_only_while_it_may_be_the_beginning_of_a_stop_text() -> None:
    limiter = Limiter(Limits(stop=("\n\nHuman:",)), prompt_bytes=1)
    assert limiter.apply([TextDelta(["Hello\n"])]) == [TextDelta(["Hello"])]
    assert limiter.apply([TextDelta(["world"])]) == [TextDelta(["\nworld"])]


def test_an_answer_ends_after_so_many_tokens() -> None:
    text, rest, over = passed(Limits(max_tokens=2), "1234", "567890")
    assert (text, over) == ("12345678", True)
    assert rest == [Usage(10, 2, estimated=True), Finish(FinishReason.LENGTH)]


def test_an_answer_of_just_so_many_tokens_is_whole() -> None:
    assert passed(Limits(max_tokens=2), "12345678") == ("12345678", END, False)


def test_no_character_is_cut_in_two() -> None:
    text, _, over = passed(Limits(max_tokens=1), "a😀b")
    assert (text, over) == ("a", True)


def test_the_end_of_an_answer_can_be_cut_as_well() -> None:
    text, rest, over = passed(Limits(stop=("STOP",), max_tokens=1), "abcST")
    assert (text, over) == ("abcS", True)
    assert rest[-1] == Finish(FinishReason.LENGTH)


def test_thoughts_pass_and_are_counted_apart() -> None:
    limiter = Limiter(Limits(max_tokens=1), prompt_bytes=4)
    events = limiter.apply([Began(Backend.ACP, None), ThoughtDelta(["12345678"]), TextDelta(["abcdef"])])
    assert events[1] == ThoughtDelta(["12345678"])
    assert events[3] == Usage(1, 3, reasoning_tokens=2, estimated=True)


@given(
    st.text("abE N", max_size=30), st.lists(st.text("abEN", min_size=1, max_size=3), max_size=4), st.data()
)
def test_the_cuts_of_a_text_change_nothing(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    shown, _, over = passed(Limits(stop=tuple(stops)), *pieces)
    assert over is bool(found)
    # Piece by piece the stop text that is complete first ends the answer; it may begin later than another.
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not found:
        assert shown == text
