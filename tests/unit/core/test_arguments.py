from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from cursorpipe_core import schema_check
from cursorpipe_core.arguments import MAX_CORRECTIONS, ArgumentsCheck, violations_of
from cursorpipe_core.endpoint import OpenCall
from cursorpipe_core.errors import ToolArgumentsError
from cursorpipe_core.schema_check import SchemaCheck, SchemaInvalidError
from cursorpipe_core.tools import Tool

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", schema=CITY)


@pytest.fixture
def check() -> ArgumentsCheck:
    return ArgumentsCheck(strict_only=False)


async def call(tool: Tool, **arguments: Any) -> OpenCall:
    return OpenCall(tool, arguments, 1, {})


async def result(call: OpenCall) -> dict[str, Any]:
    """Return what a call was answered with."""
    assert call.answered
    (message,) = [message async for message in call.messages()]
    assert message is not None
    found: dict[str, Any] = message["result"]
    return found


async def test_valid_arguments_pass(check: ArgumentsCheck) -> None:
    made = await call(WEATHER, city="Paris")
    assert await check.passes(made)
    assert not made.answered


async def test_wrong_arguments_are_answered_with_what_is_wrong(check: ArgumentsCheck) -> None:
    made = await call(WEATHER, city=5)
    assert not await check.passes(made)
    assert await result(made) == {
        "content": [
            {
                "type": "text",
                "text": "The arguments are not valid by the schema of the tool:\n"
                "- city: 5 is not of type 'string'\n"
                "Call it again with valid arguments.",
            }
        ],
        "isError": True,
    }


async def test_all_that_is_wrong_is_told(check: ArgumentsCheck) -> None:
    made = await call(WEATHER, town="Paris")
    await check.passes(made)
    text = (await result(made))["content"][0]["text"]
    assert "- 'city' is a required property\n" in text
    assert "- Additional properties are not allowed ('town' was unexpected)\n" in text


async def test_an_agent_that_does_not_learn_fails_the_turn(check: ArgumentsCheck) -> None:
    for _ in range(MAX_CORRECTIONS):
        assert not await check.passes(await call(WEATHER))
    made = await call(WEATHER)
    with pytest.raises(ToolArgumentsError, match="'get_weather'") as raised:
        await check.passes(made)
    assert raised.value.violations == ("'city' is a required property",)
    assert not made.answered


async def test_corrections_are_counted_for_each_tool(check: ArgumentsCheck) -> None:
    other = Tool("other", schema=CITY)
    for _ in range(MAX_CORRECTIONS):
        await check.passes(await call(WEATHER))
    assert not await check.passes(await call(other))


async def test_good_calls_pass_after_the_last_correction(check: ArgumentsCheck) -> None:
    for _ in range(MAX_CORRECTIONS):
        await check.passes(await call(WEATHER))
    assert await check.passes(await call(WEATHER, city="Paris"))


async def test_a_tool_that_takes_anything_is_not_checked(check: ArgumentsCheck) -> None:
    assert await check.passes(await call(Tool("any"), whatever=1))


async def test_only_strict_tools_are_checked_where_that_is_wanted() -> None:
    check = ArgumentsCheck(strict_only=True)
    assert await check.passes(await call(WEATHER))
    assert not await check.passes(await call(Tool("get_weather", schema=CITY, strict=True)))


async def test_what_an_agent_adds_for_itself_is_not_held_against_it(check: ArgumentsCheck) -> None:
    assert await check.passes(await call(WEATHER, city="Paris", wait_for_previous=False))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": 5},
        {"patternProperties": {"^x": {}}},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://schemas.example/city.json"},
        {"$ref": "http://[half an address"},
        {"$id": "http://[half an address", "properties": {"x": {"$ref": "#"}}},
        {"$dynamicRef": "#nowhere"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": 5},
        {"$schema": "https://schemas.example/own", "type": 5},
        {"properties": {"x": {"type": "string", "pattern": "("}}},
        {"properties": {"x": {"$id": "https://schemas.example/x", "$ref": "#/$defs/a"}}, "$defs": {"a": {}}},
    ],
)
async def test_a_schema_that_cannot_be_checked_allows_everything(
    check: ArgumentsCheck, schema: dict[str, Any]
) -> None:
    assert await check.passes(await call(Tool("x", schema=schema), x="y"))


async def test_a_schema_is_read_once_for_all_calls_of_a_turn(
    check: ArgumentsCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []

    class Counted(SchemaCheck):
        def __init__(self, schema: Any) -> None:
            read.append(schema)
            super().__init__(schema)

    monkeypatch.setattr(schema_check, "SchemaCheck", Counted)
    for _ in range(3):
        await check.passes(await call(WEATHER, city="Paris"))
    assert read == [CITY]


async def test_the_loop_goes_on_while_a_schema_is_checked(
    check: ArgumentsCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(*_: object) -> list[str]:
        assert release.wait(20)
        return []

    monkeypatch.setattr(SchemaCheck, "violations", slow)
    passing = asyncio.create_task(check.passes(await call(WEATHER, city="Paris")))
    await asyncio.sleep(0)
    assert not passing.done()
    release.set()
    assert await passing


async def test_a_pattern_that_takes_for_ever_is_given_up(
    check: ArgumentsCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_check, "VALIDATION_TIMEOUT_S", 0.05)
    tool = Tool("x", schema={"properties": {"x": {"pattern": r"^(\w+\s?)*$|^(a|a)*$"}}})
    made = await call(tool, x="a" * 5000 + "!")
    assert not await check.passes(made)
    assert "takes too long" in (await result(made))["content"][0]["text"]


def test_what_is_wrong_with_arguments_is_told_without_a_call() -> None:
    assert violations_of(WEATHER, {"city": "Paris"}) == []
    assert violations_of(WEATHER, {"city": None}) == ["city: None is not of type 'string'"]
    assert not violations_of(Tool("any"), {"x": 1})
    assert not violations_of(Tool("broken", schema={"type": 5}), {"x": 1})


@pytest.mark.parametrize("number", [10**400, 1e308, -(10**400), 5e-324])
def test_a_number_too_large_to_be_divided_fails_no_check(number: float) -> None:
    check = SchemaCheck({"multipleOf": 0.5})
    assert isinstance(check.violations(number), list)
    assert check.violations(1.25) == ["1.25 is not a multiple of 0.5"]


def test_references_that_go_round_in_circles_are_given_up() -> None:
    check = SchemaCheck(
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    )
    (violation,) = check.violations(5)
    assert "too deeply" in violation or "more work" in violation


def test_a_schema_that_is_a_boolean_is_one() -> None:
    assert SchemaCheck(schema=True).violations(5) == []
    assert SchemaCheck(schema=False).violations(5) == ["False schema does not allow 5"]


def test_few_of_many_violations_are_told_and_none_at_length() -> None:
    check = SchemaCheck({"items": {"type": "string"}})
    violations = check.violations([10**1000] * 100)
    assert len(violations) == schema_check.MAX_VIOLATIONS
    assert max(map(len, violations)) < schema_check.MAX_VIOLATION + 10


def test_a_reference_within_its_own_document_is_followed() -> None:
    null = {"$defs": {"n": {"type": "null"}}, "properties": {"x": {"$ref": "#/$defs/n"}}}
    check = SchemaCheck({"$id": "https://schemas.example/a", **null})
    assert check.violations({"x": None}) == []
    assert check.violations({"x": 1}) == ["x: 1 is not of type 'null'"]


def test_a_part_with_an_id_of_its_own_refers_to_itself() -> None:
    part = {"$id": "https://schemas.example/part", "$defs": {"n": {"type": "null"}}, "$ref": "#/$defs/n"}
    check = SchemaCheck({"properties": {"x": part, "y": {"$ref": "https://schemas.example/part"}}})
    assert check.violations({"x": None, "y": None}) == []
    assert len(check.violations({"x": 1, "y": 1})) == 2


def test_what_is_wrong_with_a_schema_is_told() -> None:
    with pytest.raises(SchemaInvalidError, match="'objekt' is not valid under any of the given schemas"):
        SchemaCheck({"type": "objekt"})
