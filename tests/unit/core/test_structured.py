from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core import schema_check
from cursorpipe_core.completion import JsonFormat, Message, Role
from cursorpipe_core.errors import InvalidRequestError
from cursorpipe_core.structured import AnswerFormat

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"$ref": "#/$defs/Label"}},
    "required": ["x"],
    "additionalProperties": False,
    "$defs": {"Label": {"type": "string", "pattern": "^[a-z]+$"}},
}


def by(schema: dict[str, Any] | bool | None) -> AnswerFormat:
    return AnswerFormat(JsonFormat("thing", "what it is for", schema))


@pytest.mark.parametrize(
    "answer",
    [
        '{"x": 1}',
        '  {"x": 1}\n',
        'Sure!\n\n```json\n{"x": 1}\n```\nAnything else?',
        '```\n{"x": 1}\n```',
        'The answer is {"x": 1}, as you see.',
        'Not {"y": 2} and not [3], but {"x": 1}.',
        'Use {braces} like so: {"x": 1}',
    ],
)
def test_the_json_of_an_answer_is_found_without_what_is_around_it(answer: str) -> None:
    reading = by(POINT).read(answer)
    assert (reading.text, list(reading.violations)) == ('{"x": 1}', [])


@pytest.mark.parametrize(
    ("answer", "violation"),
    [
        ("No.", "There is no JSON in the answer."),
        ('{"x": "one"}', "x: 'one' is not of type 'integer'"),
        ('{"x": 1, "label": "A"}', "label: 'A' does not match '^[a-z]+$'"),
        ("{}", "'x' is a required property"),
        ('{"x": NaN}', "There is no JSON in the answer."),
        ("[" * 100_000, "There is no JSON in the answer."),
    ],
)
def test_what_is_wrong_is_told(answer: str, violation: str) -> None:
    assert violation in by(POINT).read(answer).violations


def test_a_long_value_is_not_told_back_whole() -> None:
    (violation,) = by({"type": "integer"}).read(json.dumps(["x" * 10_000])).violations
    assert len(violation) < 400


def test_without_a_schema_any_object_will_do_and_nothing_else() -> None:
    assert not by(None).read('{"a": 1}').violations
    assert by(None).read("[1]").violations
    assert by(None).read("7").violations


def test_the_instruction_stands_at_the_end_and_tells_everything() -> None:
    messages = [Message(Role.USER, "Where?")]
    *before, last = by(POINT).instruct(messages)
    assert before == messages
    assert last.role is Role.SYSTEM
    for told in ("thing", "what it is for", json.dumps(POINT)):
        assert told in last.text


def test_the_correction_names_the_violations_and_the_schema() -> None:
    correction = by(POINT).correction(["x is missing"])
    assert "- x is missing\n" in correction
    assert json.dumps(POINT) in correction


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "nothing"}, "'nothing' is not valid"),
        ({"properties": 5}, "5 is not of type 'object'"),
        ({"$ref": "#/$defs/Missing"}, "leads nowhere"),
        ({"$ref": "http://127.0.0.1:1/schema.json"}, "leads nowhere"),
        ({"$ref": "file:///etc/passwd"}, "leads nowhere"),
        ({"pattern": "(?P<a>x)(?P<a>y)("}, "regex"),
        ({"patternProperties": {"^a": {}}}, "'patternProperties' is not supported"),
    ],
)
def test_a_schema_that_is_none_is_the_callers_mistake(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        by(schema)
    assert caught.value.param == "response_format.json_schema.schema"


def test_a_reference_within_the_schema_may_use_its_id() -> None:
    schema = {"$id": "https://example.com/s", "$ref": "#/$defs/A", "$defs": {"A": {"type": "integer"}}}
    assert not by(schema).read("7").violations


def test_a_pattern_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_check, "VALIDATION_TIMEOUT_S", 0.02)
    answer = json.dumps("a" * 5000 + "!")
    (violation,) = by({"pattern": r"^(\w+\s?)*$|^(a|a)*$"}).read(answer).violations
    assert "too long" in violation


def test_all_the_patterns_of_an_answer_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_check, "VALIDATION_TIMEOUT_S", 0.0)
    (violation,) = by({"items": {"pattern": "a"}}).read('["a", "a"]').violations
    assert "more work" in violation


@pytest.mark.parametrize(
    ("items", "unique"),
    [([1, 2], True), ([1, 1.0], False), ([1, True], True), ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], False)],
)
def test_equal_items_are_found(items: list[Any], unique: bool) -> None:
    assert bool(by({"uniqueItems": True}).read(json.dumps(items)).violations) is not unique


@pytest.mark.parametrize("doubling", [False, True])
def test_a_schema_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, doubling: bool) -> None:
    monkeypatch.setattr(schema_check, "MAX_REFERENCES", 500)
    schema: dict[str, Any] = {"$ref": "#"}
    if doubling:
        levels = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
        schema = {"$ref": "#/$defs/d0", "$defs": {**levels, "d30": True}}
    (violation,) = by(schema).read("{}").violations
    assert "work" in violation or "nested" in violation


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.text('{}[]`" a\n'))
def test_json_among_prose_never_breaks_the_reading(value: Any, prose: str) -> None:
    text = json.dumps({"value": value})
    reading = by({"type": "object", "required": ["value"]}).read(f"Hello.\n{text}\n{prose}")
    assert json.loads(reading.text) == {"value": value}
    by(POINT).read(prose)
