from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import pytest

from cursorpipe_core import endpoint as endpoint_module
from cursorpipe_core.completion import Image, ToolResult
from cursorpipe_core.endpoint import VERSIONS, Endpoint, OpenCall
from cursorpipe_core.tools import Tool, ToolSet
from cursorpipe_core.version import __version__

WEATHER = Tool("get_weather", "Tell the weather of a city.", {"properties": {"city": {"type": "string"}}})
CLOCK = Tool("get_time")
PEER = "a connection"


@pytest.fixture
async def endpoint() -> Endpoint:
    return Endpoint(ToolSet([WEATHER]))


@pytest.fixture
def made(endpoint: Endpoint) -> list[OpenCall]:
    calls: list[OpenCall] = []
    endpoint.on_call = calls.append
    return calls


@pytest.fixture
def lost(endpoint: Endpoint) -> list[OpenCall]:
    calls: list[OpenCall] = []
    endpoint.on_lost = calls.append
    return calls


def request(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(
    endpoint: Endpoint,
    request_id: Any = 1,
    peer: str = PEER,
    arguments: Mapping[str, Any] | None = None,
    meta: Any = None,
) -> OpenCall:
    """Call the tool, and return the call that waits."""
    params = {"name": "get_weather", "arguments": arguments, "_meta": meta}
    taken = endpoint.take(request("tools/call", request_id, **params), peer)
    assert isinstance(taken, OpenCall)
    return taken


def ask(endpoint: Endpoint, method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    """Ask, and return the answer that is there at once."""
    answer = endpoint.take(request(method, request_id, **params), PEER)
    assert isinstance(answer, dict)
    return answer


async def told(call: OpenCall) -> list[dict[str, Any] | None]:
    return [message async for message in call.messages()]


async def response(call: OpenCall) -> dict[str, Any]:
    (message,) = await told(call)
    assert message is not None
    return message


def cancel(endpoint: Endpoint, request_id: Any, peer: str = PEER) -> None:
    notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}
    assert endpoint.take(notice, peer) is None


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_version_that_is_known_is_agreed_to(endpoint: Endpoint, version: str) -> None:
    assert ask(endpoint, "initialize", protocolVersion=version) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "cursorpipe", "version": __version__},
        },
    }


@pytest.mark.parametrize("version", ["2026-07-28", "1999-01-01", None, 5, ["2025-06-18"], {"a": 1}])
async def test_another_version_is_answered_with_the_newest(endpoint: Endpoint, version: Any) -> None:
    assert ask(endpoint, "initialize", protocolVersion=version)["result"]["protocolVersion"] == "2025-11-25"


async def test_the_tools_are_listed(endpoint: Endpoint) -> None:
    assert ask(endpoint, "tools/list", "x") == {
        "jsonrpc": "2.0",
        "id": "x",
        "result": {"tools": ToolSet([WEATHER]).offered()},
    }


async def test_a_ping_is_answered(endpoint: Endpoint) -> None:
    assert ask(endpoint, "ping", 0) == {"jsonrpc": "2.0", "id": 0, "result": {}}


@pytest.mark.parametrize("method", ["server/discover", "resources/list", "x" * 5000, ""])
async def test_an_unknown_method_is_refused_by_its_name(endpoint: Endpoint, method: str) -> None:
    error = ask(endpoint, method)["error"]
    assert error["code"] == -32601
    assert error["message"] == f"There is no method '{method[:100]}'."


@pytest.mark.parametrize("message", [[], "hello", 5, None, True, [{"id": 1, "method": "ping"}]])
async def test_what_is_no_object_is_no_message(endpoint: Endpoint, message: Any) -> None:
    answer = endpoint.take(message, PEER)
    assert isinstance(answer, dict)
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize("request_id", [1.5, [1], {"a": 1}, True])
async def test_an_id_of_another_type_is_refused(endpoint: Endpoint, request_id: Any) -> None:
    answer = ask(endpoint, "ping", request_id)
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed", "params": []},
        {"jsonrpc": "2.0", "id": None, "method": "tools/call", "params": {"name": "get_weather"}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "method": 7},
        {"method": "notifications/cancelled"},
        {"method": "notifications/cancelled", "params": {"requestId": []}},
        {"method": "notifications/cancelled", "params": "all"},
    ],
)
async def test_what_is_no_request_is_not_answered(endpoint: Endpoint, message: dict[str, Any]) -> None:
    assert endpoint.take(message, PEER) is None


async def test_params_of_another_type_are_none(endpoint: Endpoint) -> None:
    answer = endpoint.take({"id": 1, "method": "tools/call", "params": ["get_weather"]}, PEER)
    assert isinstance(answer, dict)
    assert answer["error"]["message"] == "There is no tool 'None'."


async def test_a_call_comes_to_whoever_takes_calls(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint, arguments={"city": "Paris"})
    assert made == [opened]
    assert (opened.tool, opened.arguments, opened.answered) == (WEATHER, {"city": "Paris"}, False)
    assert endpoint.open_calls == 1


async def test_a_call_without_arguments_has_none(endpoint: Endpoint, made: list[OpenCall]) -> None:
    answer = endpoint.take(request("tools/call", name="get_weather"), PEER)
    assert isinstance(answer, OpenCall)
    assert made[0].arguments == {}


@pytest.mark.parametrize("name", ["get_time", "Get_Weather", None, 5, ["get_weather"], "x" * 5000])
async def test_a_tool_that_there_is_not_is_refused(
    endpoint: Endpoint, made: list[OpenCall], name: Any
) -> None:
    error = ask(endpoint, "tools/call", name=name)["error"]
    assert (error["code"], error["message"]) == (-32602, f"There is no tool '{str(name)[:100]}'.")
    assert not made


@pytest.mark.parametrize("arguments", [[], "city", 5, False])
async def test_arguments_that_are_no_object_are_refused(
    endpoint: Endpoint, made: list[OpenCall], arguments: Any
) -> None:
    assert ask(endpoint, "tools/call", name="get_weather", arguments=arguments)["error"]["code"] == -32602
    assert not made


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    "arguments", [{"x": float("nan")}, {"x": [float("-inf")]}, nested(100_000)], ids=["nan", "inf", "deep"]
)
async def test_arguments_that_cannot_be_told_to_the_caller_are_refused(
    endpoint: Endpoint, made: list[OpenCall], arguments: Any
) -> None:
    assert ask(endpoint, "tools/call", name="get_weather", arguments=arguments)["error"]["code"] == -32602
    assert not made


async def test_a_result_is_one_text_that_succeeded(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint, "abc")
    made[0].answer(ToolResult("sunny"))
    assert opened.answered
    assert await response(opened) == {
        "jsonrpc": "2.0",
        "id": "abc",
        "result": {"content": [{"type": "text", "text": "sunny"}], "isError": False},
    }


async def test_the_pictures_of_a_result_follow_its_text(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint)
    made[0].answer(ToolResult("", [Image("image/png", b"\x89PNG"), Image("image/gif", b"GIF")]))
    assert (await response(opened))["result"]["content"] == [
        {"type": "text", "text": ""},
        {"type": "image", "mimeType": "image/png", "data": base64.b64encode(b"\x89PNG").decode()},
        {"type": "image", "mimeType": "image/gif", "data": base64.b64encode(b"GIF").decode()},
    ]


async def test_a_rejected_call_tells_the_model_why(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint)
    made[0].reject("There is no such city.")
    assert (await response(opened))["result"] == {
        "content": [{"type": "text", "text": "There is no such city."}],
        "isError": True,
    }


async def test_a_call_that_is_given_up_is_an_error(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint)
    made[0].give_up("No time.")
    assert (await response(opened))["error"] == {"code": -32800, "message": "No time."}


async def test_only_the_first_answer_counts(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint)
    made[0].answer(ToolResult("first"))
    made[0].answer(ToolResult("second"))
    made[0].reject("third")
    made[0].give_up("fourth")
    assert (await response(opened))["result"]["content"][0]["text"] == "first"


async def test_a_call_that_waits_tells_that_it_goes_on(
    endpoint: Endpoint, made: list[OpenCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    del made
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    opened = call(endpoint, meta={"progressToken": "t"})
    messages = opened.messages()
    notices = [await anext(messages), await anext(messages)]
    opened.answer(ToolResult("sunny"))
    last = await anext(messages)
    assert [notice and notice["method"] for notice in notices] == ["notifications/progress"] * 2
    assert [notice and notice["params"]["progressToken"] for notice in notices] == ["t", "t"]
    assert [notice and notice["params"]["progress"] for notice in notices] == [1, 2]
    assert last is not None
    assert last["id"] == 1
    with pytest.raises(StopAsyncIteration):
        await anext(messages)


async def test_an_agent_that_wants_no_notices_gets_signs_of_life_without_a_form(
    endpoint: Endpoint, made: list[OpenCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    del made
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    messages = call(endpoint).messages()
    assert [await anext(messages), await anext(messages)] == [None, None]
    await messages.aclose()  # type: ignore[attr-defined] # it is a generator


@pytest.mark.parametrize("token", [0, ""])
async def test_a_token_may_be_anything_that_is_there(
    endpoint: Endpoint, made: list[OpenCall], monkeypatch: pytest.MonkeyPatch, token: Any
) -> None:
    del made
    monkeypatch.setattr(endpoint_module, "PROGRESS_S", 0.01)
    messages = call(endpoint, meta={"progressToken": token}).messages()
    notice = await anext(messages)
    assert notice is not None
    assert notice["params"]["progressToken"] == token


async def test_before_a_turn_calls_are_refused(endpoint: Endpoint, lost: list[OpenCall]) -> None:
    opened = call(endpoint)
    assert (await response(opened))["result"]["isError"] is True
    endpoint.lose(opened)
    assert not lost


async def test_after_a_turn_calls_are_refused(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    before = call(endpoint, 1)
    endpoint.take_no_calls()
    after = call(endpoint, 2)
    endpoint.lose(before)
    assert made == [before]
    assert after.answered
    assert not lost


async def test_a_cancelled_call_is_lost(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    opened = call(endpoint, "x")
    cancel(endpoint, "x")
    assert lost == made == [opened]
    assert endpoint.open_calls == 0
    assert (await response(opened))["error"]["code"] == -32800


async def test_a_call_is_lost_once(endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]) -> None:
    del made
    opened = call(endpoint)
    cancel(endpoint, 1)
    cancel(endpoint, 1)
    endpoint.lose(opened)
    endpoint.lose_peer(PEER)
    assert lost == [opened]


async def test_cancelling_what_is_answered_changes_nothing(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    opened = call(endpoint)
    made[0].answer(ToolResult("sunny"))
    cancel(endpoint, 1)
    assert not lost
    assert (await response(opened))["result"]["content"][0]["text"] == "sunny"


@pytest.mark.parametrize("request_id", [2, "1", None, [1], {"id": 1}, 1.5])
async def test_cancelling_what_there_is_not_changes_nothing(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall], request_id: Any
) -> None:
    del made
    opened = call(endpoint, 1)
    cancel(endpoint, request_id)
    assert not lost
    assert not opened.answered


async def test_nobody_cancels_the_calls_of_another_connection(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    del made
    call(endpoint, 1, peer="one")
    cancel(endpoint, 1, peer="other")
    assert not lost


async def test_equal_ids_of_two_connections_are_two_calls(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    one, other = call(endpoint, 1, peer="one"), call(endpoint, 1, peer="other")
    assert made == [one, other]
    one.answer(ToolResult("for one"))
    cancel(endpoint, 1, peer="other")
    assert lost == [other]
    assert (await response(one))["result"]["content"][0]["text"] == "for one"


async def test_an_id_is_used_once_at_a_time(endpoint: Endpoint, made: list[OpenCall]) -> None:
    opened = call(endpoint, 1)
    assert ask(endpoint, "tools/call", 1, name="get_weather")["error"]["code"] == -32600
    endpoint.forget(opened)
    assert made == [opened, call(endpoint, 1)]


async def test_more_calls_than_there_may_be_are_refused(
    endpoint: Endpoint, made: list[OpenCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "MAX_OPEN_CALLS", 2)
    call(endpoint, 1)
    call(endpoint, 2)
    assert ask(endpoint, "tools/call", 3, name="get_weather")["error"]["code"] == -32600
    endpoint.forget(made[0])
    call(endpoint, 3)
    assert len(made) == 3


async def test_a_connection_that_ends_loses_its_calls_alone(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    mine = [call(endpoint, 1, peer="mine"), call(endpoint, 2, peer="mine"), call(endpoint, 3, peer="mine")]
    call(endpoint, 1, peer="other")
    made[1].answer(ToolResult("sunny"))
    endpoint.lose_peer("mine")
    assert lost == [mine[0], mine[2]]
    assert endpoint.open_calls == 1


async def test_a_call_may_be_answered_because_another_is_lost(
    endpoint: Endpoint, made: list[OpenCall]
) -> None:
    """Whoever hears of a loss may end everything, in the middle of it."""
    del made
    endpoint.on_lost = lambda _: endpoint.close("The turn was ended.")
    calls = [call(endpoint, 1), call(endpoint, 2)]
    endpoint.lose_peer(PEER)
    assert [opened.answered for opened in calls] == [True, True]


async def test_an_answered_call_is_open_no_more_though_the_answer_is_on_its_way(
    endpoint: Endpoint, made: list[OpenCall]
) -> None:
    call(endpoint)
    made[0].answer(ToolResult("sunny"))
    assert endpoint.open_calls == 0


async def test_the_tools_are_listed_once_the_list_is_with_the_agent(endpoint: Endpoint) -> None:
    answer = ask(endpoint, "tools/list")
    assert not endpoint.listed.is_set()
    endpoint.sent(answer)
    assert endpoint.listed.is_set()


@pytest.mark.parametrize("method", ["initialize", "ping", "tools/call", "prompts/list"])
async def test_another_answer_lists_nothing(endpoint: Endpoint, method: str) -> None:
    endpoint.sent(ask(endpoint, method))
    assert not endpoint.listed.is_set()


async def test_other_tools_have_to_be_listed_anew(endpoint: Endpoint) -> None:
    endpoint.sent(ask(endpoint, "tools/list"))
    endpoint.offer(ToolSet([CLOCK]))
    assert not endpoint.listed.is_set()
    answer = ask(endpoint, "tools/list")
    assert [tool["name"] for tool in answer["result"]["tools"]] == ["get_time"]
    endpoint.sent(answer)
    assert endpoint.listed.is_set()


async def test_a_list_that_was_on_its_way_is_not_that_of_the_tools_offered_since(endpoint: Endpoint) -> None:
    old = ask(endpoint, "tools/list")
    endpoint.offer(ToolSet([CLOCK]))
    endpoint.sent(old)
    assert not endpoint.listed.is_set()


async def test_every_listener_hears_of_other_tools(endpoint: Endpoint) -> None:
    heard: list[tuple[str, Any]] = []
    endpoint.listen(lambda message: heard.append(("one", message)))
    endpoint.listen(lambda message: heard.append(("two", message)))
    endpoint.offer(ToolSet([CLOCK]))
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    assert sorted(heard, key=lambda pair: pair[0]) == [("one", changed), ("two", changed)]


async def test_a_call_of_a_tool_that_was_offered_before_is_refused(
    endpoint: Endpoint, made: list[OpenCall]
) -> None:
    endpoint.offer(ToolSet([CLOCK]))
    assert ask(endpoint, "tools/call", name="get_weather")["error"]["code"] == -32602
    assert not made


async def test_who_listens_no_more_hears_nothing(endpoint: Endpoint) -> None:
    heard: list[Any] = []
    stop = endpoint.listen(heard.append)
    stop()
    stop()
    endpoint.offer(ToolSet([CLOCK]))
    endpoint.close("over")
    assert not heard


async def test_closing_ends_every_call_and_every_stream(
    endpoint: Endpoint, made: list[OpenCall], lost: list[OpenCall]
) -> None:
    heard: list[Any] = []
    endpoint.listen(heard.append)
    opened = call(endpoint, 1)
    answered = call(endpoint, 2)
    made[1].answer(ToolResult("sunny"))
    endpoint.close("The turn was ended.")
    assert (await response(opened))["error"]["message"] == "The turn was ended."
    assert (await response(answered))["result"]["content"][0]["text"] == "sunny"
    assert heard == [None]
    assert not lost
    assert endpoint.open_calls == 0


async def test_closing_twice_is_closing_once(endpoint: Endpoint, made: list[OpenCall]) -> None:
    del made
    heard: list[Any] = []
    endpoint.listen(heard.append)
    opened = call(endpoint)
    endpoint.close("first")
    endpoint.close("second")
    assert (await response(opened))["error"]["message"] == "first"
    assert heard == [None]


async def test_a_closed_server_takes_no_calls(endpoint: Endpoint, made: list[OpenCall]) -> None:
    endpoint.close("over")
    opened = call(endpoint)
    assert (await response(opened))["result"]["isError"] is True
    assert not made


async def test_who_listens_to_a_closed_server_hears_the_end_at_once(endpoint: Endpoint) -> None:
    endpoint.close("over")
    heard: list[Any] = []
    endpoint.listen(heard.append)()
    assert heard == [None]


async def test_a_waiting_reader_of_a_call_may_go_away_and_come_back(
    endpoint: Endpoint, made: list[OpenCall]
) -> None:
    """A connection that ends takes its reader with it, not the call."""
    opened = call(endpoint)
    reading = asyncio.create_task(told(opened))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert not opened.answered
    made[0].answer(ToolResult("sunny"))
    assert (await response(opened))["result"]["content"][0]["text"] == "sunny"
