"""What every client program shares: what it is told by its environment, and how it tells what it saw."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

BASE_URL = os.environ["CLIENT_BASE_URL"]
API_KEY = os.environ["CLIENT_API_KEY"]
MODEL = os.environ["CLIENT_MODEL"]
PROMPT = os.environ["CLIENT_PROMPT"]
IMAGE = os.environ["CLIENT_IMAGE"]

#: How often a client may repeat a request that was refused.
RETRIES = 1

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]

Saw = dict[str, Any]


def weather(saw: Saw, city: str) -> str:
    """Be the tool `get_weather`."""
    saw.setdefault("calls", []).append(["get_weather", city])
    return f"{city} is fine"


def clock(saw: Saw) -> str:
    """Be the tool `get_time`."""
    saw.setdefault("calls", []).append(["get_time", None])
    return "12:00"


#: The two as OpenAI describes tools, for clients that do not do so by themselves.
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Look up the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
    },
]


def use(saw: Saw, name: str, arguments: str) -> str:
    """Run one of them by its name."""
    return weather(saw, json.loads(arguments)["city"]) if name == "get_weather" else clock(saw)


def run(**cases: Callable[[Saw], None]) -> None:
    """Run the case of the command line; the last line of the output is what it saw."""
    saw: Saw = {}
    try:
        cases[sys.argv[1]](saw)
    except Exception as error:  # noqa: BLE001 — which one it is, is what the test wants to know
        saw["error"] = describe(error)
    print(json.dumps(saw))


def describe(error: BaseException) -> Mapping[str, Any]:
    """Return the classes by which an error can be caught, its causes' included, and its status."""
    chain = list(_chain(error))
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for link in chain for kind in type(link).__mro__]
    statuses = [link.status_code for link in chain if hasattr(link, "status_code")]
    return {"kinds": kinds, "status": next(iter(statuses), None), "message": str(error)}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
