"""Ids of requests and answers."""

from __future__ import annotations

from random import Random

# Ids have to differ, not to be secret; the system is asked for randomness once and not for each.
_random = Random()  # noqa: S311


def new_id() -> str:
    """Return 32 hexadecimal digits that no other id has."""
    return f"{_random.getrandbits(128):032x}"
