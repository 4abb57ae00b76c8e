"""Parameters that cannot be honoured, as they are named to the caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

#: What of a caller's words may stand in a header, and how many of them.
_HEADER_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_NAMED = 32

#: Values that ask for nothing but what is done anyway.
_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}


def without_effect(body: BaseModel, names: Iterable[str]) -> list[str]:
    """Return which of the parameters ``names``, and of those that nobody knows, ask for something."""
    known = [(name, getattr(body, name)) for name in names]
    given = [*known, *(body.model_extra or {}).items()]
    return sorted(name for name, value in given if value is not None and not _says_nothing(name, value))


def as_header(names: Iterable[str]) -> str:
    """Return what of the names can stand in a header."""
    return ", ".join([name for name in names if _HEADER_WORD.fullmatch(name)][:MAX_NAMED])


def _says_nothing(name: str, value: Any) -> bool:
    return value in _SAYS_NOTHING.get(name, ())
