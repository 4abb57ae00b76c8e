"""The calls of a turn: what the client is shown and asked, and what the server sees."""

from __future__ import annotations

import signal

import pytest

from tests.tool_habits import AGENTS, WAYS
from tests.tool_scripts import call, final_answer, together, tools_directive
from tests.unit.demo_agent.driver import Place, wait_until
from tests.unit.demo_agent.mcp_server import CLOCK, WEATHER, McpServer
from tests.unit.demo_agent.talk import BOTH, CONVERSATION, END, PARIS, TWO, Open, know


@pytest.mark.parametrize("switches", [*AGENTS.values(), *WAYS])
def test_a_conversation_has_the_same_end_under_every_switch(
    talk: Open, place: Place, server: McpServer, switches: str
) -> None:
    server.automatic = know
    opened = talk(switches)
    if "no-wait" in switches:
        place.wait_for("mcp-listed")
    turn = opened.turn(CONVERSATION)
    assert turn.text == f"Let me look. Now the time. {END}"
    assert [parked.name for parked in server.parked(4)] == ["get_weather"] * 2 + ["get_time", "get_weather"]
    kinds = [event["event"] for event in place.events("mcp-listed") + place.events("mcp-offered")]
    assert kinds == ["mcp-listed", "mcp-offered"]


@pytest.mark.parametrize("streams", [True, False])
def test_calls_are_parked_until_they_are_answered_in_any_order(
    talk: Open, server: McpServer, streams: bool
) -> None:
    server.streams = streams
    opened = talk("ask=never")
    request = opened.begin(TWO)
    paris, rome = server.parked(2)
    rome.answer("rain")
    paris.answer("sunny")
    assert opened.end(request).text == BOTH
    assert (paris.arguments, rome.arguments) == ({"city": "Paris"}, {"city": "Rome"})


def test_calls_and_results_are_recorded(talk: Open, place: Place, server: McpServer) -> None:
    opened = talk("ask=never")
    request = opened.begin(tools_directive(together(PARIS)))
    (paris,) = server.parked()
    assert place.events("mcp-result") == []
    paris.answer("sunny")
    opened.end(request)
    (begun,), (ended,) = place.events("mcp-call"), place.events("mcp-result")
    assert (begun["name"], begun["arguments"]) == ("get_weather", {"city": "Paris"})
    assert (ended["name"], ended["text"], ended["isError"]) == ("get_weather", "sunny", False)
    assert ended["seconds"] >= 0
    assert {begun["session"], ended["session"]} == {opened.session}


# -- what the client is shown and asked


def test_cursor_shows_calls_without_a_name(talk: Open, server: McpServer) -> None:
    server.automatic = know
    opened = talk("")
    turn = opened.turn(tools_directive(together(PARIS)))
    announced, running, completed = turn.updates[:3]
    (permission,) = opened.client.permissions
    nameless = {"title": "MCP: tool", "kind": "other", "status": "pending", "rawInput": {}}
    identity = announced["toolCallId"]
    assert announced == {"sessionUpdate": "tool_call", "toolCallId": identity, **nameless}
    assert permission["toolCall"] == {"toolCallId": identity, **nameless}
    assert [option["kind"] for option in permission["options"]] == [
        *("allow_once", "allow_always", "reject_once")
    ]
    assert "\n" in identity
    for update, status in ((running, "in_progress"), (completed, "completed")):
        assert update == {"sessionUpdate": "tool_call_update", "toolCallId": identity, "status": status}


SHOWN: dict[str, tuple[str | None, str | None]] = {
    "cursor": ("MCP: tool", "MCP: tool"),
    "claude": ("mcp__ct7k2p__get_weather", "mcp__ct7k2p__get_weather"),
    "codex": ("mcp.ct7k2p.get_weather", None),
    "copilot": ("ct7k2p-get_weather", "get_weather"),
    "gemini": ("get_weather (ct7k2p MCP Server)", "get_weather (ct7k2p MCP Server)"),
    "opencode": ("ct7k2p_get_weather", "ct7k2p_get_weather"),
}


@pytest.mark.parametrize("shape", SHOWN)
def test_each_agent_has_its_own_titles(talk: Open, server: McpServer, shape: str) -> None:
    server.automatic = know
    opened = talk(f"shape={shape}")
    turn = opened.turn(tools_directive(together(PARIS)))
    (announced,) = (update for update in turn.updates if update["sessionUpdate"] == "tool_call")
    (permission,) = opened.client.permissions
    assert (announced["title"], permission["toolCall"].get("title")) == SHOWN[shape]
    assert announced["toolCallId"] == permission["toolCall"]["toolCallId"]
    if shape not in {"cursor", "codex"}:
        assert announced["rawInput"] == {"city": "Paris"}


def test_codex_marks_calls_and_questions(talk: Open, server: McpServer) -> None:
    server.automatic = know
    opened = talk("shape=codex")
    turn = opened.turn(tools_directive(together(PARIS)))
    (permission,) = opened.client.permissions
    identity = turn.updates[0]["toolCallId"]
    assert turn.updates[0]["_meta"] == {"is_mcp_tool_call": True}
    raw_input = turn.updates[0]["rawInput"]
    assert raw_input == {"server": "ct7k2p", "tool": "get_weather", "arguments": {"city": "Paris"}}
    assert permission["toolCall"] == {"toolCallId": identity}
    assert permission["_meta"] == {"is_mcp_tool_approval": True}


@pytest.mark.parametrize(
    ("shape", "member"), [("claude", "claudecode/toolUseId"), ("codex", "callId"), ("cursor", None)]
)
def test_some_agents_tell_the_server_which_call_it_is(
    talk: Open, server: McpServer, shape: str, member: str | None
) -> None:
    server.automatic = know
    turn = talk(f"shape={shape}").turn(tools_directive(together(PARIS)))
    meta = server.parked()[0].meta
    assert meta.pop("progressToken") == server.parked()[0].id
    assert meta == ({} if member is None else {member: turn.updates[0]["toolCallId"]})


def test_all_calls_of_a_round_are_announced_before_the_first_is_made(talk: Open, server: McpServer) -> None:
    opened = talk("calls=serial,ask=never,shape=claude")
    request = opened.begin(TWO)
    (paris,) = server.parked()
    opened.client.wait_for_update(opened.session, "tool_call_update")
    inputs = [update["rawInput"] for update in opened.updates() if update["sessionUpdate"] == "tool_call"]
    assert inputs == [{"city": "Paris"}, {"city": "Rome"}]
    paris.answer("sunny")
    server.parked(2)[1].answer("rain")
    assert opened.end(request).text == BOTH


def test_the_running_call_alone_may_be_announced(talk: Open, server: McpServer) -> None:
    opened = talk("calls=serial,ask=never,shape=claude,announce=running")
    request = opened.begin(TWO)
    server.parked()[0].answer("sunny")
    server.parked(2)[1].answer("rain")
    kinds = [kind for kind in opened.end(request).kinds() if kind.startswith("tool")]
    assert kinds == ["tool_call", "tool_call_update", "tool_call_update"] * 2


def test_calls_may_not_be_shown_at_all(talk: Open, server: McpServer) -> None:
    server.automatic = know
    turn = talk("announce=none,ask=never").turn(TWO)
    assert not [kind for kind in turn.kinds() if kind.startswith("tool")]


def test_a_refused_call_fails_without_being_made(talk: Open, place: Place, server: McpServer) -> None:
    opened = talk("")
    opened.client.decision = "reject_once"
    turn = opened.turn(tools_directive(together(PARIS)))
    assert turn.text == "Results: get_weather failed: The user has rejected this call.."
    assert [update.get("status") for update in turn.updates[:2]] == ["pending", "completed"]
    assert [event["name"] for event in place.events("mcp-rejected")] == ["get_weather"]
    assert "tools/call" not in server.methods()


def test_nobody_is_asked_where_everything_is_allowed(talk: Open, place: Place, server: McpServer) -> None:
    server.automatic = know
    place.config.mkdir()
    (place.config / "cli-config.json").write_text('{"approvalMode": "unrestricted"}')
    opened = talk("")
    opened.turn(TWO)
    assert opened.client.permissions == []


def test_only_what_writes_may_be_asked_for(talk: Open, server: McpServer) -> None:
    server.automatic = know
    server.tools = [WEATHER, {**CLOCK, "annotations": {"readOnlyHint": True}}]
    opened = talk("ask=writers,shape=claude")
    opened.turn(tools_directive(together(PARIS, call("get_time"))))
    (permission,) = opened.client.permissions
    assert permission["toolCall"]["title"] == "mcp__ct7k2p__get_weather"


def test_text_may_come_behind_the_call_that_it_introduces(talk: Open, server: McpServer) -> None:
    opened = talk("late-text=0,ask=never")
    turn = opened.begin(tools_directive(together(PARIS, say="Let me look.")))
    (paris,) = server.parked()
    opened.client.wait_for_text(opened.session, "look.")
    opened.client.wait_for_update(opened.session, "tool_call")
    paris.answer("sunny")
    assert opened.end(turn).text == f"Let me look.{final_answer(('get_weather', 'sunny'))}"


def test_text_that_is_held_back_waits_for_the_call(talk: Open, server: McpServer) -> None:
    opened = talk("late-text=600000,ask=never")
    request = opened.begin(tools_directive(together(PARIS, say="Let me look.")))
    (paris,) = server.parked()
    assert opened.updates() == []
    opened.client.notify("session/cancel", {"sessionId": opened.session})
    turn = opened.end(request)
    assert (turn.stop, turn.updates) == ("cancelled", [])
    assert server.wait_for("notifications/cancelled")[0]["params"]["requestId"] == paris.id


def test_tools_may_be_looked_for_before_the_first_call(talk: Open, server: McpServer) -> None:
    server.automatic = know
    turn = talk("deferred").turn(CONVERSATION)
    searches = [update for update in turn.updates if update.get("kind") == "search"]
    assert [update["title"] for update in searches] == ["Search tools"]
    assert turn.updates[0] == searches[0]


def test_a_model_may_know_only_the_tools_that_the_prompt_names(talk: Open, server: McpServer) -> None:
    server.automatic = know
    opened = talk("by-name")
    plan = tools_directive(together(PARIS, call("get_time")))
    assert opened.turn(f"You have get_time. {plan}").text == (
        "Results: get_weather failed: There is no tool get_weather.; get_time -> noon."
    )


# -- one after another


@pytest.mark.parametrize(
    ("calls", "read_only", "together"),
    [("serial", True, False), ("readers", False, False), ("readers", True, True), ("together", False, True)],
)
def test_calls_are_made_together_or_one_after_another(
    talk: Open, server: McpServer, calls: str, read_only: bool, together: bool
) -> None:
    server.tools = [{**WEATHER, "annotations": {"readOnlyHint": read_only}}]
    opened = talk(f"ask=never,calls={calls},announce=running")
    request = opened.begin(TWO)
    if together:
        server.parked(2)[1].answer("rain")
        server.parked(2)[0].answer("sunny")
    else:
        server.parked()[0].answer("sunny")
        server.parked(2)[1].answer("rain")
    turn = opened.end(request)
    first_three = [kind for kind in turn.kinds() if kind.startswith("tool")][:3]
    assert turn.text == BOTH
    assert (first_three == ["tool_call", "tool_call", "tool_call_update"]) == together


# -- limits


@pytest.mark.parametrize("streams", [True, False])
def test_a_call_has_a_limit_whatever_the_server_sends(
    talk: Open, place: Place, server: McpServer, streams: bool
) -> None:
    server.streams = server.progress = streams
    turn = talk("ask=never,limit=0.05").turn(tools_directive(together(PARIS)))
    assert turn.text == "Results: get_weather failed: MCP error -32001: Request timed out."
    (parked,) = server.parked()
    assert server.wait_for("notifications/cancelled")[0]["params"]["requestId"] == parked.id
    assert [event["isError"] for event in place.events("mcp-result")] == [True]


def test_a_connection_may_be_closed_at_the_limit(talk: Open, server: McpServer) -> None:
    talk("ask=never,limit=0.05,at-limit=close").turn(tools_directive(together(PARIS)))
    wait_until(server.parked()[0].lost.is_set, "the loss of the connection")
    assert "notifications/cancelled" not in server.methods()


@pytest.mark.parametrize("streams", [True, False])
def test_silence_has_a_limit(talk: Open, server: McpServer, streams: bool) -> None:
    server.streams = streams
    turn = talk("ask=never,idle-limit=0.05").turn(tools_directive(together(PARIS)))
    assert turn.text == "Results: get_weather failed: MCP error -32001: Request timed out."


def test_progress_keeps_a_call_alive(talk: Open, place: Place, server: McpServer) -> None:
    server.progress = True
    opened = talk("ask=never,idle-limit=1")
    request = opened.begin(tools_directive(together(PARIS)))
    (parked,) = server.parked()
    wait_until(lambda: parked.told > 250, "progress beyond the limit")
    parked.answer("sunny")
    assert opened.end(request).text == final_answer(("get_weather", "sunny"))
    assert place.events("mcp-result")[0]["seconds"] > 1


def test_a_call_without_a_token_has_no_progress(talk: Open, server: McpServer) -> None:
    server.automatic = know
    talk("no-token").turn(tools_directive(together(PARIS)))
    assert server.parked()[0].meta == {}


def test_an_argument_of_the_agents_own_may_be_added(talk: Open, server: McpServer) -> None:
    server.automatic = know
    talk("extra-argument").turn(tools_directive(together(PARIS)))
    assert server.parked()[0].arguments == {"city": "Paris", "wait_for_previous": True}


# -- endings


def test_a_cancelled_turn_tells_the_server_before_it_ends(
    talk: Open, place: Place, server: McpServer
) -> None:
    opened = talk("ask=never")
    request = opened.begin(TWO)
    parked = server.parked(2)
    opened.client.notify("session/cancel", {"sessionId": opened.session})
    assert opened.end(request).stop == "cancelled"
    told = [message["params"]["requestId"] for message in server.of("notifications/cancelled")]
    assert sorted(told) == [call.id for call in parked]
    assert len(place.events("mcp-cancelled")) == 2
    assert opened.turn("hello").stop == "end_turn"


@pytest.mark.parametrize("how", ["close", "silence"])
def test_a_cancelled_turn_may_tell_the_server_nothing(talk: Open, server: McpServer, how: str) -> None:
    opened = talk(f"ask=never,cancel={how}")
    request = opened.begin(tools_directive(together(PARIS)))
    (paris,) = server.parked()
    opened.client.notify("session/cancel", {"sessionId": opened.session})
    assert opened.end(request).stop == "cancelled"
    if how == "close":
        wait_until(paris.lost.is_set, "the loss of the connection")
    else:
        paris.answer("too late")
        assert opened.turn("hello").text.endswith("You said: hello")
        assert not paris.lost.is_set()
    assert "notifications/cancelled" not in server.methods()


def test_a_turn_that_waits_for_a_permission_is_cancelled(talk: Open, server: McpServer) -> None:
    opened = talk("")
    opened.client.decision = ""
    request = opened.begin(TWO)
    opened.client.asked()
    opened.client.asked()
    opened.client.notify("session/cancel", {"sessionId": opened.session})
    assert opened.end(request).stop == "cancelled"
    assert "tools/call" not in server.methods()


def test_calls_that_were_answered_may_be_cancelled(talk: Open, server: McpServer) -> None:
    server.automatic = know
    assert talk("cancel-answered").turn(CONVERSATION).text.endswith(END)
    told = [message["params"]["requestId"] for message in server.of("notifications/cancelled")]
    assert sorted(told) == [call.id for call in server.parked(4)]


@pytest.mark.parametrize("moment", ["20", "usr1"])
def test_a_call_may_lose_its_connection(talk: Open, place: Place, server: McpServer, moment: str) -> None:
    opened = talk(f"ask=never,drop={moment}")
    request = opened.begin(TWO)
    parked = server.parked(2)
    if moment == "usr1":
        opened.client.process.send_signal(signal.SIGUSR1)
    text = opened.end(request).text
    assert text.startswith("Results: get_weather failed: MCP error -32000")
    for call_ in parked:
        wait_until(call_.lost.is_set, "the loss of the connection")
    assert len(place.events("mcp-lost")) == 2


def test_a_turn_may_hang_when_a_call_has_lost_its_connection(
    talk: Open, place: Place, server: McpServer
) -> None:
    opened = talk("ask=never,drop=0,hang-when-lost")
    request = opened.begin(tools_directive(together(PARIS)))
    place.wait_for("mcp-result")
    assert place.events("finished") == []
    opened.client.notify("session/cancel", {"sessionId": opened.session})
    assert opened.end(request).stop == "cancelled"


@pytest.mark.parametrize("moment", ["20", "usr1"])
def test_an_agent_may_die_while_a_call_is_parked(talk: Open, server: McpServer, moment: str) -> None:
    opened = talk(f"ask=never,die={moment}")
    opened.begin(tools_directive(together(PARIS)))
    (paris,) = server.parked()
    if moment == "usr1":
        opened.client.process.send_signal(signal.SIGUSR1)
    assert opened.client.exit_status() == -signal.SIGKILL
    wait_until(paris.lost.is_set, "the loss of the connection")


def test_many_sessions_call_side_by_side(talk: Open, server: McpServer) -> None:
    opened = talk("ask=never")
    client = opened.client
    sessions = [client.new_session("/", server.definition()) for _ in range(10)]
    requests = [
        client.prompt(session, tools_directive(together(call("get_weather", {"city": str(number)}))))
        for number, session in enumerate(sessions)
    ]
    for parked in server.parked(10):
        parked.answer(know(parked.name, parked.arguments))
    for number, (session, request) in enumerate(zip(sessions, requests, strict=True)):
        assert client.end_of(request, session).text == final_answer(("get_weather", f"sunny in {number}"))
