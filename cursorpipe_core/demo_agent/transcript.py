"""The calls of tools that a prompt tells of, as a model would read them there.

A conversation that is begun anew has its messages between markers. A call is a message of its own,
``<message role="assistant" calls="NAME" id="ID">``, and so is its result, ``<message role="tool"
result_of="ID">``. A line of a message that looks like a marker has a backslash in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_MESSAGE = re.compile(r'^<message role="(\w+)"([^>\n]*)>\n(.*?)\n</message>$', re.DOTALL | re.MULTILINE)
_ATTRIBUTE = re.compile(r' (\w+)="([^"]*)"')
_ESCAPED = re.compile(
    r"((?:^|(?<=[\r\v\f\x85\u2028\u2029]))[ \t]*)\\(?=\\*</?message\b)", re.IGNORECASE | re.MULTILINE
)


class PastCall(NamedTuple):
    """A call that was made and answered before this prompt."""

    name: str
    arguments: Any
    result: str


class Past:
    """The calls of a transcript, each to be found once."""

    def __init__(self, transcript: str) -> None:
        self._calls = _read(transcript) if "<message" in transcript else []

    def take(self, matches: Callable[[PastCall], bool]) -> PastCall | None:
        """Return the first call of the transcript that matches and was not taken before."""
        for index, call in enumerate(self._calls):
            if matches(call):
                return self._calls.pop(index)
        return None


def _read(transcript: str) -> list[PastCall]:
    calls: dict[str, tuple[str, str]] = {}
    past = []
    for role, said, text in _MESSAGE.findall(transcript):
        attributes = dict(_ATTRIBUTE.findall(said))
        if role == "assistant" and "calls" in attributes:
            calls[attributes.get("id", "")] = attributes["calls"], _unescaped(text)
        elif role == "tool" and attributes.get("result_of") in calls:
            name, arguments = calls.pop(attributes["result_of"])
            past.append(PastCall(name, _parsed(arguments), _unescaped(text)))
    return past


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
