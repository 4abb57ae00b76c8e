"""Answers that are to be JSON: how the agent is told, what counts as one, what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cursorpipe_core.completion import JsonFormat, Message, Role
from cursorpipe_core.errors import InvalidRequestError
from cursorpipe_core.schema_check import SchemaCheck, SchemaInvalidError

#: Places in a text at which JSON may begin that are tried.
MAX_STARTS = 50

_FENCE = re.compile(r"```[A-Za-z0-9]*[ \t]*\r?\n(.*?)\r?\n[ \t]*```", re.DOTALL)
#: Where a caller puts the schema of an answer.
_SCHEMA = "response_format.json_schema.schema"
_START = re.compile(r"[{\[]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in an answer: the JSON text, and what is wrong with it; none of the second is good."""

    text: str
    violations: Sequence[str]


class AnswerFormat:
    """The format that one request asks for; raises InvalidRequestError for a schema that is none."""

    def __init__(self, wanted: JsonFormat) -> None:
        self._wanted = wanted
        try:
            self._check = None if wanted.schema is None else SchemaCheck(wanted.schema)
        except SchemaInvalidError as exc:
            raise InvalidRequestError(f"Invalid schema for '{_SCHEMA}': {exc}.", param=_SCHEMA) from exc

    def instruct(self, messages: Sequence[Message]) -> list[Message]:
        """Return the conversation with the instruction to answer in this format, at its end."""
        return [*messages, Message(Role.SYSTEM, self._instruction())]

    def read(self, answer: str) -> Reading:
        """Find the JSON in an answer, without the fences and the prose around it, and check it."""
        found: Reading | None = None
        for text, value in _candidates(answer):
            reading = Reading(text, self._violations(value))
            if not reading.violations:
                return reading
            found = found or reading
        return found or Reading(answer, ["There is no JSON in the answer."])

    def correction(self, violations: Sequence[str]) -> str:
        """Return what the agent is told when its answer is not in the format."""
        return (
            "Your answer is not in the format that was asked for:\n"
            + "".join(f"- {violation}\n" for violation in violations)
            + "\n"
            + self._instruction()
        )

    def _instruction(self) -> str:
        if self._wanted.schema is None:
            return "Answer with one JSON object and nothing else: no prose, no code fence."
        told = [
            "Answer with JSON that is valid by this JSON schema, and nothing else: no prose, no code fence."
        ]
        if self._wanted.name:
            told.append(f"Name: {self._wanted.name}")
        if self._wanted.description:
            told.append(f"Description: {self._wanted.description}")
        told.append(f"Schema: {json.dumps(self._wanted.schema, ensure_ascii=False)}")
        return "\n".join(told)

    def _violations(self, value: Any) -> Sequence[str]:
        if self._check is None:
            return [] if isinstance(value, dict) else ["The answer is not a JSON object."]
        return self._check.violations(value)


def _candidates(answer: str) -> Iterator[tuple[str, Any]]:
    """Yield what of an answer is JSON: all of it, then what is fenced, then what begins anywhere."""
    for text in (answer, *(found[1] for found in _FENCE.finditer(answer))):
        stripped = text.strip()
        try:
            yield stripped, _DECODER.decode(stripped)
        except (ValueError, RecursionError):
            continue
    at = 0
    for _ in range(MAX_STARTS):
        start = _START.search(answer, at)
        if start is None:
            return
        try:
            value, at = _DECODER.raw_decode(answer, start.start())
        except (ValueError, RecursionError):
            at = start.end()
        else:
            yield answer[start.start() : at], value


def _number(text: str) -> float:
    """Return a number as the JSON number it is: 1.0 is 1."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_number)
