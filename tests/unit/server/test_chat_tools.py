"""Callers' tools in OpenAI's dialect: what is taken, what reaches the core, how calls are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import openai
import pytest

from cursorpipe_core import (
    Backend,
    Began,
    Calls,
    CompletionRequest,
    Finish,
    FinishReason,
    Message,
    Role,
    TextDelta,
    ThoughtDelta,
    Tool,
    ToolArgumentsError,
    ToolCall,
    ToolChoiceError,
    ToolError,
    ToolRoundsError,
    ToolsUnavailableError,
    ToolUse,
    ToolWay,
)
from cursorpipe_server.chat.schemas import MAX_TOOLS
from cursorpipe_server.chat.tools import check_calls
from cursorpipe_server.chat.translate import ARGUMENTS_CHUNK
from tests.unit.server.conftest import (
    BEGAN,
    HELLO,
    USAGE,
    Client,
    MakeClient,
    ScriptedRouter,
    Step,
    ask,
)

CHAT = "/v1/chat/completions"

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "How it is outdoors.", "parameters": SCHEMA}
CLOCK = {"name": "clock"}
PARIS = ToolCall("call_1", "weather", '{"city":"Paris"}')
NOON = ToolCall("call_2", "clock", "{}")


def tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": function}


TOOLS = [tool(WEATHER), tool(CLOCK)]
FUNCTIONS = [WEATHER, CLOCK]


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: object, *names: str) -> dict[str, Any]:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def calling(*calls: ToolCall, before: Sequence[str] = ()) -> list[Step]:
    """Return the script of an answer that ends with calls, after these texts."""
    texts: list[Step] = [[TextDelta([text])] for text in before]
    return [[BEGAN], *texts, [Calls(calls), USAGE, Finish(FinishReason.TOOL_CALLS)]]


async def asked_for(client: Client, router: ScriptedRouter, **fields: Any) -> CompletionRequest:
    """Return what reaches the core of a request that is taken."""
    response = await client.post(CHAT, json=ask(**fields))
    assert response.status == 200, await response.text()
    return router.asked[-1]


async def use_of(client: Client, router: ScriptedRouter, **fields: Any) -> ToolUse:
    """Return the tools that reach the core."""
    use = (await asked_for(client, router, **fields)).tool_use
    assert use is not None
    return use


def names_of(use: ToolUse) -> list[str]:
    return [offered.name for offered in use.tools.tools]


async def error_of(client: Client, body: dict[str, Any]) -> tuple[int, str | None, str]:
    """Return the status, the member that is wrong, and the words."""
    response = await client.post(CHAT, json=body)
    error = (await response.json()).get("error", {})
    return response.status, error.get("param"), error.get("message", "")


async def chunks_of(client: Client, **fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ends as it should."""
    response = await client.post(CHAT, json=ask(stream=True, **fields))
    events = (await response.text()).removesuffix("\n\n").split("\n\n")
    *data, done = [event.removeprefix("data: ") for event in events]
    assert done == "[DONE]"
    return [json.loads(item) for item in data]


async def deltas_of(client: Client, **fields: Any) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in await chunks_of(client, **fields)]


async def choice_of(client: Client, **fields: Any) -> dict[str, Any]:
    """Return the only choice of an answer that is sent whole."""
    body = await (await client.post(CHAT, json=ask(**fields))).json()
    choice: dict[str, Any] = body["choices"][0]
    return choice


# What is asked for.


async def test_tools_reach_the_core_as_they_are_described(client: Client, router: ScriptedRouter) -> None:
    use = await use_of(client, router, tools=[tool({**WEATHER, "strict": True}), tool(CLOCK)])
    assert use.tools.tools == (
        Tool("weather", "How it is outdoors.", SCHEMA, strict=True),
        Tool("clock", "", None, strict=False),
    )


@pytest.mark.parametrize("strict", [None, False, True])
async def test_a_tool_is_strict_if_it_says_so(
    client: Client, router: ScriptedRouter, strict: bool | None
) -> None:
    use = await use_of(client, router, tools=[tool({**CLOCK, "strict": strict})])
    assert use.tools.tools[0].strict is bool(strict)


@pytest.mark.parametrize(
    ("choice", "names", "required"),
    [
        (None, ["weather", "clock"], False),
        ("auto", ["weather", "clock"], False),
        ("required", ["weather", "clock"], True),
        (named("clock"), ["clock"], True),
        (allowed("auto", "clock"), ["clock"], False),
        (allowed("required", "clock", "weather"), ["weather", "clock"], True),
        (allowed("auto", "clock", "clock"), ["clock"], False),
    ],
    ids=json.dumps,
)
async def test_a_choice_says_which_tools_there_are_and_whether_one_is_called(
    client: Client, router: ScriptedRouter, choice: object, names: list[str], required: bool
) -> None:
    use = await use_of(client, router, tools=TOOLS, tool_choice=choice)
    assert (names_of(use), use.required) == (names, required)


@pytest.mark.parametrize(("parallel", "several"), [(None, True), (True, True), (False, False)])
async def test_calls_come_one_at_a_time_if_that_is_wanted(
    client: Client, router: ScriptedRouter, parallel: bool | None, several: bool
) -> None:
    assert (await use_of(client, router, tools=TOOLS, parallel_tool_calls=parallel)).parallel is several


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": None, "tool_choice": None, "functions": None, "function_call": None},
        {"tools": [], "tool_choice": "auto"},
        {"functions": [], "function_call": "auto"},
        {"tool_choice": "none", "function_call": "none", "parallel_tool_calls": True},
        {"tools": TOOLS, "tool_choice": "none"},
        {"functions": FUNCTIONS, "function_call": "none"},
    ],
    ids=json.dumps,
)
async def test_no_tools_are_none(client: Client, router: ScriptedRouter, fields: dict[str, Any]) -> None:
    assert (await asked_for(client, router, **fields)).tool_use is None


@pytest.mark.parametrize(
    ("choice", "names", "required"),
    [
        (None, ["weather", "clock"], False),
        ("auto", ["weather", "clock"], False),
        ({"name": "clock"}, ["clock"], True),
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("tools", [None, []])
async def test_functions_are_tools_that_are_called_one_at_a_time(
    client: Client,
    router: ScriptedRouter,
    tools: list[Any] | None,
    choice: object,
    names: list[str],
    required: bool,
) -> None:
    use = await use_of(client, router, tools=tools, functions=FUNCTIONS, function_call=choice)
    assert (names_of(use), use.required, use.parallel) == (names, required, False)


def many(count: int) -> list[dict[str, Any]]:
    return [{"name": f"f{number}"} for number in range(count)]


async def test_as_many_tools_as_openai_takes(client: Client, router: ScriptedRouter) -> None:
    assert len((await use_of(client, router, tools=[tool(one) for one in many(MAX_TOOLS)])).tools) == 128
    assert len((await use_of(client, router, functions=many(MAX_TOOLS))).tools) == 128


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
async def test_a_name_that_openai_takes(client: Client, router: ScriptedRouter, name: str) -> None:
    assert names_of(await use_of(client, router, tools=[tool({"name": name})])) == [name]


@pytest.mark.parametrize("name", ["", "a b", "a.b", "é", "a\n", "x" * 65])
async def test_a_name_that_openai_refuses(client: Client, name: str) -> None:
    status, param, _ = await error_of(client, ask(tools=[tool({"name": name})]))
    assert (status, param) == (400, "tools.0.function.name")
    status, param, _ = await error_of(client, ask(functions=[CLOCK, {"name": name}]))
    assert (status, param) == (400, "functions.1.name")


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": {}}, "tools", "an array"),
        ({"tools": [tool(one) for one in many(MAX_TOOLS + 1)]}, "tools", "at most 128"),
        ({"functions": many(MAX_TOOLS + 1)}, "functions", "at most 128"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools.0.type", "'custom' are not supp"),
        ({"tools": [tool(CLOCK), {"type": "web_search"}]}, "tools.1.type", "'web_search' are not"),
        ({"tools": [{"function": CLOCK}]}, "tools.0.type", "Missing"),
        ({"tools": [{"type": "function"}]}, "tools.0.function", "Missing"),
        ({"tools": [tool({})]}, "tools.0.function.name", "Missing"),
        ({"tools": [tool({"name": "f", "parameters": []})]}, "tools.0.function.parameters", "an object"),
        ({"tools": [tool({"name": "f", "strict": 1})]}, "tools.0.function.strict", "a boolean"),
        ({"tools": [*TOOLS, tool(CLOCK)]}, "tools.2.function.name", "two tools of the name 'clock'"),
        ({"functions": [CLOCK, CLOCK]}, "functions.1.name", "two tools of the name 'clock'"),
        ({"tools": TOOLS, "functions": FUNCTIONS}, "functions", "not allowed beside 'tools'"),
        ({"tools": TOOLS, "parallel_tool_calls": "no"}, "parallel_tool_calls", "a boolean"),
        (
            {"tools": [tool({"name": "f", "parameters": {"title": "x" * 70_000}})]},
            "tools",
            "the schema of 'f' has",
        ),
    ],
)
async def test_tools_that_are_none_are_refused_with_the_place(
    make_client: MakeClient, fields: dict[str, Any], param: str, words: str
) -> None:
    status, wrong, message = await error_of(await make_client(), ask(**fields))
    assert (status, wrong) == (400, param)
    assert words in message


@pytest.mark.parametrize(
    ("choice", "param", "words"),
    [
        ("any", "tool_choice", "expected one of 'none', 'auto', 'required' or an object"),
        (7, "tool_choice", "a string"),
        ({}, "tool_choice", "expected one of"),
        ({"type": "custom", "custom": {"name": "clock"}}, "tool_choice", "expected one of"),
        ({"type": "function"}, "tool_choice.function.name", "Missing"),
        ({"type": "function", "function": "clock"}, "tool_choice.function.name", "Missing"),
        (named("sundial"), "tool_choice", "no tool 'sundial'"),
        ({"type": "allowed_tools"}, "tool_choice.allowed_tools.mode", "'auto', 'required'"),
        (allowed("none", "clock"), "tool_choice.allowed_tools.mode", "'auto', 'required'"),
        (allowed(["auto"], "clock"), "tool_choice.allowed_tools.mode", "'auto', 'required'"),
        (allowed("auto"), "tool_choice.allowed_tools.tools", "expected an array of tools"),
        (allowed("required"), "tool_choice.allowed_tools.tools", "expected an array of tools"),
        (allowed("auto", "clock", "sundial"), "tool_choice", "no tool 'sundial'"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["clock"]}},
            "tool_choice.allowed_tools.tools.0.function.name",
            "Missing",
        ),
    ],
    ids=json.dumps,
)
async def test_a_choice_that_is_none_is_refused(
    client: Client, router: ScriptedRouter, choice: object, param: str, words: str
) -> None:
    status, wrong, message = await error_of(client, ask(tools=TOOLS, tool_choice=choice))
    assert (status, wrong) == (400, param)
    assert words in message
    assert not router.asked


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("required", "function_call"),
        (named("clock"), "function_call.name"),
        ({}, "function_call.name"),
        ({"name": "sundial"}, "function_call"),
        (7, "function_call"),
    ],
    ids=json.dumps,
)
async def test_a_choice_of_a_function_that_is_none_is_refused(
    client: Client, choice: object, param: str
) -> None:
    status, wrong, _ = await error_of(client, ask(functions=FUNCTIONS, function_call=choice))
    assert (status, wrong) == (400, param)


@pytest.mark.parametrize(
    ("fields", "param", "needed"),
    [
        ({"tool_choice": "required"}, "tool_choice", "tools"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "tools"),
        ({"tool_choice": named("clock")}, "tool_choice", "tools"),
        ({"tool_choice": allowed("auto", "clock")}, "tool_choice", "tools"),
        ({"tool_choice": "required", "functions": FUNCTIONS}, "tool_choice", "tools"),
        ({"function_call": {"name": "clock"}}, "function_call", "functions"),
        ({"function_call": {"name": "clock"}, "tools": TOOLS}, "function_call", "functions"),
    ],
    ids=json.dumps,
)
async def test_what_is_to_be_called_has_to_be_there(
    client: Client, fields: dict[str, Any], param: str, needed: str
) -> None:
    status, wrong, message = await error_of(client, ask(**fields))
    assert (status, wrong) == (400, param)
    assert f"only allowed when '{needed}' are specified" in message


# Whose it is.


async def owner(client: Client, router: ScriptedRouter, headers: dict[str, str]) -> str:
    await client.post(CHAT, json=ask(tools=TOOLS), headers=headers)
    return router.asked[-1].owner


BEARER = {"Authorization": "Bearer one"}


async def test_a_turn_is_the_keys_however_the_key_is_sent(client: Client, router: ScriptedRouter) -> None:
    owners = [
        await owner(client, router, headers)
        for headers in (BEARER, BEARER, {"x-api-key": "one"}, {**BEARER, "x-api-key": "one"})
    ]
    assert len(set(owners)) == 1


async def test_another_key_is_another_owner_and_none_can_be_read(
    client: Client, router: ScriptedRouter
) -> None:
    keys: list[dict[str, str]] = [{}, BEARER, {"Authorization": "Bearer two"}]
    owners = [await owner(client, router, headers) for headers in keys]
    assert len(set(owners)) == len(keys)
    assert not any("one" in name or "two" in name for name in owners)


@pytest.mark.parametrize("key", [b"\xf6", b"\xff\xfe"])
async def test_a_key_of_bytes_that_are_no_text_is_a_key(
    client: Client, router: ScriptedRouter, key: bytes
) -> None:
    body = json.dumps(ask(tools=TOOLS)).encode()
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST %b HTTP/1.0\r\nHost: localhost\r\n" % CHAT.encode())
    writer.write(b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (key, len(body), body))
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split(b"\r\n")[0].endswith(b"200 OK")
    assert router.asked[0].owner != await owner(client, router, BEARER)


async def test_two_keys_of_one_client_are_two_owners(make_client: MakeClient, router: ScriptedRouter) -> None:
    client = await make_client(bearer_tokens="ann=one,bob=two")
    ann = await owner(client, router, BEARER)
    bob = await owner(client, router, {"Authorization": "Bearer two"})
    assert ann.split()[0] == "ann"
    assert bob.split()[0] == "bob"
    assert ann.split()[1] != bob.split()[1]


async def test_nobody_owns_a_request_without_tools(client: Client, router: ScriptedRouter) -> None:
    assert (await asked_for(client, router)).owner == ""


# The conversation.


def called(*ids: str, content: str | None = None) -> dict[str, Any]:
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(call_id: str, content: object = "7") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, called("a"), result("a")],
        [USER, called("a", "b"), result("b"), result("a")],
        [USER, called("a", "b"), result("a"), result("b"), USER],
        [USER, called("a"), result("a"), called("b"), result("b"), called("a"), result("a")],
        [called("a"), result("a")],
        [USER, {"role": "assistant", "content": "x", "tool_calls": []}, USER],
        [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
        [USER, {"role": "function", "name": "f", "content": "7"}],
    ],
    ids=json.dumps,
)
async def test_a_conversation_in_which_every_call_has_its_result_is_taken(
    client: Client, messages: list[dict[str, Any]]
) -> None:
    assert (await client.post(CHAT, json={"messages": messages})).status == 200


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([USER, called("a")], "messages.1.tool_calls", "response messages: a."),
        ([called("a"), USER], "messages.0.tool_calls", "response messages: a."),
        ([USER, called("a", "b", "c"), result("b")], "messages.1.tool_calls", "response messages: a, c."),
        ([USER, called("a"), USER, result("a")], "messages.1.tool_calls", "response messages: a."),
        ([USER, called("a"), called("b"), result("b")], "messages.1.tool_calls", "response messages: a."),
        (
            [USER, called("a", "b"), result("a"), {"role": "function", "name": "f", "content": "7"}],
            "messages.1.tool_calls",
            "response messages: b.",
        ),
        ([USER, result("a")], "messages.1.tool_call_id", "must be a response to a preceding message"),
        ([result("a"), USER], "messages.0.tool_call_id", "must be a response to a preceding message"),
        ([USER, called("a"), result("b")], "messages.2.tool_call_id", "must be a response"),
        ([USER, called("a"), result("a"), USER, result("a")], "messages.4.tool_call_id", "must be a resp"),
        (
            [USER, called("a"), result("a"), result("a")],
            "messages.3.tool_call_id",
            "Duplicate value for 'tool_call_id' of 'a', in messages.2 and messages.3",
        ),
    ],
)
async def test_a_call_without_its_result_or_a_result_without_its_call_is_refused(
    client: Client, router: ScriptedRouter, messages: list[dict[str, Any]], param: str, words: str
) -> None:
    status, wrong, message = await error_of(client, {"messages": messages, "tools": TOOLS})
    assert (status, wrong) == (400, param)
    assert words in message
    assert not router.asked


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("7 °C", "7 °C"),
        ("", ""),
        ([{"type": "text", "text": "7"}, {"type": "text", "text": " °C"}], "7 °C"),
        ([], ""),
    ],
)
async def test_a_result_is_text_whole_or_in_parts(
    client: Client, router: ScriptedRouter, content: object, text: str
) -> None:
    body = {"messages": [USER, called("a"), result("a", content)], "tools": TOOLS}
    await client.post(CHAT, json=body)
    assert router.asked[0].messages[-1] == Message(Role.TOOL, text, call_id="a")


def test_a_long_conversation_is_looked_at_once() -> None:
    class Counted(list[Message]):
        """Messages that count how often one is taken out."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            for message in super().__iter__():
                taken.append(message)
                yield message

        def __getitem__(self, at: Any) -> Any:
            taken.append(at)
            return super().__getitem__(at)

    taken: list[object] = []
    turn = [Message(Role.ASSISTANT, "", calls=[PARIS]), Message(Role.TOOL, "7", call_id=PARIS.id)]
    check_calls(Counted(turn * 100))
    assert len(taken) == 200


# What is told of calls.


async def test_a_call_is_streamed_in_openais_order(client: Client, router: ScriptedRouter) -> None:
    router.script = calling(PARIS, NOON)
    chunks = await chunks_of(client, tools=TOOLS)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": None},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Paris"}'}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "clock", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["tool_calls"]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


async def test_what_is_said_before_the_calls_comes_before_them(
    client: Client, router: ScriptedRouter
) -> None:
    router.script = calling(NOON, before=["Let me ", "look."])
    first, *texts, begun, arguments, end = await deltas_of(client, tools=TOOLS)
    assert first == {"role": "assistant", "content": ""}
    assert texts == [{"content": "Let me "}, {"content": "look."}]
    assert begun["tool_calls"][0]["id"] == "call_2"
    assert (arguments["tool_calls"][0]["index"], end) == (0, {})


async def test_text_and_calls_that_come_together_are_told_in_that_order(
    client: Client, router: ScriptedRouter
) -> None:
    router.script = [
        [BEGAN, TextDelta(["Wait."]), Calls([NOON]), USAGE, Finish(FinishReason.TOOL_CALLS)],
    ]
    deltas = await deltas_of(client, tools=TOOLS)
    assert deltas[:2] == [{"role": "assistant", "content": ""}, {"content": "Wait."}]
    assert "tool_calls" in deltas[2]


async def test_thoughts_come_before_calls_and_are_no_content(client: Client, router: ScriptedRouter) -> None:
    router.script = [[BEGAN, ThoughtDelta(["Hm."])], *calling(NOON)[1:]]
    deltas = await deltas_of(client, tools=TOOLS)
    assert [sorted(delta) for delta in deltas[:3]] == [
        ["content", "role"],
        ["reasoning_content"],
        ["tool_calls"],
    ]
    message = (await choice_of(client, tools=TOOLS))["message"]
    assert (message["content"], message["reasoning_content"]) == (None, "Hm.")


@pytest.mark.parametrize(
    ("length", "pieces"),
    [
        (0, []),
        (1, [1]),
        (ARGUMENTS_CHUNK, [4096]),
        (ARGUMENTS_CHUNK + 1, [4096, 1]),
        (10_000, [4096, 4096, 1808]),
    ],
)
async def test_long_arguments_come_in_pieces(
    client: Client, router: ScriptedRouter, length: int, pieces: list[int]
) -> None:
    arguments = "".join(chr(ord("a") + number % 26) for number in range(length))
    router.script = calling(ToolCall("call_1", "clock", arguments))
    _, _, *rest, _ = await deltas_of(client, tools=TOOLS)
    told = [delta["tool_calls"][0]["function"] for delta in rest]
    assert [len(function["arguments"]) for function in told] == pieces
    assert "".join(function["arguments"] for function in told) == arguments
    assert all(function.keys() == {"arguments"} for function in told)


async def test_the_usage_comes_after_the_calls_if_asked_for(client: Client, router: ScriptedRouter) -> None:
    router.script = calling(NOON)
    *before, last = await chunks_of(client, tools=TOOLS, stream_options={"include_usage": True})
    assert before[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert all(chunk["usage"] is None for chunk in before)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 15)


@pytest.mark.parametrize(("before", "content"), [((), None), (("Let me ", "look."), "Let me look.")])
async def test_a_whole_answer_has_calls_beside_its_text(
    client: Client, router: ScriptedRouter, before: tuple[str, ...], content: str | None
) -> None:
    router.script = calling(PARIS, NOON, before=before)
    assert await choice_of(client, tools=TOOLS) == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": content,
            "refusal": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                },
                {"id": "call_2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }


async def test_an_answer_without_calls_is_as_ever(client: Client) -> None:
    choice = await choice_of(client, tools=TOOLS)
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert (await deltas_of(client, tools=TOOLS))[0] == {"role": "assistant", "content": ""}


async def test_an_answer_of_nothing_has_a_text_of_nothing(client: Client, router: ScriptedRouter) -> None:
    router.script = [[BEGAN, USAGE, Finish(FinishReason.STOP)]]
    assert (await choice_of(client, tools=TOOLS))["message"]["content"] == ""


@pytest.mark.parametrize("tools", [None, []])
async def test_a_caller_of_functions_is_told_of_a_call_in_the_older_form(
    client: Client, router: ScriptedRouter, tools: list[Any] | None
) -> None:
    router.script = calling(PARIS, before=["Hm."])
    choice = await choice_of(client, functions=FUNCTIONS, tools=tools)
    assert choice["finish_reason"] == "function_call"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hm.",
        "refusal": None,
        "function_call": {"name": "weather", "arguments": '{"city":"Paris"}'},
    }


async def test_a_call_is_streamed_in_the_older_form(client: Client, router: ScriptedRouter) -> None:
    # There is room for one, and a second would be read as more of its arguments.
    router.script = calling(PARIS, NOON)
    chunks = await chunks_of(client, functions=FUNCTIONS)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": None},
        {"function_call": {"name": "weather", "arguments": ""}},
        {"function_call": {"arguments": '{"city":"Paris"}'}},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


async def test_the_result_of_a_function_reaches_the_core(client: Client, router: ScriptedRouter) -> None:
    messages = [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "clock", "arguments": "{}"}},
        {"role": "function", "name": "clock", "content": "noon"},
    ]
    await client.post(CHAT, json={"messages": messages, "functions": FUNCTIONS})
    assert router.asked[0].messages[1:] == [
        Message(Role.ASSISTANT, "", calls=(ToolCall("", "clock", "{}"),)),
        Message(Role.TOOL, "noon", "clock"),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_calls_of_several_answers_stay_apart(
    client: Client, router: ScriptedRouter, stream: bool
) -> None:
    scripts = iter([calling(PARIS), calling(NOON)])
    router.script_of = lambda: next(scripts)
    if stream:
        choices = [chunk["choices"][0] for chunk in await chunks_of(client, tools=TOOLS, n=2)]
        told = {
            (choice["index"], call["id"], call["index"])
            for choice in choices
            for call in choice["delta"].get("tool_calls", ())
            if "id" in call
        }
    else:
        body = await (await client.post(CHAT, json=ask(tools=TOOLS, n=2))).json()
        told = {(choice["index"], choice["message"]["tool_calls"][0]["id"], 0) for choice in body["choices"]}
    assert told == {(0, "call_1", 0), (1, "call_2", 0)}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", ToolWay)
async def test_a_header_tells_how_the_turn_came_to_be_here(
    client: Client, router: ScriptedRouter, way: ToolWay, stream: bool
) -> None:
    router.script = [[Began(Backend.ACP, None, way)], *calling(NOON)[1:]]
    response = await client.post(CHAT, json=ask(tools=TOOLS, stream=stream))
    assert response.headers["x-cursorpipe-tools"] == way.value


async def test_an_answer_without_tools_has_no_such_header(client: Client) -> None:
    assert "x-cursorpipe-tools" not in (await client.post(CHAT, json=ask())).headers


# Where there are no tools.


@pytest.mark.parametrize(
    ("fields", "named_as"), [({"tools": TOOLS}, "tools"), ({"functions": FUNCTIONS}, "functions")]
)
async def test_tools_without_effect_are_named(
    client: Client, router: ScriptedRouter, fields: dict[str, Any], named_as: str
) -> None:
    router.tools_taken = False
    response = await client.post(CHAT, json=ask(temperature=0, zeal=1, **fields))
    expected = ", ".join(sorted(["temperature", "zeal", named_as]))
    assert (response.status, response.headers["x-cursorpipe-ignored"]) == (200, expected)
    assert (router.asked[0].tool_use, router.asked[0].owner) == (None, "")


async def test_tools_that_are_not_to_be_called_are_not_named(client: Client, router: ScriptedRouter) -> None:
    router.tools_taken = False
    response = await client.post(CHAT, json=ask(tools=TOOLS, tool_choice="none"))
    assert "x-cursorpipe-ignored" not in response.headers


@pytest.mark.parametrize("taken", [False, True])
async def test_tools_are_refused_where_they_have_no_effect_and_the_operator_wants_that(
    make_client: MakeClient, router: ScriptedRouter, taken: bool
) -> None:
    router.tools_taken = taken
    response = await (await make_client(strict_params=True)).post(CHAT, json=ask(tools=TOOLS))
    if taken:
        assert response.status == 200
        return
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_parameter", "tools")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": named("clock")}, "tool_choice"),
        ({"functions": FUNCTIONS, "function_call": {"name": "clock"}}, "function_call"),
    ],
)
async def test_a_call_that_has_to_be_is_refused_where_none_can_be(
    client: Client, router: ScriptedRouter, fields: dict[str, Any], param: str
) -> None:
    router.tools_taken = False
    status, wrong, message = await error_of(client, ask(**fields))
    assert (status, wrong) == (400, param)
    assert "offers agents none" in message


# Failures.

FAILURES: list[tuple[ToolError, str]] = [
    (ToolsUnavailableError("http"), "tools_unavailable"),
    (ToolChoiceError(), "tool_choice_unmet"),
    (ToolArgumentsError("weather", ["city: 7 is not of type 'string'"]), "invalid_tool_arguments"),
    (ToolRoundsError(64), "too_many_tool_rounds"),
]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("error", "code"), FAILURES, ids=[code for _, code in FAILURES])
async def test_a_failure_that_a_repeat_would_not_mend_keeps_clients_from_repeating(
    client: Client, router: ScriptedRouter, error: ToolError, code: str, begun: bool
) -> None:
    router.script = [[BEGAN], error.of_request(begun=begun)]
    response = await client.post(CHAT, json=ask(tools=TOOLS))
    told = (await response.json())["error"]
    assert (response.status, told["type"], told["code"]) == (502, "server_error", code)
    assert told["message"] == str(error)
    assert (response.headers.get("x-should-retry") == "false") is begun


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=[code for _, code in FAILURES])
async def test_a_failure_after_words_is_the_last_event(
    client: Client, router: ScriptedRouter, error: ToolError, code: str
) -> None:
    router.script = [[BEGAN, TextDelta(["Let me look."])], error]
    text = await (await client.post(CHAT, json=ask(stream=True, tools=TOOLS))).text()
    last = json.loads(text.removesuffix("\n\n").rpartition("data: ")[2])
    assert (last["error"]["type"], last["error"]["code"]) == ("agent_error", code)


# By the client of OpenAI's own.


@pytest.fixture
def official(client: Client) -> Callable[[], openai.AsyncOpenAI]:
    return lambda: openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="k", max_retries=0)


OPENAI_TOOLS: Any = TOOLS
QUESTION: Any = [USER]


async def test_openais_client_reads_streamed_calls(
    official: Callable[[], openai.AsyncOpenAI], router: ScriptedRouter
) -> None:
    long = json.dumps({"city": "x" * 10_000})
    router.script = calling(ToolCall("call_1", "weather", long), NOON, before=["Hm."])
    async with (
        official() as client,
        client.chat.completions.stream(model="auto", messages=QUESTION, tools=OPENAI_TOOLS) as stream,
    ):
        kinds = {event.type async for event in stream}
        final = await stream.get_final_completion()
    (choice,) = final.choices
    calls = choice.message.tool_calls or []
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_1", "weather", long),
        ("call_2", "clock", "{}"),
    ]
    assert (choice.message.content, choice.finish_reason) == ("Hm.", "tool_calls")


async def test_openais_client_goes_on_with_what_it_was_told(
    official: Callable[[], openai.AsyncOpenAI], router: ScriptedRouter
) -> None:
    router.script = calling(PARIS, NOON)
    async with official() as client:
        told = await client.chat.completions.create(model="auto", messages=QUESTION, tools=OPENAI_TOOLS)
        message = told.choices[0].message
        results = [result(call.id, f"of {call.id}") for call in reversed(message.tool_calls or [])]
        router.script = [HELLO]
        messages: Any = [USER, message.model_dump(), *results]
        answer = await client.chat.completions.create(model="auto", messages=messages, tools=OPENAI_TOOLS)
    assert answer.choices[0].message.content == "Hello"
    assert router.asked[1].messages[1:] == [
        Message(Role.ASSISTANT, "", calls=(PARIS, NOON)),
        Message(Role.TOOL, "of call_2", call_id="call_2"),
        Message(Role.TOOL, "of call_1", call_id="call_1"),
    ]


async def test_openais_client_reads_a_call_of_a_function(
    official: Callable[[], openai.AsyncOpenAI], router: ScriptedRouter
) -> None:
    router.script = calling(PARIS)
    functions: Any = FUNCTIONS
    async with official() as client:
        stream = await client.chat.completions.create(
            model="auto", messages=QUESTION, functions=functions, stream=True
        )
        deltas = [chunk.choices[0].delta.function_call async for chunk in stream]
    told = [delta for delta in deltas if delta is not None]
    assert [delta.name for delta in told if delta.name] == ["weather"]
    assert "".join(delta.arguments or "" for delta in told) == PARIS.arguments


async def test_a_client_that_leaves_before_the_calls_closes_the_answer(
    client: Client, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, TextDelta(["Hm."])], asyncio.Event()]
    (await client.post(CHAT, json=ask(stream=True, tools=TOOLS))).close()
    await asyncio.wait_for(router.closed.wait(), 5)
