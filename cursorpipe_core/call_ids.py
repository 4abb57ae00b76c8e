"""The ids under which calls are handed out: the agents' own repeat, and could be guessed."""

from __future__ import annotations

import secrets
import string

_BASE62 = string.digits + string.ascii_letters
_PREFIX = "call_"
_KEY_LENGTH = 8
_NUMBER_LENGTH = 16


def new_turn_key() -> str:
    """Return what the ids of all calls of one turn have in common."""
    return _random_word(_KEY_LENGTH)


def new_call_id(key: str) -> str:
    """Return an id for a call of the turn of this key: 29 characters, of OpenAI's 40."""
    return f"{_PREFIX}{key}{_random_word(_NUMBER_LENGTH)}"


def turn_key(call_id: str) -> str | None:
    """Return the key of the turn that a call's id names; None for an id that is none of ours."""
    word = call_id.removeprefix(_PREFIX)
    if word == call_id or len(word) != _KEY_LENGTH + _NUMBER_LENGTH:
        return None
    return word[:_KEY_LENGTH]


def _random_word(length: int) -> str:
    return "".join([secrets.choice(_BASE62) for _ in range(length)])
