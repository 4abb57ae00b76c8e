"""What can go wrong between a call and its result, and what becomes of the conversation then."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any

import pytest

from cursorpipe_core import ToolsMode
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve
from tests.integration.test_tools import TOOLS, TWO_ROUNDS, Loop, loop, nothing_left
from tests.tool_scripts import call, final_answer, together, tools_directive
from tests.waiting import until

Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("quick_look")

ONE_CALL = tools_directive(together(call("get_weather", {"city": "Paris"})))
TWO_STEPS = tools_directive(
    together(call("get_weather", {"city": "Paris"})), together(call("get_weather", {"city": "Rome"}))
)
PARIS = final_answer(("get_weather", "Paris is fine"))


def tools_of(client: Client) -> Any:
    """Return how callers' tools fare."""
    assert client.app is not None
    return client.app[ROUTER].snapshot().tools


async def called(client: Client, prompt: str = ONE_CALL, **headers: str) -> Loop:
    """Return a conversation that waits for the result of its first call."""
    talk = loop(client, prompt)
    talk.headers = headers
    message = await talk.once()
    talk.answer(message["tool_calls"])
    return talk


async def rebuilt(talk: Loop) -> None:
    """Check that the conversation goes on all the same, in another turn."""
    answer = (await talk.once())["content"]
    assert talk.ways[-1] == "rebuilt"
    assert answer.endswith(PARIS)
    await nothing_left(talk.client)


async def test_a_turn_that_waited_too_long_is_begun_anew(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"tool_park_timeout_s": 0.1})
    talk = await called(client)
    await until(lambda: tools_of(client).expired == 1)
    await rebuilt(talk)


@pytest.mark.usefixtures("quick_restarts")
async def test_without_a_worker_tools_are_told_so_at_once(serve: Serve, agent: DemoAgent) -> None:
    agent.set(SCENARIO="other-protocol")
    client = await serve(strategy="acp", ready=False)
    body = {"messages": [{"role": "user", "content": ONE_CALL}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")


@pytest.mark.usefixtures("quick_restarts")
async def test_where_subprocesses_serve_without_a_worker_they_have_the_tools_in_their_prompt(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SCENARIO="other-protocol")
    client = await serve(ready=False)
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().workers[0].state == "tripped")
    body = {"messages": [{"role": "user", "content": ONE_CALL}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 200
        assert response.headers["x-cursorpipe-tools"] == "prompt"
        assert response.headers["x-cursorpipe-backend"] == "subprocess"
    async with client.post(CHAT, json={**body, "model": "claude-4.5-sonnet-thinking"}) as response:
        assert response.status == 503, "it would take them for an attempt to mislead it"


async def test_a_silent_agent_is_not_asked_twice(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(api_key="key", first_event_timeout_s=0.5)
    body = {"messages": [{"role": "user", "content": "[[demo:silent-prompt]]"}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 504
    assert len(agent.events("prompt")) == 1, "it may be at work"
    await nothing_left(client)


async def test_an_agent_that_falls_silent_over_results_is_not_asked_again(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(api_key="key", first_event_timeout_s=0.5, idle_timeout_s=0.5)
    talk = await called(client)
    os.kill(agent.pids()[0], signal.SIGSTOP)
    try:
        async with client.post(CHAT, json={"messages": talk.messages, "tools": TOOLS}) as response:
            assert response.status == 504
    finally:
        os.kill(agent.pids()[0], signal.SIGCONT)
    assert len(agent.events("prompt")) == 1
    await nothing_left(client)


async def test_another_key_never_gets_a_turn_that_waits(serve: Serve) -> None:
    client = await serve(api_key="key", server={"bearer_tokens": "a=1111111111111111\nb=2222222222222222"})
    talk = await called(client, Authorization="Bearer 1111111111111111")
    stolen = Loop(client, list(talk.messages), headers={"Authorization": "Bearer 2222222222222222"})
    assert (await stolen.once())["content"].endswith(PARIS)
    assert stolen.ways == ["rebuilt"]
    assert tools_of(client).parked == 1, "the owner's turn waits on"
    await talk.once()
    assert talk.ways[-1] == "resumed"


async def test_the_same_results_twice_are_two_answers(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = await called(client)
    again = Loop(client, list(talk.messages))
    assert (await talk.once())["content"].endswith(PARIS)
    await rebuilt(again)


async def test_the_same_results_while_they_are_answered_are_answered_instead(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(CHUNK_MS=100)
    client = await serve(api_key="key")
    talk = await called(client)
    body = {"messages": list(talk.messages), "tools": TOOLS}
    first = asyncio.ensure_future(client.post(CHAT, json=body))
    await until(lambda: tools_of(client).parked == 0)
    await rebuilt(talk)
    async with await first as response:
        assert response.status == 500
        assert "Another request" in (await response.json())["error"]["message"]
    assert len(agent.events("cancelled")) == 1


async def test_words_behind_the_results_begin_the_turn_anew(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = await called(client)
    talk.messages.append({"role": "user", "content": "Be quick."})
    await talk.once()
    assert talk.ways == ["new", "rebuilt"]
    assert tools_of(client).parked == 0
    await nothing_left(client)


async def test_a_restarted_server_goes_on_with_the_conversation(serve: Serve) -> None:
    first = await serve(api_key="key")
    talk = await called(first)
    await first.close()
    talk.client = await serve(api_key="key")
    await rebuilt(talk)


@pytest.mark.parametrize("habits", ["die=usr1", "drop=usr1", "drop=usr1,hang-when-lost"])
async def test_an_agent_that_is_lost_while_it_waits_costs_only_its_turn(
    serve: Serve, agent: DemoAgent, habits: str
) -> None:
    agent.set(MCP=habits)
    client = await serve(api_key="key")
    talk = await called(client)
    os.kill(agent.pids()[0], signal.SIGUSR1)
    await until(lambda: tools_of(client).parked == 0)
    assert tools_of(client).died == 1
    await rebuilt(talk)


async def test_a_killed_agent_costs_only_its_turn(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(api_key="key")
    talk = await called(client)
    os.kill(agent.pids()[0], signal.SIGKILL)
    await until(lambda: tools_of(client).parked == 0)
    await rebuilt(talk)


@pytest.mark.parametrize("farewell", ["cancelled", "close", "silence"])
async def test_an_agent_that_gives_up_waiting_costs_only_its_turn(
    serve: Serve, agent: DemoAgent, farewell: str
) -> None:
    agent.set(MCP=f"limit=0.3,at-limit={farewell}")
    client = await serve(api_key="key")
    talk = await called(client)
    # Of some nothing tells it but the end of their turn.
    await until(lambda: tools_of(client).parked == 0)
    await rebuilt(talk)


async def test_other_tools_than_before_begin_anew(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = await called(client)
    talk.fields = {"tools": TOOLS[:1]}
    await rebuilt(talk)


async def test_missing_results_are_refused_and_the_turn_waits_on(serve: Serve) -> None:
    client = await serve(api_key="key")
    both = together(call("get_weather", {"city": "Paris"}), call("get_time"))
    talk = loop(client, tools_directive(both))
    calls = (await talk.once())["tool_calls"]
    talk.answer(calls[:1])
    async with client.post(CHAT, json={"messages": talk.messages, "tools": TOOLS}) as response:
        assert response.status == 400
        assert calls[1]["id"] in (await response.json())["error"]["message"]
    assert tools_of(client).parked == 1
    talk.answer(calls[1:])
    await talk.once()
    assert talk.ways[-1] == "resumed"


@pytest.mark.parametrize("habits", ["", "cancel=close", "cancel=silence", "calls=serial"])
async def test_a_client_that_leaves_takes_its_turn_with_it(
    serve: Serve, agent: DemoAgent, habits: str
) -> None:
    agent.set(MCP=habits, CHUNK_MS=100)
    client = await serve(api_key="key")
    talk = await called(client, tools_directive(together(call("get_weather", {"city": "Paris"}), say="So. ")))
    body = {"messages": talk.messages, "tools": TOOLS, "stream": True}
    sent = asyncio.ensure_future(client.post(CHAT, json=body))
    await until(lambda: tools_of(client).parked == 0)
    sent.cancel()
    await nothing_left(client)
    assert await agent.wait_for("cancelled")


async def test_a_turn_does_not_end_with_the_response_that_told_its_calls(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = loop(client, ONE_CALL)
    body = {"messages": talk.messages, "tools": TOOLS, "stream": True}
    async with client.post(CHAT, json=body) as response:
        async for line in response.content:
            if b'"finish_reason":"tool_calls"' in line:
                break
    # Hung up before the end of the stream.
    await asyncio.sleep(0)
    assert tools_of(client).parked == 1


async def test_only_so_many_turns_wait_for_one_caller(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"tool_park_max_per_client": 3})
    for _ in range(3):
        await called(client)
    body = {"messages": [{"role": "user", "content": ONE_CALL}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json())["error"]["type"] == "rate_limit_error"
    async with client.post(CHAT, json=body, headers={"x-api-key": "another"}) as response:
        assert response.status == 200
    assert tools_of(client).refused == 1


async def test_only_so_many_turns_wait_in_all(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"tool_park_max": 3})
    for number in range(3):
        await called(client, **{"x-api-key": str(number)})
    body = {"messages": [{"role": "user", "content": ONE_CALL}], "tools": TOOLS}
    async with client.post(CHAT, json=body, headers={"x-api-key": "another"}) as response:
        assert response.status == 429


async def test_waiting_turns_take_no_place_from_others(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"worker_concurrency": 1})
    talk = await called(client)
    async with client.post(CHAT, json={"messages": [{"role": "user", "content": "hi"}]}) as response:
        assert response.status == 200
    await talk.once()
    assert talk.ways == ["new", "resumed"]


async def test_nothing_of_a_tool_or_a_secret_is_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await serve(api_key="key")
    talk = loop(client, ONE_CALL)
    calls = (await talk.once())["tool_calls"]
    talk.messages.append({"role": "tool", "tool_call_id": calls[0]["id"], "content": "top secret"})
    await talk.once()
    assert "top secret" not in caplog.text
    assert "Paris" not in caplog.text
    assert "/t/" not in caplog.text
    assert "Bearer" not in caplog.text


async def test_an_agent_that_never_stops_calling_is_stopped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.tool_turn.MAX_GROUPS", 1)
    client = await serve(api_key="key")
    talk = await called(client, TWO_STEPS)
    async with client.post(CHAT, json={"messages": talk.messages, "tools": TOOLS}) as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "too_many_tool_rounds"
    await nothing_left(client)


async def test_a_model_without_mcp_is_offered_tools_in_its_prompt(serve: Serve, agent: DemoAgent) -> None:
    agent.set(MCP="transport=none")
    client = await serve(api_key="key")
    talk = loop(client, TWO_ROUNDS)
    assert "Oslo is fine" in await talk.run()
    assert talk.rounds == [["get_weather", "get_time"], ["get_weather", "get_weather"], []]
    assert talk.ways == ["prompt"] * 3


async def test_a_model_without_mcp_is_an_error_where_mcp_is_wanted(serve: Serve, agent: DemoAgent) -> None:
    agent.set(MCP="transport=none")
    client = await serve(api_key="key", supervision={"tools": ToolsMode.MCP})
    body = {"messages": [{"role": "user", "content": ONE_CALL}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "tools_unavailable"
    await nothing_left(client)


@pytest.mark.parametrize("tools", ["auto", "prompt", "mcp", "off"])
async def test_without_acp_tools_are_offered_in_the_prompt(serve: Serve, tools: str) -> None:
    client = await serve(
        api_key="key", strategy="subprocess", supervision={"tools": ToolsMode(tools)}, ready=False
    )
    prompt = tools_directive(together(call("get_time")))
    body = {"messages": [{"role": "user", "content": prompt}], "tools": TOOLS}
    async with client.post(CHAT, json=body) as response:
        got = await response.json()
        if tools == "mcp":
            assert (response.status, got["error"]["param"]) == (400, "tools")
            return
        assert response.status == 200, got
        if tools == "off":
            assert response.headers["x-cursorpipe-ignored"] == "tools"
            assert got["choices"][0]["finish_reason"] == "stop"
        else:
            assert response.headers["x-cursorpipe-tools"] == "prompt"
            assert got["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_time"


async def test_who_only_wants_the_arguments_of_a_forced_call_is_never_refused(serve: Serve) -> None:
    client = await serve(api_key="key", supervision={"tool_park_max_per_client": 3})
    for _ in range(5):
        talk = loop(client, ONE_CALL, tool_choice="required")
        assert (await talk.once())["tool_calls"]
    assert tools_of(client).parked == 3
    assert tools_of(client).refused == 0
    talk.answer(talk.messages[-1]["tool_calls"])
    await talk.once(tool_choice="auto")
    assert talk.ways == ["new", "resumed"], "the latest ones wait"


async def test_calls_in_the_older_form_wait_for_nothing(serve: Serve) -> None:
    client = await serve(api_key="key")
    functions = [tool["function"] for tool in TOOLS]
    messages: list[Json] = [{"role": "user", "content": ONE_CALL}]
    async with client.post(CHAT, json={"messages": messages, "functions": functions}) as response:
        message = (await response.json())["choices"][0]["message"]
    assert message["function_call"]["name"] == "get_weather"
    assert tools_of(client).parked == 0
    await nothing_left(client)
    messages += [message, {"role": "function", "name": "get_weather", "content": "Paris is fine"}]
    async with client.post(CHAT, json={"messages": messages, "functions": functions}) as response:
        assert response.status == 200


async def test_results_of_a_caller_that_wants_no_more_calls_end_the_turn(serve: Serve) -> None:
    client = await serve(api_key="key")
    talk = await called(client)
    body = {"messages": talk.messages, "tools": TOOLS, "tool_choice": "none"}
    async with client.post(CHAT, json=body) as response:
        assert response.status == 200
    assert tools_of(client).parked == 0
    await nothing_left(client)
