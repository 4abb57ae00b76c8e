"""The MCP servers of a session: which are connected to, when, and how."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tool_scripts import call, final_answer, together, tools_directive
from tests.unit.demo_agent.driver import ROOT, Client, Json, Place
from tests.unit.demo_agent.mcp_server import CLOCK, WEATHER, McpServer, serving

Start = Callable[..., Client]

PARIS = tools_directive(together(call("get_weather", {"city": "Paris"})))
STDIO = {
    "name": "st1",
    "command": sys.executable,
    "args": [str(Path(__file__).parent / "stdio_server.py"), "one two"],
    "env": [{"name": "PIPE_TOKEN", "value": "secret"}],
}


def initialized(start: Start, **switches: str) -> Client:
    """Start a process whose calls are permitted."""
    client = start(**switches)
    client.initialize()
    client.decision = "allow_once"
    return client


@pytest.fixture
def client(start: Start) -> Client:
    return initialized(start)


def sunny(name: str, arguments: Json) -> str:
    return f"sunny in {arguments.get('city')}"


def offered(place: Place) -> list[list[str]]:
    return [event["names"] for event in place.events("mcp-offered")]


def test_a_session_has_its_server_connected_and_listed_when_it_is_there(
    client: Client, place: Place, server: McpServer
) -> None:
    session = client.new_session("/", server.definition())
    # The stream for what the server may want to say is opened beside the rest.
    server.wait_for("GET")
    asked = server.methods()
    assert asked.index("GET") > asked.index("notifications/initialized")
    asked.remove("GET")
    assert asked == ["initialize", "notifications/initialized", "tools/list"]
    (connected,), (listed,) = place.events("mcp-connected"), place.events("mcp-listed")
    assert (connected["session"], connected["server"]) == (session, "ct7k2p")
    assert (connected["transport"], listed["names"]) == ("http", ["get_weather", "get_time"])


def test_requests_carry_the_headers_of_the_definition_and_of_the_protocol(
    client: Client, server: McpServer
) -> None:
    client.new_session("/", server.definition())
    first, *others = server.seen
    assert first["headers"]["accept"] == "application/json, text/event-stream"
    assert "mcp-session-id" not in first["headers"]
    assert {message["headers"]["authorization"] for message in server.seen} == {"Bearer secret"}
    assert {message["headers"]["mcp-session-id"] for message in others} == {"s1"}
    assert {message["headers"]["mcp-protocol-version"] for message in others} == {"2025-11-25"}


def test_a_session_without_servers_has_no_tools(client: Client, place: Place) -> None:
    turn = client.turn(client.new_session(), f"hello {PARIS}")
    assert turn.text == "Results: get_weather failed: There is no tool get_weather.."
    assert offered(place) == []


def test_a_prompt_without_a_directive_is_answered_as_ever(client: Client, server: McpServer) -> None:
    turn = client.turn(client.new_session("/", server.definition()), "hello")
    assert turn.text.endswith("You said: hello")
    assert "tools/call" not in server.methods()


def test_a_loaded_session_has_the_servers_it_is_loaded_with(
    client: Client, place: Place, server: McpServer
) -> None:
    server.automatic = sunny
    session = client.new_session()
    client.turn(session, "hello")
    client.call("session/load", {"sessionId": session, "cwd": "/", "mcpServers": [server.definition()]})
    assert client.turn(session, PARIS).text.endswith(final_answer(("get_weather", "sunny in Paris")))
    assert offered(place) == [["get_weather", "get_time"]]


def test_a_session_has_several_servers(client: Client, server: McpServer) -> None:
    with serving({"name": "other", "inputSchema": {"type": "object"}}) as second:
        server.automatic = second.automatic = lambda name, arguments: name
        session = client.new_session("/", server.definition("a"), second.definition("b"))
        turn = client.turn(session, tools_directive(together(call("other"), call("get_time"))))
    assert turn.text == final_answer(("other", "other"), ("get_time", "get_time"))


def test_sessions_of_one_process_have_their_own_servers(start: Start) -> None:
    client = initialized(start, MCP="ask=never")
    with serving() as first, serving() as second:
        sessions = [client.new_session("/", each.definition()) for each in (first, second)]
        requests = [client.prompt(session, PARIS) for session in sessions]
        second.parked()[0].answer("rain")
        first.parked()[0].answer("snow")
        texts = [
            client.end_of(request, session).text for request, session in zip(requests, sessions, strict=True)
        ]
    assert texts == [final_answer(("get_weather", "snow")), final_answer(("get_weather", "rain"))]


# -- child processes


def test_a_server_may_be_a_child_process_with_little_of_our_environment(client: Client, place: Place) -> None:
    session = client.new_session(str(place.work), STDIO)
    questions = [call("tool_1", {"what": what}) for what in ("env", "args", "cwd")]
    client.turn(session, tools_directive(*map(together, questions)))
    env, args, cwd = (json.loads(event["text"]) for event in place.events("mcp-result"))
    assert args == ["one two"]
    assert cwd == str(place.work)
    assert "PIPE_TOKEN" in env
    assert not {"CURSOR_API_KEY", "DEMO_AGENT_RECORD", "PYTHONPATH"} & set(env)


def test_a_child_process_lists_its_tools_page_by_page(client: Client, place: Place) -> None:
    client.new_session("/", STDIO)
    assert [event["names"] for event in place.events("mcp-listed")] == [["tool_0", "tool_1"]]


def test_a_call_fails_when_the_child_process_dies(client: Client, place: Place) -> None:
    turn = client.turn(
        client.new_session("/", STDIO), tools_directive(together(call("tool_0", {"how": "die"})))
    )
    assert turn.text.startswith("Results: tool_0 failed: MCP error -32000")
    assert [event["reason"] for event in place.events("mcp-lost")] == ["the server is gone"]


# -- servers that are not to be had


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "http", "name": "x", "url": "http://127.0.0.1:1/mcp", "headers": []},
        {"type": "http", "name": "x", "url": "ftp://127.0.0.1/mcp", "headers": []},
        {"type": "http", "name": "x"},
        {"type": "sse", "name": "x", "url": "http://127.0.0.1:1/sse", "headers": []},
        {"name": "x", "command": "/there/is/no/such/program", "args": [], "env": []},
        {"name": "x", "command": sys.executable, "args": ["-c", ""], "env": []},
        {"name": "x"},
    ],
    ids=str,
)
def test_a_server_that_cannot_be_used_is_absent_and_the_session_is_there(
    client: Client, place: Place, definition: Json
) -> None:
    turn = client.turn(client.new_session("/", definition), PARIS)
    assert "There is no tool get_weather" in turn.text
    assert [event["server"] for event in place.events("mcp-failed")] == ["x"]
    assert offered(place) == [[]]


def test_a_server_that_does_not_know_the_path_is_absent(
    client: Client, place: Place, server: McpServer
) -> None:
    server.paths = {"/elsewhere"}
    client.new_session("/", server.definition())
    assert [event["error"] for event in place.events("mcp-failed")] == ["initialize: HTTP 404"]


# -- switches


@pytest.mark.parametrize(
    ("switch", "names"),
    [("both", ["a", "st1"]), ("http", ["a"]), ("stdio", ["st1"]), ("none", [])],
)
def test_servers_of_one_transport_can_be_passed_over(
    start: Start, place: Place, server: McpServer, switch: str, names: list[str]
) -> None:
    client = initialized(start, MCP=f"transport={switch}")
    client.new_session("/", server.definition("a"), STDIO)
    assert sorted(event["server"] for event in place.events("mcp-connected")) == names
    assert bool(server.seen) == ("a" in names)


def test_a_server_may_be_connected_to_at_the_first_prompt(
    start: Start, place: Place, server: McpServer
) -> None:
    client = initialized(start, MCP="connect=prompt")
    session = client.new_session("/", server.definition())
    assert server.seen == []
    for _ in range(2):
        client.turn(session, "hello")
    assert server.methods().count("tools/list") == 1
    assert offered(place) == [["get_weather", "get_time"]] * 2


def test_a_server_may_never_be_connected_to(start: Start, place: Place, server: McpServer) -> None:
    client = initialized(start, MCP="connect=never")
    client.turn(client.new_session("/", server.definition()), "hello")
    assert server.seen == []
    assert offered(place) == [[]]


def test_a_turn_may_not_wait_for_the_server(start: Start, place: Place, server: McpServer) -> None:
    server.listing = threading.Event()
    client = initialized(start, MCP="no-wait")
    session = client.new_session("/", server.definition())
    assert "There is no tool" in client.turn(session, PARIS).text
    server.automatic = sunny
    server.listing.set()
    place.wait_for("mcp-listed")
    assert client.turn(session, PARIS).text == final_answer(("get_weather", "sunny in Paris"))
    assert offered(place) == [[], ["get_weather", "get_time"]]


def test_the_first_turn_may_wait_for_a_server_that_the_session_did_not_wait_for(
    start: Start, place: Place, server: McpServer
) -> None:
    server.listing, server.automatic = threading.Event(), sunny
    client = initialized(start, MCP="connect=background")
    session = client.new_session("/", server.definition())
    request = client.prompt(session, PARIS)
    place.wait_for("prompt")
    assert place.events("mcp-offered") == []
    server.listing.set()
    assert client.end_of(request, session).text == final_answer(("get_weather", "sunny in Paris"))


def test_a_turn_that_waits_for_a_server_is_cancelled(start: Start, place: Place, server: McpServer) -> None:
    server.listing = threading.Event()
    client = initialized(start, MCP="connect=prompt")
    session = client.new_session("/", server.definition())
    request = client.prompt(session, PARIS)
    server.wait_for("tools/list")
    client.notify("session/cancel", {"sessionId": session})
    assert client.end_of(request, session).stop == "cancelled"
    server.listing.set()


def test_tools_are_listed_again_when_they_have_changed(
    client: Client, place: Place, server: McpServer
) -> None:
    server.tools = []
    session = client.new_session("/", server.definition())
    server.tools, server.automatic = [WEATHER], sunny
    server.tell("notifications/tools/list_changed")
    assert place.wait_for("mcp-listed", 2)[1]["names"] == ["get_weather"]
    assert client.turn(session, PARIS).text == final_answer(("get_weather", "sunny in Paris"))


def test_a_change_of_the_tools_may_go_unnoticed(start: Start, place: Place, server: McpServer) -> None:
    client = initialized(start, MCP="ignore-changes")
    session = client.new_session("/", server.definition())
    server.tools = [CLOCK]
    server.tell("notifications/tools/list_changed")
    client.turn(session, "hello")
    assert server.methods().count("tools/list") == 1
    assert offered(place) == [["get_weather", "get_time"]]


def test_a_newer_protocol_may_be_tried_first(start: Start, server: McpServer) -> None:
    client = initialized(start, MCP="discover")
    client.new_session("/", server.definition())
    assert server.methods()[:3] == ["server/discover", "initialize", "notifications/initialized"]
    versions = [message["headers"].get("mcp-protocol-version") for message in server.seen[:3]]
    assert versions == ["2026-07-28", None, "2025-11-25"]


@pytest.mark.parametrize(
    ("path", "reached"),
    [("/t/secret/mcp", "/t/secret/mcp"), ("/t/secret", "/t/secret/mcp"), ("/t/", "/t/mcp")],
)
def test_a_suffix_may_be_appended_to_the_url(
    start: Start, server: McpServer, path: str, reached: str
) -> None:
    client = initialized(start, MCP="append-mcp")
    url = server.url.replace("/t/secret/mcp", path)
    client.new_session("/", server.definition(url=url))
    assert {message["path"] for message in server.seen} == {reached}


def test_leave_may_be_taken_at_the_end_of_the_process(start: Start, server: McpServer) -> None:
    for switch in ("", "delete"):
        client = initialized(start, MCP=switch)
        client.new_session("/", server.definition())
        assert client.process.stdin is not None
        client.process.stdin.close()
        assert client.exit_status() == 0
        assert server.methods().count("DELETE") == (switch == "delete")


def test_sessions_of_one_directory_may_share_their_servers(start: Start) -> None:
    client = initialized(start, MCP="share-directory")
    with serving() as first, serving() as second:
        first.automatic = lambda name, arguments: "the first"
        second.automatic = lambda name, arguments: "the second"
        session = client.new_session("/", first.definition())
        apart = client.new_session("/tmp", first.definition())
        client.new_session("/", second.definition())
        assert client.turn(session, PARIS).text == final_answer(("get_weather", "the second"))
        assert client.turn(apart, PARIS).text == final_answer(("get_weather", "the first"))


def test_a_session_may_fail_with_a_server_that_cannot_be_used(start: Start, server: McpServer) -> None:
    client = initialized(start, MCP="fail-new,append-mcp")
    server.paths = {"/t/secret"}
    url = server.url.removesuffix("/mcp")
    error = client.error("session/new", {"cwd": "/", "mcpServers": [server.definition(url=url)]})
    assert (error["code"], error["data"]) == (-32603, {"details": "Failed to connect to an MCP server"})


# -- the gate


def approve(place: Place, slug: str, *entries: str) -> None:
    directory = place.config / "projects" / slug
    directory.mkdir(parents=True)
    (directory / "mcp-approvals.json").write_text(json.dumps(entries))


def entry(name: str, canonical: str) -> str:
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def test_an_unapproved_server_is_silently_absent(start: Start, place: Place, server: McpServer) -> None:
    client = initialized(start, MCP="gate")
    approve(place, "srv-w-s1", "ct7k2p-0123456789abcdef")
    client.turn(client.new_session("/srv/w.s1", server.definition()), "hello")
    assert server.seen == []
    assert offered(place) == [[]]
    assert [event["server"] for event in place.events("mcp-unapproved")] == ["ct7k2p"]


def test_an_approved_server_passes_the_gate(start: Start, place: Place, server: McpServer) -> None:
    client = initialized(start, MCP="gate")
    approve(
        place,
        "srv-w-s1",
        entry("ct7k2p", '{"path":"/srv/w.s1","server":{"url":"' + server.url + '"}}'),
        entry("st1", '{"path":"/srv/w.s1","server":{"command":"/ä","args":["-x"],"env":{"B":"1","A":"2"}}}'),
    )
    env = [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}]
    child = {"name": "st1", "command": "/ä", "args": ["-x"], "env": env}
    client.new_session("/srv/w.s1", server.definition(), child)
    assert place.events("mcp-unapproved") == []
    assert [event["server"] for event in place.events("mcp-connected")] == ["ct7k2p"]
    assert [event["server"] for event in place.events("mcp-failed")] == ["st1"]


# -- the switches themselves


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("hurry", "DEMO_AGENT_MCP has an unknown switch: hurry"),
        ("no-wait=1", "DEMO_AGENT_MCP has an unknown switch: no-wait=1"),
        ("limit", "DEMO_AGENT_MCP has an unknown switch: limit"),
        ("limit=soon", "DEMO_AGENT_MCP: limit is not a number: soon"),
        ("drop=soon", "DEMO_AGENT_MCP: drop is not a number: soon"),
        ("calls=twice", "DEMO_AGENT_MCP: calls is none of together, serial, readers: twice"),
    ],
)
def test_a_wrong_switch_is_named(place: Place, words: str, complaint: str) -> None:
    finished = place.run("acp", MCP=words)
    assert (finished.status, finished.stderr) == (2, f"{complaint}\n")


def test_http_is_not_loaded_before_there_is_a_server() -> None:
    program = "import sys, cursorpipe_core.demo_agent.__main__; print(*sys.modules, sep='\\n')"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert "http.client" not in modules
