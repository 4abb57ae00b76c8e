"""What a prompt says to make the stand-in's model use tools, and the answer that it gives in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def call(
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    corrections: Sequence[Mapping[str, Any]] = (),
    at: int | None = None,
) -> Json:
    """Return a call; `corrections` are arguments for further tries, `at` finds a tool by its place."""
    described: Json = {"name": name, "arguments": arguments or {}, "corrections": list(corrections)}
    return described if at is None else {**described, "at": at}


def together(*calls: Json, say: str = "", after: str = "") -> Json:
    """Return a round: calls made together, and the words before them and after their results."""
    return {"calls": calls, "say": say, "after": after}


def tools_directive(*rounds: Json, answer: str = "", reluctant: int = 0) -> str:
    """Return the directive for a turn that plays these rounds; it belongs in the last user message."""
    plan = quote(json.dumps({"rounds": rounds, "answer": answer}, separators=(",", ":")), safe=":,{}")
    return f"[[demo:tools plan={plan} reluctant={reluctant}]]"


def final_answer(*results: tuple[str, str]) -> str:
    """Return the end of the model's answer, for the names and the results of all calls in order."""
    return f"Results: {'; '.join(f'{name} -> {text}' for name, text in results) or 'none'}."
