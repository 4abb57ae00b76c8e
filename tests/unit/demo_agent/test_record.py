"""The record: what others wait on."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.unit.demo_agent.driver import Client, Place

Start = Callable[..., Client]


def test_a_start_tells_the_command_line_and_the_names_of_the_environment(place: Place) -> None:
    place.run("--api-key", "k", "models", key=None)
    (event,) = place.events("start")
    assert event["argv"] == ["--api-key", "k", "models"]
    assert event["mode"] == "models"
    assert event["cwd"] == str(place.work)
    assert event["config_dir"] == str(place.config)
    assert event["env"] == sorted(event["env"])
    assert set(place.env(key=None)) <= set(event["env"])
    assert "CURSOR_API_KEY" not in event["env"]
    assert event["pid"] != event["ppid"]


def test_every_kind_of_start_has_its_mode(place: Place) -> None:
    commands = (["acp"], ["-p", "--trust", "hello"], ["--version"], ["whoami"], ["--list-models"], ["--x"])
    for argv in commands:
        place.run(*argv)
    modes = [event["mode"] for event in place.events("start")]
    assert modes == ["acp", "print", "version", "status", "models", "error"]


def test_messages_are_recorded_with_their_text_cut(start: Start, place: Place) -> None:
    client = start()
    client.initialize()
    session = client.new_session()
    client.turn(session, "x" * 5000)
    events = place.events("received")
    assert [event["method"] for event in events] == ["initialize", "session/new", "session/prompt"]
    assert events[2]["session"] == session
    assert events[2]["params"]["prompt"] == [{"type": "text", "text": "x" * 2000}]
    assert events[1]["params"] == {"cwd": "/", "mcpServers": []}
    (prompt,) = place.events("prompt")
    assert (prompt["session"], prompt["text"]) == (session, "x" * 2000)


def test_answers_to_its_own_requests_are_recorded(start: Start, place: Place) -> None:
    client = start()
    client.initialize()
    session = client.new_session()
    for reply in (
        {"result": {"outcome": {"outcome": "skipped"}}},
        {"error": {"code": -32601, "message": "No"}},
    ):
        request = client.prompt(session, "[[demo:ask-question]]")
        client.send({"id": client.asked()["id"], **reply})
        client.end_of(request, session)
    first, second = place.events("answered")
    assert (first["method"], first["result"]) == (
        "cursor/ask_question",
        {"outcome": {"outcome": "skipped"}},
    )
    assert second["error"] == {"code": -32601, "message": "No"}
    assert (first["id"], second["id"]) == (0, 1)


def test_a_cancelled_turn_is_recorded(start: Start, place: Place) -> None:
    client = start()
    client.initialize()
    session = client.new_session()
    request = client.prompt(session, "[[demo:silent-prompt]]")
    client.notify("session/cancel", {"sessionId": session})
    client.end_of(request, session)
    assert [event["session"] for event in place.events("cancelled")] == [session]
    assert [event["stop"] for event in place.wait_for("finished")] == ["cancelled"]


def test_a_turn_that_is_displaced_is_recorded_as_cancelled(start: Start, place: Place) -> None:
    client = start()
    client.initialize()
    session = client.new_session()
    first = client.prompt(session, "[[demo:silent-prompt]]")
    client.prompt(session, "hello")
    assert client.end_of(first, session).stop == "cancelled"
    assert [event["session"] for event in place.events("cancelled")] == [session]


def test_a_turn_of_print_mode_is_recorded_under_its_chat(place: Place) -> None:
    chat = place.ask("hello").result["session_id"]
    (prompt,) = place.events("prompt")
    assert (prompt["session"], prompt["text"]) == (chat, "hello")
    (finished,) = place.events("finished")
    assert (finished["session"], finished["stop"]) == (chat, "end_turn")


def test_every_end_is_recorded(start: Start, place: Place) -> None:
    place.run("--version")
    place.run("--unheard-of")
    place.ask("hello", SCENARIO="crash-before-first-chunk status=7")
    place.ask("hello", SCENARIO="crash-before-first-chunk signal=9")
    client = start()
    client.initialize()
    client.process.send_signal(signal.SIGTERM)
    client.exit_status()
    assert [event["status"] for event in place.events("exit")] == [0, 1, 7, -9, 143]


def test_lines_of_several_processes_do_not_mix(place: Place) -> None:
    processes = [place.start("-p", "--trust", "x" * 2000) for _ in range(6)]
    for process in processes:
        process.communicate(timeout=10)
    assert len(place.events("prompt")) == 6
    assert {event["pid"] for event in place.events("exit")} == {process.pid for process in processes}
