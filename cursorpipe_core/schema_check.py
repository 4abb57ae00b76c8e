"""What is wrong with a value by a JSON schema that is not to be trusted.

The schemas are a caller's: nothing is fetched for them, their patterns run against a clock and their
references are counted.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import regex
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from referencing._core import Resolver  # it has no public name

#: How many violations are told.
MAX_VIOLATIONS = 5
#: Characters of one violation: it quotes the offending value, which may be everything.
MAX_VIOLATION = 300
#: Seconds that one validation may take. Nobody can end a thread: it has to look at the clock itself.
VALIDATION_TIMEOUT_S = 2.0
#: References followed in one validation; schemas that call themselves can ask for any number.
MAX_REFERENCES = 20_000

_REFERENCES = frozenset({"$ref", "$dynamicRef"})


class SchemaInvalidError(ValueError):
    """A schema is none, or has what is not supported; the text goes on "Invalid schema: "."""


class SchemaTooCostlyError(ValueError):
    """A validation was given up, because its schema asks for too much work."""


class SchemaCheck:
    """Checks values by one schema; raises SchemaInvalidError for a schema that cannot be used."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._budget = _Budget()
        self._validator = _validator(schema, self._budget)

    def violations(self, value: Any) -> Sequence[str]:
        """Return what is wrong with a value in words, the first few; nothing is if it is valid."""
        self._budget.renew()
        try:
            errors = list(itertools.islice(self._validator.iter_errors(value), MAX_VIOLATIONS))
        except SchemaTooCostlyError as exc:
            return [str(exc)]
        except RecursionError:
            return ["The value or its schema is nested too deeply to be checked."]
        except OverflowError:
            return ["A number is too large to be checked."]
        except Unresolvable:
            return ["The schema has a reference that leads nowhere in it."]
        return [_told(error) for error in errors]


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
        raise SchemaInvalidError(_short(exc.message)) from exc
    except RecursionError as exc:
        raise SchemaInvalidError("it is nested too deeply") from exc
    # An own registry: the default one fetches what a reference names from wherever that is.
    registry: Registry[Any] = Registry()
    resource = DRAFT202012.create_resource(schema)
    resolver = registry.with_resource(resource.id() or "", resource).resolver(resource.id() or "")
    for key, value, base in _keywords(schema, resolver):
        if key == "patternProperties":
            raise SchemaInvalidError("'patternProperties' is not supported")
        try:
            if key in _REFERENCES and isinstance(value, str):
                base.lookup(value)
            elif key == "pattern" and isinstance(value, str):
                regex.compile(value)
        except Unresolvable as exc:
            raise SchemaInvalidError(f"the reference '{_short(value)}' leads nowhere in it") from exc
        except regex.error as exc:
            raise SchemaInvalidError(f"'{_short(value)}' is no pattern: {exc}") from exc
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


def _keywords(schema: Any, resolver: Resolver[Any]) -> Iterator[tuple[str, Any, Resolver[Any]]]:
    """Yield every member of every object in a schema, without recursion, with what resolves its references.

    Also of what is no schema where it stands: a reference may make one of it.
    """
    waiting = [(schema, resolver)]
    while waiting:
        value, base = waiting.pop()
        if isinstance(value, Mapping):
            if value is not schema and isinstance(value.get("$id"), str):
                # Whatever is in here means this part by "#", and no longer the whole.
                base = base.in_subresource(DRAFT202012.create_resource(value))
            for key, member in value.items():
                yield key, member, base
                waiting.append((member, base))
        elif isinstance(value, list):
            waiting += [(item, base) for item in value]


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
