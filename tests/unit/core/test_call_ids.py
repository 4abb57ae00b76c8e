from __future__ import annotations

import re

import pytest

from cursorpipe_core.call_ids import new_call_id, new_turn_key, turn_key


def test_the_id_of_a_call_names_its_turn() -> None:
    key = new_turn_key()
    assert turn_key(new_call_id(key)) == key


def test_an_id_fits_into_openais_bounds() -> None:
    assert re.fullmatch(r"call_[0-9A-Za-z]{24}", new_call_id(new_turn_key()))


def test_no_two_calls_of_a_turn_have_the_same_id() -> None:
    key = new_turn_key()
    assert len({new_call_id(key) for _ in range(1000)}) == 1000


def test_no_two_turns_have_the_same_key() -> None:
    assert len({new_turn_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "call_",
        "call_1",
        "toolu_01A09q90qw90lq917835lq9",
        "x" * 24,
        f"call_{'x' * 23}",
        f"call_{'x' * 25}",
        f"Call_{'x' * 24}",
        f"call_call_{'x' * 24}",
    ],
)
def test_an_id_that_is_none_of_ours_names_no_turn(foreign: str) -> None:
    assert turn_key(foreign) is None
