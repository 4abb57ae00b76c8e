from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cursorpipe_core import tools as tools_module
from cursorpipe_core.errors import InvalidRequestError
from cursorpipe_core.tools import MAX_DESCRIPTION, Tool, ToolSet, canonical_arguments, own_arguments

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "Tell the weather of a city.", CITY)


def names(*tools: Tool) -> list[str]:
    return [offered["name"] for offered in ToolSet(tools).offered()]


def test_a_tool_is_offered_as_it_is_described() -> None:
    assert ToolSet([WEATHER]).offered() == [
        {
            "name": "get_weather",
            "description": "Tell the weather of a city.",
            "inputSchema": CITY,
            "annotations": {"readOnlyHint": True},
        }
    ]


def test_tools_are_offered_in_the_callers_order() -> None:
    assert names(Tool("zebra"), Tool("ant"), Tool("mole")) == ["zebra", "ant", "mole"]


def test_a_set_has_as_many_tools_as_it_was_given() -> None:
    assert (len(ToolSet()), len(ToolSet([WEATHER, Tool("b")]))) == (0, 2)


@pytest.mark.parametrize("schema", [None, {}, {"additionalProperties": False}, {"properties": {}}])
def test_a_schema_without_a_type_is_offered_as_one_of_an_object(schema: dict[str, Any] | None) -> None:
    (offered,) = ToolSet([Tool("x", schema=schema)]).offered()
    assert offered["inputSchema"] == {"type": "object", "properties": {}, **(schema or {})}


@pytest.mark.parametrize("name", ["get_weather", "Get-Weather", "x", "a" * 40, "2fast", "read_the_news"])
def test_a_plain_name_is_kept(name: str) -> None:
    assert names(Tool(name)) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "bash",
        "Bash",
        "read_file",
        "Read-File",
        "READFILE",
        "web_search",
        "a" * 41,
        "a" * 64,
        "get.weather",
        "ö",
    ],
)
def test_a_name_that_would_be_cut_or_taken_for_another_gets_an_alias(name: str) -> None:
    (alias,) = names(Tool(name))
    assert alias != name
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", alias)


@pytest.mark.parametrize("name", ["bash", "a" * 64, "get_weather"])
def test_a_tool_is_found_by_the_name_that_is_offered(name: str) -> None:
    tool = Tool(name)
    tools = ToolSet([Tool("other"), tool])
    assert tools.find(names(Tool("other"), tool)[1]) is tool


@pytest.mark.parametrize("name", ["", "nope", "GET_WEATHER", "bash"])
def test_no_other_name_finds_a_tool(name: str) -> None:
    assert ToolSet([WEATHER, Tool("bash")]).find(name) is None


def test_an_alias_is_always_the_same() -> None:
    assert names(Tool("bash", "one"))[0] == names(Tool("x"), Tool("bash", "another"))[1]


def test_long_names_with_the_same_beginning_stay_two() -> None:
    first, second = Tool("a" * 63 + "b"), Tool("a" * 63 + "c")
    tools = ToolSet([first, second])
    assert [tools.find(name) for name in names(first, second)] == [first, second]


@pytest.mark.parametrize("twin", ["get-weather", "GET_WEATHER", "Get-Weather"])
def test_names_that_some_agents_take_for_one_stay_two(twin: str) -> None:
    tools = ToolSet([WEATHER, Tool(twin)])
    plain, alias = names(WEATHER, Tool(twin))
    assert plain == "get_weather"
    assert alias.replace("-", "_").casefold() != "get_weather"
    assert (tools.find(plain), tools.find(alias)) == (WEATHER, Tool(twin))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_tool_that_is_called_like_an_alias_takes_no_others_place(order: slice) -> None:
    aliased = Tool("bash")
    squatter = Tool(names(aliased)[0])
    wanted = [aliased, squatter][order]
    tools = ToolSet(wanted)
    assert [tools.find(name) for name in names(*wanted)] == wanted


def test_a_long_description_is_cut_where_every_agent_passes_it_on_and_goes_on_in_the_prompt() -> None:
    tools = ToolSet([Tool("x", "a" * MAX_DESCRIPTION + "the end"), Tool("y", "b" * MAX_DESCRIPTION)])
    assert [len(offered["description"]) for offered in tools.offered()] == [MAX_DESCRIPTION] * 2
    assert "The description of x goes on: the end" in tools.told()
    assert "description of y" not in tools.told()


def test_the_prompt_lists_each_tool_under_the_name_that_is_offered_with_what_it_is_for() -> None:
    tools = ToolSet([Tool("bash", "\n Run it.\nIn a shell."), Tool("quiet"), Tool("long", "x" * 500)])
    assert tools.told().splitlines() == [
        "The user offers you these tools, over MCP:",
        f"- {names(Tool('bash'))[0]}: Run it.",
        "- quiet",
        f"- long: {'x' * 120}",
    ]


def test_the_digest_is_the_same_for_the_same_tools() -> None:
    assert ToolSet([WEATHER]).digest == ToolSet([Tool(WEATHER.name, WEATHER.description, dict(CITY))]).digest


def test_the_order_in_which_a_schema_is_written_makes_no_other_tools() -> None:
    backwards = {key: CITY[key] for key in reversed(CITY)}
    assert ToolSet([Tool("x", schema=backwards)]).digest == ToolSet([Tool("x", schema=CITY)]).digest


@pytest.mark.parametrize(
    "other",
    [
        [],
        [Tool("get_weathers", WEATHER.description, CITY)],
        [Tool("get_weather", "Else.", CITY)],
        [Tool("get_weather", WEATHER.description, {**CITY, "required": []})],
        [Tool("get_weather", WEATHER.description, None)],
        [Tool("get_weather", WEATHER.description, CITY, strict=True)],
        [WEATHER, Tool("more")],
    ],
)
def test_the_digest_tells_other_tools_apart(other: list[Tool]) -> None:
    assert ToolSet(other).digest != ToolSet([WEATHER]).digest


def test_the_same_tools_in_another_order_are_other_tools() -> None:
    assert ToolSet([WEATHER, Tool("b")]).digest != ToolSet([Tool("b"), WEATHER]).digest


def test_a_schema_beyond_the_bound_is_refused_by_the_name_of_its_tool() -> None:
    fits = {"description": "x" * (tools_module.MAX_SCHEMA - len('{"description":""}'))}
    ToolSet([Tool("x", schema=fits)])
    with pytest.raises(InvalidRequestError, match="the schema of 'x' has 65537 bytes") as raised:
        ToolSet([Tool("x", schema={"description": fits["description"] + "y"})])
    assert raised.value.param == "tools"


def test_definitions_beyond_the_bound_are_refused() -> None:
    tools = [Tool(f"x{number}", "d" * 60_000) for number in range(17)]
    with pytest.raises(InvalidRequestError, match="the definitions have 105") as raised:
        ToolSet([*tools, Tool("y", "d" * 30_000)])
    assert raised.value.param == "tools"


def test_characters_count_as_the_bytes_that_they_are_sent_as(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools_module, "MAX_SCHEMA", 20)
    with pytest.raises(InvalidRequestError):
        ToolSet([Tool("x", schema={"title": "ööö"})])


def test_half_an_emoji_in_a_description_breaks_nothing() -> None:
    tools = ToolSet([Tool("x", "\ud83d", {"title": "\ude00"})])
    assert json.loads(json.dumps(tools.offered()))[0]["description"] == "\ud83d"


def test_the_arguments_of_a_call_are_json_in_the_agents_order() -> None:
    told = canonical_arguments(WEATHER, {"z": 1, "city": "Köln", "big": 10**30, "none": None})
    assert told == '{"z":1,"city":"K\\u00f6ln","big":1000000000000000000000000000000,"none":null}'


@pytest.mark.parametrize(
    "schema", [None, {}, CITY, {"properties": None}, {"properties": ["wait_for_previous"]}]
)
def test_what_an_agent_adds_for_itself_is_taken_away(schema: dict[str, Any] | None) -> None:
    arguments = {"city": "Paris", "wait_for_previous": True}
    assert own_arguments(Tool("x", schema=schema), arguments) == {"city": "Paris"}
    assert canonical_arguments(Tool("x", schema=schema), arguments) == '{"city":"Paris"}'


def test_what_the_caller_has_declared_is_kept() -> None:
    tool = Tool("x", schema={"properties": {"wait_for_previous": {"type": "boolean"}}})
    assert own_arguments(tool, {"wait_for_previous": True}) == {"wait_for_previous": True}


def test_the_agents_own_arguments_are_left_as_they_came() -> None:
    arguments = {"city": "Paris", "wait_for_previous": True}
    own_arguments(WEATHER, arguments)
    assert arguments == {"city": "Paris", "wait_for_previous": True}
