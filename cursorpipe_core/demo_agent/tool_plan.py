"""What the scripted model does with the tools it is offered: rounds of calls, and words around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from cursorpipe_core.demo_agent.request import RequestError

Json = dict[str, Any]


class Call(NamedTuple):
    """A call of a tool, by the name the model knows it by.

    ``at`` picks the tool by its place among those offered, for one that is offered under another name.
    ``corrections`` are the arguments for further tries, each made if the one before ended in an error.
    """

    name: str
    arguments: Json
    corrections: Sequence[Json] = ()
    at: int | None = None


class Round(NamedTuple):
    """Calls that are made together, with what is said before them and after their results."""

    calls: Sequence[Call]
    say: str = ""
    after: str = ""


class Plan(NamedTuple):
    """All rounds of a turn; ``answer`` is said at the end in place of the results."""

    rounds: Sequence[Round]
    answer: str = ""


def read_plan(text: str) -> Plan:
    """Read a plan from percent-encoded JSON; raises RequestError.

    ``{"rounds": [{"say": "…", "calls": [{"name": "…", "arguments": {…}, "corrections": [{…}], "at": 0}],
    "after": "…"}], "answer": "…"}``; of all members only ``rounds``, ``calls`` and ``name`` are needed.
    """
    try:
        plan = json.loads(unquote(text))
        return Plan(tuple(_round(item) for item in plan["rounds"]), str(plan.get("answer", "")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"this is not a plan ({error!r}): {text[:200]}") from None


def _round(item: Json) -> Round:
    calls = tuple(_call(call) for call in item["calls"])
    return Round(calls, str(item.get("say", "")), str(item.get("after", "")))


def _call(item: Json) -> Call:
    at = item.get("at")
    return Call(
        str(item["name"]),
        dict(item.get("arguments", {})),
        tuple(dict(arguments) for arguments in item.get("corrections", ())),
        None if at is None else int(at),
    )


class Result(NamedTuple):
    """What came of a call; ``failed``: the text is about an error."""

    text: str
    failed: bool = False
