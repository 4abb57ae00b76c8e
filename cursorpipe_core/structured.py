"""Answers that are to be JSON: how the agent is told, what counts as such an answer, what is wrong with one.

The schemas are the caller's and so are not to be trusted: nothing is fetched for them, their patterns run
against a clock and their references are counted.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import regex
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from cursorpipe_core.completion import (
    CompletionEvent,
    Finish,
    FinishReason,
    JsonFormat,
    Message,
    Role,
    TextDelta,
    Usage,
)
from cursorpipe_core.errors import InvalidRequestError

#: How many violations are told.
MAX_VIOLATIONS = 5
#: Characters of one violation: it quotes the offending value, which may be everything.
MAX_VIOLATION = 300
#: Seconds that one validation may take. Nobody can end a thread: it has to look at the clock itself.
VALIDATION_TIMEOUT_S = 2.0
#: References followed in one validation; schemas that call themselves can ask for any number.
MAX_REFERENCES = 20_000
#: Places in a text at which JSON may begin that are tried.
MAX_STARTS = 50

_FENCE = re.compile(r"```[A-Za-z0-9]*[ \t]*\r?\n(.*?)\r?\n[ \t]*```", re.DOTALL)
_START = re.compile(r"[{\[]")


class SchemaTooCostlyError(ValueError):
    """A validation was given up, because its schema asks for too much work."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in an answer: the JSON text, and what is wrong with it; none of the second is good."""

    text: str
    violations: Sequence[str]


class Gathered:
    """The text of an answer, kept until it is judged, and what else is known of it in the end."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.usage = Usage(0, 0)
        self.reason = FinishReason.STOP

    def take(self, batch: Sequence[CompletionEvent]) -> list[CompletionEvent]:
        """Keep what is to be judged, and return the rest. The text of another turn replaces the first."""
        passed: list[CompletionEvent] = []
        for event in batch:
            if isinstance(event, TextDelta):
                self._texts += event.pieces
            elif isinstance(event, Usage):
                self.usage += event
            elif isinstance(event, Finish):
                self.reason = event.reason
            else:
                passed.append(event)
        return passed

    def text(self) -> str:
        """Return the text so far; it is forgotten with that."""
        text = "".join(self._texts)
        self._texts.clear()
        return text


class AnswerFormat:
    """The format that one request asks for; raises InvalidRequestError for a schema that is none."""

    def __init__(self, wanted: JsonFormat) -> None:
        self._wanted = wanted
        self._budget = _Budget()
        self._validator = None if wanted.schema is None else _validator(wanted.schema, self._budget)

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

    def gather(self) -> Gathered:
        """Return what keeps the text of an answer until it is read."""
        return Gathered()

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

    def _violations(self, value: Any) -> list[str]:
        if self._validator is None:
            return [] if isinstance(value, dict) else ["The answer is not a JSON object."]
        self._budget.renew()
        try:
            errors = list(itertools.islice(self._validator.iter_errors(value), MAX_VIOLATIONS))
        except SchemaTooCostlyError as exc:
            return [str(exc)]
        except RecursionError:
            return ["The answer or its schema is nested too deeply to be checked."]
        return [_told(error) for error in errors]


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


class _Budget:
    """What one validation may still spend: references to follow, and time."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._references = MAX_REFERENCES
        self._deadline = time.monotonic() + VALIDATION_TIMEOUT_S

    def spend(self) -> float:
        """Take a piece of work on, and return the seconds that it may take."""
        self._references -= 1
        left_s = self._deadline - time.monotonic()
        if self._references < 0 or left_s <= 0:
            raise SchemaTooCostlyError("The schema asks for more work than a check may take.")
        return left_s


def _validator(schema: Mapping[str, Any] | bool, budget: _Budget) -> Validator:
    """Return what checks values by a schema that is not to be trusted."""
    cls = validators.validator_for(schema, default=Draft202012Validator)
    try:
        cls.check_schema(schema)  # type: ignore[arg-type] # a boolean is a schema as well
    except SchemaError as exc:
        raise _invalid(_short(exc.message)) from exc
    except RecursionError as exc:
        raise _invalid("it is nested too deeply") from exc
    # An own registry: the default one fetches what a reference names from wherever that is.
    registry: Registry[Any] = Registry()
    resource = DRAFT202012.create_resource(schema)
    resolver = registry.with_resource(resource.id() or "", resource).resolver(resource.id() or "")
    for key, value in _keywords(schema):
        if key == "patternProperties":
            raise _invalid("'patternProperties' is not supported")
        try:
            if key == "$ref" and isinstance(value, str):
                resolver.lookup(value)
            elif key == "pattern" and isinstance(value, str):
                regex.compile(value)
        except Unresolvable as exc:
            raise _invalid(f"the reference '{_short(value)}' leads nowhere in it") from exc
        except regex.error as exc:
            raise _invalid(f"'{_short(value)}' is no pattern: {exc}") from exc
    guarded: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]
        cls,
        {
            "$ref": _counted(cls, "$ref", budget),
            "$dynamicRef": _counted(cls, "$dynamicRef", budget),
            "pattern": partial(_match_in_time, budget),
            "uniqueItems": _unique,
        },
    )
    return guarded(schema, registry=registry)


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield every member of every object in a schema, without recursion.

    Also of what is no schema where it stands: a reference may make one of it.
    """
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _counted(cls: type[Validator], keyword: str, budget: _Budget) -> Callable[..., Iterator[ValidationError]]:
    follow = cls.VALIDATORS.get(keyword)

    def check(validator: Validator, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        budget.spend()
        if follow is not None:
            yield from follow(validator, value, instance, schema)

    return check


def _match_in_time(
    budget: _Budget, validator: Validator, pattern: str, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    del schema
    if not validator.is_type(instance, "string"):
        return
    try:
        matches = regex.search(pattern, instance, timeout=budget.spend())
    except TimeoutError as exc:
        raise SchemaTooCostlyError("A pattern of the schema takes too long on the answer.") from exc
    if matches is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique(validator: Validator, unique: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Look for equal items once over the list; the library compares objects each with each."""
    del schema
    if unique is True and validator.is_type(instance, "array"):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError(f"{instance!r} has items that are equal")


def _told(error: ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    return f"{where}: {_short(error.message)}" if where else _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= MAX_VIOLATION else f"{text[:MAX_VIOLATION]}…"


def _invalid(reason: str) -> InvalidRequestError:
    param = "response_format.json_schema.schema"
    return InvalidRequestError(f"Invalid schema for '{param}': {reason}.", param=param)


def _number(text: str) -> float:
    """Return a number as the JSON number it is: 1.0 is 1."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_number)
