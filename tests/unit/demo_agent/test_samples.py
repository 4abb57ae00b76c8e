from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cursorpipe_core.demo_agent.samples import sample_for


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x"]}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#/$defs/I"}, "minItems": 2, "$defs": {"I": {"type": "string"}}},
        {"anyOf": [{"type": "string", "minLength": 9}, {"type": "null"}]},
        {"type": ["boolean", "null"]},
        {"const": {"k": 1}},
        {"type": "number", "exclusiveMinimum": 4},
    ],
)
def test_a_sample_is_valid_by_the_schema_that_is_asked_for(schema: dict[str, Any]) -> None:
    sample = sample_for(f"Hi!\nName: x\nSchema: {json.dumps(schema)}\n</message>")
    assert sample is not None
    Draft202012Validator(schema).validate(json.loads(sample))


def test_an_object_is_given_to_who_asks_for_one() -> None:
    sample = sample_for("Answer with one JSON object and nothing else: no prose, no code fence.")
    assert isinstance(json.loads(sample or ""), dict)


@pytest.mark.parametrize("question", ["Hello", "Schema: of things", "One JSON object, please"])
def test_nobody_else_gets_json(question: str) -> None:
    assert sample_for(question) is None
