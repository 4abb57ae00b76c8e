"""Callers' tools, called through the agent: the stand-in is an MCP client, with the ways of many agents."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from cursorpipe_core import Endpoint, ToolsMode
from cursorpipe_core.tool_sessions import SPARES
from cursorpipe_server.bridge import Bridge
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve
from tests.tool_habits import AGENTS, WAYS
from tests.tool_scripts import call, final_answer, together, tools_directive
from tests.waiting import until

Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("quick_look")

WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Look up the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: Json = {"type": "function", "function": {"name": "get_time", "description": "Tell the time."}}
TOOLS = [WEATHER, TIME]

TWO_ROUNDS = tools_directive(
    together(call("get_weather", {"city": "Paris"}), call("get_time"), say="Let me see. "),
    together(call("get_weather", {"city": "Rome"}), call("get_weather", {"city": "Oslo"})),
)


def result_of(name: str, arguments: Mapping[str, Any]) -> str:
    """Return what the caller's tool gives."""
    return f"{arguments.get('city', 'noon')} is fine" if name == "get_weather" else "12:00"


@dataclass
class Loop:
    """A caller that runs its tools for as long as it is asked to."""

    client: Client
    messages: list[Json]
    fields: Json = field(default_factory=dict)
    headers: Json = field(default_factory=dict)
    rounds: list[list[str]] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)

    async def once(self, **fields: Any) -> Json:
        """Ask once; returns the message."""
        body = {"messages": self.messages, "tools": TOOLS, **self.fields, **fields}
        async with self.client.post(CHAT, json=body, headers=self.headers) as response:
            assert response.status == 200, await response.text()
            self.ways.append(response.headers["x-cursorpipe-tools"])
            choice = (await response.json())["choices"][0]
        message: Json = choice["message"]
        calls = message.get("tool_calls") or []
        assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
        self.messages.append(message)
        self.rounds.append([one["function"]["name"] for one in calls])
        return message

    def answer(self, calls: Sequence[Json]) -> None:
        """Put the results of calls behind the conversation."""
        for one in calls:
            function = one["function"]
            text = result_of(function["name"], json.loads(function["arguments"]))
            self.messages.append({"role": "tool", "tool_call_id": one["id"], "content": text})

    async def run(self) -> str:
        """Go on until the agent calls no more; returns its last words."""
        while calls := (message := await self.once()).get("tool_calls"):
            self.answer(calls)
        content: str = message["content"]
        return content


def loop(client: Client, prompt: str, **fields: Any) -> Loop:
    return Loop(client, [{"role": "user", "content": prompt}], fields)


async def nothing_left(client: Client) -> None:
    """Check that no turn waits, none is open, no call is and no endpoint is left but those of the stock."""
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: not any(worker.in_flight for worker in router.snapshot().workers))
    assert router.snapshot().tools.parked == 0
    gc.collect()
    bridges = [found for found in gc.get_objects() if isinstance(found, Bridge)]
    workers = len(router.snapshot().workers)
    await until(lambda: sum(map(len, bridges)) <= SPARES * workers)
    assert not sum(found.open_calls for found in gc.get_objects() if isinstance(found, Endpoint))


@pytest.mark.parametrize("habits", [*AGENTS.values(), *WAYS], ids=[*AGENTS, *WAYS])
async def test_the_answer_is_the_same_whatever_the_ways_of_the_agent(
    serve: Serve, agent: DemoAgent, habits: str
) -> None:
    agent.set(MCP=habits)
    client = await serve(api_key="key")
    talk = loop(client, TWO_ROUNDS)
    answer = await talk.run()
    expected = final_answer(
        ("get_weather", "Paris is fine"),
        ("get_time", "12:00"),
        ("get_weather", "Rome is fine"),
        ("get_weather", "Oslo is fine"),
    )
    assert answer.endswith(expected)
    assert sorted(name for names in talk.rounds for name in names) == ["get_time", *["get_weather"] * 3]
    assert set(talk.ways[1:]) == {"resumed"}
    await nothing_left(client)


async def test_equal_calls_keep_their_own_results(serve: Serve) -> None:
    twins = together(call("get_weather", {"city": "Paris"}), call("get_weather", {"city": "Paris"}))
    client = await serve(api_key="key")
    talk = loop(client, tools_directive(twins))
    first = await talk.once()
    ids = [one["id"] for one in first["tool_calls"]]
    talk.messages += [
        {"role": "tool", "tool_call_id": call_id, "content": text}
        for call_id, text in zip(ids, ("one", "two"), strict=True)
    ]
    assert str((await talk.once())["content"]).endswith(
        final_answer(("get_weather", "one"), ("get_weather", "two"))
    )


async def test_results_may_come_in_any_order_and_in_parts(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = loop(client, tools_directive(together(call("get_weather", {"city": "Paris"}), call("get_time"))))
    first, second = (await talk.once())["tool_calls"]
    talk.messages += [
        {"role": "tool", "tool_call_id": second["id"], "content": ""},
        {
            "role": "tool",
            "tool_call_id": first["id"],
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
    ]
    answer = (await talk.once())["content"]
    assert answer.endswith(final_answer(("get_weather", "ab"), ("get_time", "")))
    assert talk.ways == ["new", "resumed"]


@pytest.mark.parametrize("size", [1, 7_000])
async def test_an_odd_or_a_large_result_comes_through(serve: Serve, size: int) -> None:
    odd = '</message>\n"quoted" \\ \u2028 😀\x00' * size
    client = await serve(api_key="key", server={"max_body_mb": 32})
    talk = loop(client, tools_directive(together(call("get_time"))))
    (only,) = (await talk.once())["tool_calls"]
    talk.messages.append({"role": "tool", "tool_call_id": only["id"], "content": odd})
    answer = (await talk.once())["content"]
    assert answer == final_answer(("get_time", odd)) if size == 1 else len(answer) > size
    assert talk.ways[-1] == "resumed"


async def test_one_call_at_a_time_if_that_is_asked_for(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = loop(client, TWO_ROUNDS, parallel_tool_calls=False)
    await talk.run()
    assert [len(names) for names in talk.rounds] == [1, 1, 1, 1, 0]


async def test_calls_that_are_made_together_are_handed_out_together(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = loop(client, TWO_ROUNDS)
    await talk.run()
    assert talk.rounds == [["get_weather", "get_time"], ["get_weather", "get_weather"], []]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_time"}}], ids=["required", "named"]
)
async def test_an_agent_that_has_to_call_and_does_not_is_told_so(serve: Serve, choice: object) -> None:
    client = await serve(api_key="key")
    prompt = tools_directive(together(call("get_time")), reluctant=1)
    talk = loop(client, prompt, tool_choice=choice)
    assert [one["function"]["name"] for one in (await talk.once())["tool_calls"]] == ["get_time"]


async def test_an_agent_that_never_calls_though_it_has_to_is_an_error(serve: Serve) -> None:
    client = await serve(api_key="key")
    prompt = tools_directive(together(call("get_time")), reluctant=5)
    body = {"messages": [{"role": "user", "content": prompt}], "tools": TOOLS, "tool_choice": "required"}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "tool_choice_unmet"
    await nothing_left(client)


async def test_no_tools_are_offered_where_none_are_to_be_called(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(api_key="key")
    await agent.wait_for("mcp-listed")  # the server's own look for a way
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "tool_choice": "none"}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 200
        assert "x-cursorpipe-tools" not in response.headers
    assert [event["names"] for event in agent.events("mcp-listed")] == [[]]


async def test_wrong_arguments_are_corrected_before_the_caller_sees_them(serve: Serve) -> None:
    wrong = call("get_weather", {"town": "Paris"}, corrections=[{"city": 1}, {"city": "Paris"}])
    client = await serve(api_key="key")
    talk = loop(client, tools_directive(together(wrong)))
    (only,) = (await talk.once())["tool_calls"]
    assert json.loads(only["function"]["arguments"]) == {"city": "Paris"}
    talk.answer([only])
    assert str((await talk.once())["content"]).endswith(final_answer(("get_weather", "Paris is fine")))


async def test_arguments_that_stay_wrong_are_an_error(serve: Serve) -> None:
    wrong = call("get_weather", {"town": "Paris"}, corrections=[{"city": 1}, {}, {"city": None}])
    client = await serve(api_key="key")
    body = {"messages": [{"role": "user", "content": tools_directive(together(wrong))}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 502, await response.text()
        error = (await response.json())["error"]
    assert error["code"] == "invalid_tool_arguments"
    await nothing_left(client)


@pytest.mark.parametrize("transport", ["http", "stdio"])
@pytest.mark.parametrize("gate", ["", ",gate"], ids=["open", "gate"])
async def test_there_is_a_way_to_every_build(
    serve: Serve, agent: DemoAgent, transport: str, gate: str
) -> None:
    agent.set(MCP=f"transport={transport}{gate}")
    client = await serve(api_key="key")
    talk = loop(client, TWO_ROUNDS)
    assert "Paris is fine" in await talk.run()
    async with client.get("/ready") as response:
        tools = (await response.json())["tools"]
    assert tools["channel"] == f"{transport}, approved" if gate else transport
    assert tools["proven"]


@pytest.mark.parametrize("ways", ["transport=file", "transport=file,gate,connect=background"])
async def test_a_build_that_takes_no_servers_for_a_session_finds_them_in_a_file(
    serve: Serve, agent: DemoAgent, ways: str
) -> None:
    agent.set(MCP=ways)
    client = await serve(api_key="key")
    assert "Paris is fine" in await loop(client, TWO_ROUNDS).run()
    async with client.get("/ready") as response:
        assert (await response.json())["tools"]["channel"] == "http, by file"


async def test_nothing_is_written_where_the_user_works(
    serve: Serve, agent: DemoAgent, tmp_path: Path
) -> None:
    agent.set(MCP="transport=file")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    client = await serve(api_key="key", workspace=str(workspace), supervision={"tools": ToolsMode.MCP})
    body = {"messages": [{"role": "user", "content": TWO_ROUNDS}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 502
    assert list(workspace.iterdir()) == []


async def test_the_directory_of_a_session_goes_with_it(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(api_key="key")
    place = Path(psutil.Process(agent.pids()[0]).cwd()).parent
    for _ in range(5):
        await loop(client, TWO_ROUNDS).run()
    assert len(agent.events("mcp-listed")) >= 5, "each had one"
    await until(lambda: len(list(place.glob("tools-*"))) <= SPARES)


async def test_what_works_for_a_build_is_remembered(serve: Serve, agent: DemoAgent) -> None:
    agent.set(MCP="transport=stdio")
    first = await serve(api_key="key")
    await loop(first, TWO_ROUNDS).run()
    await first.close()
    opened = len(agent.events("mcp-listed"))
    second = await serve(api_key="key")
    assert second.app is not None
    router = second.app[ROUTER]
    await until(lambda: router.snapshot().tools.proven)
    assert router.snapshot().tools.channel == "stdio"
    assert len(agent.events("mcp-listed")) == opened, "no session was opened to find out"


async def test_other_tools_find_a_session_in_stock(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(api_key="key")
    await loop(client, tools_directive(together(call("get_time")))).run()
    opened = await agent.wait_for("mcp-listed", count=3)  # the look for a way, the turn, one ahead
    other = {"type": "function", "function": {"name": "roll_dice"}}
    talk = loop(client, tools_directive(together(call("roll_dice"))), tools=[other])
    assert (await talk.once())["tool_calls"][0]["function"]["name"] == "roll_dice"
    listed = [event for event in agent.events("mcp-listed")[len(opened) :] if event["names"] == ["roll_dice"]]
    assert listed
    assert listed[0]["session"] in {event["session"] for event in opened}


async def test_a_pinned_model_with_tools_has_a_warm_worker(serve: Serve) -> None:
    client = await serve(api_key="key")
    body = {"model": "composer-2.5", "messages": [{"role": "user", "content": TWO_ROUNDS}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 200, await response.text()
        assert response.headers["x-cursorpipe-backend"] == "acp"
        assert response.headers["x-cursorpipe-model"] == "composer-2.5"
        assert (await response.json())["choices"][0]["finish_reason"] == "tool_calls"


ANSWER_FORMAT: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "weather",
        "schema": {"type": "object", "properties": {"sunny": {"type": "boolean"}}, "required": ["sunny"]},
    },
}


@pytest.mark.parametrize("answer", ['{"sunny": true}', "It is sunny."], ids=["valid", "corrected"])
async def test_an_answer_in_a_format_may_come_after_calls(serve: Serve, answer: str) -> None:
    client = await serve(api_key="key")
    talk = loop(client, tools_directive(together(call("get_time"), say="So. "), answer=answer))
    first = await talk.once(response_format=ANSWER_FORMAT)
    assert first["content"] == "So. "
    talk.answer(first["tool_calls"])
    content = (await talk.once(response_format=ANSWER_FORMAT))["content"]
    assert json.loads(content) == {"sunny": True}
    assert talk.ways == ["new", "resumed"]
    await nothing_left(client)


async def test_a_limit_ends_an_answer_after_calls(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = loop(client, tools_directive(together(call("get_time")), answer="one two STOP three"))
    talk.answer((await talk.once(stop="STOP"))["tool_calls"])
    assert (await talk.once(stop="STOP"))["content"] == "one two "
    await nothing_left(client)


async def test_a_waiting_turn_keeps_the_worker_of_its_model(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"warm_models": ("*",), "warm_models_max": 1})
    talk = loop(client, TWO_ROUNDS, model="composer-2.5")
    talk.answer((await talk.once())["tool_calls"])
    async with client.post(CHAT, json={"model": "gpt-5.3-codex", "messages": talk.messages[:1]}) as response:
        assert response.headers["x-cursorpipe-backend"] == "subprocess"
    await talk.once()
    assert talk.ways == ["new", "resumed"]
