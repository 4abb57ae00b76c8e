"""ACP: sessions, turns, cancelling, loading, and what is refused."""

from __future__ import annotations

import base64
import signal
import time
from collections.abc import Callable

import pytest

from tests.unit.demo_agent.driver import Client, Json, Place, wait_until

Start = Callable[..., Client]


def test_initialize_says_exactly_what_the_contract_says(start: Start) -> None:
    assert start().initialize() == {
        "protocolVersion": 1,
        "agentCapabilities": {
            "loadSession": True,
            "mcpCapabilities": {"http": True, "sse": True},
            "promptCapabilities": {"audio": False, "embeddedContext": False, "image": True},
            "sessionCapabilities": {"list": {}},
        },
        "authMethods": [{"id": "cursor_login", "name": "Cursor Login"}],
    }


def test_a_new_session_offers_modes_models_and_options(shared: Client) -> None:
    offered = shared.call("session/new", {"cwd": "/", "mcpServers": []})
    assert [mode["id"] for mode in offered["modes"]["availableModes"]] == ["agent", "plan", "ask"]
    assert offered["models"]["currentModelId"] == "default[]"
    assert [option["id"] for option in offered["configOptions"]] == ["mode", "model"]
    assert offered["configOptions"][1]["currentValue"] == "default[]"


def test_the_commands_are_announced_after_the_session(client: Client) -> None:
    session = client.new_session()
    assert not client.updates
    while not client.updates:
        client.take_one()
    ((owner, update),) = client.updates
    assert (owner, update["sessionUpdate"]) == (session, "available_commands_update")


@pytest.mark.parametrize(
    ("params", "code", "data"),
    [
        ({"cwd": "/"}, -32603, [{"path": ["mcpServers"], "message": "Invalid input"}]),
        ({"mcpServers": []}, -32603, [{"path": ["cwd"], "message": "Invalid input"}]),
        (
            {"cwd": "work", "mcpServers": []},
            -32602,
            {"message": "cwd must be an absolute path: work"},
        ),
    ],
)
def test_a_session_wants_a_directory_and_servers(
    shared: Client, params: Json, code: int, data: object
) -> None:
    error = shared.error("session/new", params)
    assert (error["code"], error["data"]) == (code, data)


def test_a_turn_is_a_thought_and_then_words(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), "what is this?")
    assert turn.stop == "end_turn"
    assert turn.answer["result"] == {"stopReason": "end_turn"}
    kinds = turn.kinds()
    first_word = kinds.index("agent_message_chunk")
    assert set(kinds[:first_word]) == {"agent_thought_chunk"}
    assert kinds[-1] == "session_info_update"
    assert len(turn.chunks()) > 10
    assert turn.text.endswith("You said: what is this?")


def test_a_session_remembers_its_turns_and_no_other(shared: Client) -> None:
    session = shared.new_session()
    shared.turn(session, "my name is Ada")
    assert "my name is Ada" in shared.turn(session, "who am I?").text
    assert "Ada" not in shared.turn(shared.new_session(), "who am I?").text


@pytest.mark.parametrize(
    "question",
    [
        "x" * 2000,
        "two  spaces, a\ttab,\n\n a blank line \n",
        "Error: RetriableError: [resource_exhausted] Error",
        "[[not a directive]] {braces} \\n \u2028 \x00 😀",
        "Ünïcödé 世界 " * 100,
    ],
)
def test_the_question_is_repeated_without_loss(shared: Client, question: str) -> None:
    assert shared.turn(shared.new_session(), question).text.endswith(f" You said: {question}")


def test_of_a_long_question_the_end_is_repeated(shared: Client) -> None:
    question = "a" * 1500 + "b" * 501
    text = shared.turn(shared.new_session(), question).text
    assert text.endswith("… " + "b" * 500)
    assert "ab" not in text


def test_a_long_question_makes_no_paragraph_of_its_own(shared: Client) -> None:
    question = "x" * 3000 + "\n\nError: " + "y" * 493
    assert "\n\nError:" not in shared.turn(shared.new_session(), question).text


def test_a_question_of_ten_megabytes_is_answered(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), "word " * 2_000_000)
    assert "10000000 characters" in turn.text


def test_images_are_counted(shared: Client) -> None:
    data = base64.b64encode(b"x").decode()
    images = [{"type": "image", "mimeType": f"image/{kind}", "data": data} for kind in ("png", "jpeg")]
    link = {"type": "resource_link", "uri": "file:///a.txt", "name": "a.txt"}
    text = shared.turn(shared.new_session(), *images, "look", link).text
    assert "2 images (image/png, image/jpeg)" in text
    assert text.endswith("You said: look\n@file:///a.txt")


def test_sessions_answer_side_by_side(shared: Client) -> None:
    slow, quick = shared.new_session(), shared.new_session()
    waiting = shared.prompt(slow, "[[demo:silent-prompt]]")
    assert shared.turn(quick, "hello").stop == "end_turn"
    shared.notify("session/cancel", {"sessionId": slow})
    assert shared.end_of(waiting, slow).stop == "cancelled"


def test_many_sessions_do_not_mix(shared: Client) -> None:
    sessions = [shared.new_session() for _ in range(20)]
    requests = [
        shared.prompt(session, f"[[demo:markers marker=m{number} count=20 ms=1]]")
        for number, session in enumerate(sessions)
    ]
    for number, (session, request) in enumerate(zip(sessions, requests, strict=True)):
        expected = "".join(f"m{number}-{count} " for count in range(1, 21))
        assert shared.end_of(request, session).text == expected


def test_a_second_prompt_ends_the_first(shared: Client) -> None:
    session = shared.new_session()
    first = shared.prompt(session, "[[demo:silent-prompt]]")
    second = shared.prompt(session, "hello")
    assert shared.end_of(first, session).stop == "cancelled"
    turn = shared.end_of(second, session)
    assert turn.stop == "end_turn"
    assert turn.text.endswith("You said: hello")


def test_a_cancelled_turn_ends_and_its_session_goes_on(shared: Client) -> None:
    session = shared.new_session()
    request = shared.prompt(session, "[[demo:slow-chunks count=10000 ms=5]]")
    shared.wait_for_text(session, "word-2 ")
    shared.notify("session/cancel", {"sessionId": session})
    cancelled = shared.end_of(request, session)
    assert cancelled.stop == "cancelled"
    assert "word-2 " in cancelled.text
    assert shared.turn(session, "hello").stop == "end_turn"


def test_to_cancel_what_does_not_run_is_nothing(shared: Client) -> None:
    session = shared.new_session()
    shared.notify("session/cancel", {"sessionId": session})
    shared.notify("session/cancel", {"sessionId": "unheard-of"})
    assert shared.turn(session, "hello").stop == "end_turn"


@pytest.mark.parametrize("method", ["session/cancel", "session/close", "session/resume", "unheard/of"])
def test_an_unknown_request_is_refused(shared: Client, method: str) -> None:
    assert shared.error(method, {"sessionId": shared.new_session()})["code"] == -32601


@pytest.mark.parametrize(
    "method", ["session/prompt", "session/set_mode", "session/set_model", "session/set_config_option"]
)
def test_an_unknown_session_is_refused(shared: Client, method: str) -> None:
    error = shared.error(method, {"sessionId": "x", "prompt": []})
    assert error["code"] == -32603
    assert error["data"] == {"details": "Session x not found"}


def test_lines_that_are_no_messages_are_passed_over(client: Client) -> None:
    client.write(
        b"\n  \nnonsense\n[1]\n42\n\xff\xfe\n" + b'{"id":7}\n{"id":8,"result":null}\n{"method":"x"}\n'
    )
    client.write(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}\n')
    client.write(b"[" * 200_000 + b"\n")
    assert client.turn(client.new_session(), "hello").stop == "end_turn"
    assert client.noise == []
    assert client.stderr == ""


def test_a_session_is_loaded_with_its_history_by_another_process(start: Start, place: Place) -> None:
    first = start()
    first.initialize()
    session = first.new_session("/tmp")
    answer = first.turn(session, "my name is Ada").text
    assert (place.config / "acp-sessions" / session / "meta.json").exists()
    second = start()
    second.initialize()
    request = second.request("session/load", {"sessionId": session, "cwd": "/tmp", "mcpServers": []})
    loaded = second.end_of(request, session)
    assert loaded.kinds() == ["user_message_chunk", "agent_message_chunk"]
    assert loaded.chunks("user_message_chunk") == ["my name is Ada"]
    assert loaded.text == answer
    assert set(loaded.answer["result"]) == {"modes", "models", "configOptions"}
    assert "my name is Ada" in second.turn(session, "who am I?").text


def test_an_unknown_session_cannot_be_loaded(shared: Client) -> None:
    error = shared.error("session/load", {"sessionId": "../x", "cwd": "/", "mcpServers": []})
    assert error["code"] == -32602
    assert error["data"] == {"message": 'Session "../x" not found'}


def test_sessions_are_listed_from_their_first_prompt_on(client: Client) -> None:
    session = client.new_session("/tmp")
    assert client.call("session/list") == {"sessions": [], "nextCursor": None}
    client.turn(session, "my name is Ada")
    (listed,) = client.call("session/list", {"cwd": "/tmp"})["sessions"]
    assert (listed["sessionId"], listed["cwd"], listed["title"]) == (session, "/tmp", "my name is Ada")
    assert client.call("session/list", {"cwd": "/elsewhere"})["sessions"] == []


def test_a_mode_is_set_either_way(shared: Client) -> None:
    session = shared.new_session()
    assert shared.call("session/set_mode", {"sessionId": session, "modeId": "ask"}) == {}
    option = {"sessionId": session, "configId": "mode", "value": "plan"}
    options = shared.call("session/set_config_option", option)["configOptions"]
    assert options[0]["currentValue"] == "plan"
    for mode in ("agent-2", ["ask"], None):
        assert shared.error("session/set_mode", {"sessionId": session, "modeId": mode})["code"] == -32602


def test_it_ends_when_its_input_ends(client: Client) -> None:
    session = client.new_session()
    client.prompt(session, "[[demo:slow-chunks count=10000]]")
    client.wait_for_text(session, "word-1 ")
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.exit_status() == 0


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(client: Client, signum: int, status: int) -> None:
    client.prompt(client.new_session(), "[[demo:silent-prompt]]")
    client.process.send_signal(signum)
    assert client.exit_status() == status
    wait_until(lambda: client.stderr == "Aborting operation...\n", "the last words")


def test_a_configuration_that_cannot_be_written_fails_the_session(start: Start, place: Place) -> None:
    place.config.parent.mkdir(exist_ok=True)
    place.config.write_text("a file where the directory should be")
    client = start()
    client.initialize()
    error = client.error("session/new", {"cwd": "/", "mcpServers": []})
    assert error["code"] == -32603
    assert error["data"]["details"].startswith("EPERM")
    assert "cli-config.json.tmp" in error["data"]["details"]


def allow(client: Client, reply: Json) -> str:
    """Let the agent ask for a permission, reply, and return the last thing it says."""
    session = client.new_session()
    request = client.prompt(session, "[[demo:ask-permission]]")
    asked = client.asked()
    assert asked["method"] == "session/request_permission"
    client.send({"id": asked["id"], **reply})
    turn = client.end_of(request, session)
    assert turn.stop == "end_turn"
    statuses = [
        (update["status"], "rawOutput" in update)
        for update in turn.updates
        if update["sessionUpdate"] == "tool_call_update"
    ]
    was_run = ("in_progress", False) in statuses
    assert statuses[-1] == ("completed", was_run)
    return turn.chunks()[-1]


def selected(option: object) -> Json:
    return {"result": {"outcome": {"outcome": "selected", "optionId": option}}}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (selected("allow-once"), "allow_once"),
        (selected("allow-always"), "allow_always"),
        (selected("reject-once"), "reject_once"),
        (selected("allow"), "rejected (unknown option)"),
        ({"result": {"outcome": {"outcome": "cancelled"}}}, "cancelled"),
        ({"result": {"outcome": "selected", "optionId": "allow-once"}}, "cancelled"),
        ({"error": {"code": -32601, "message": "Method not found"}}, "cancelled"),
    ],
)
def test_a_permission_is_what_the_reply_says(shared: Client, reply: Json, outcome: str) -> None:
    assert allow(shared, reply) == f"permission: {outcome}"


def test_an_unrestricted_agent_does_not_ask(start: Start, place: Place) -> None:
    place.config.mkdir()
    (place.config / "cli-config.json").write_text('{"version": 1, "approvalMode": "unrestricted"}')
    client = start()
    client.initialize()
    assert client.turn(client.new_session(), "[[demo:ask-permission]]").text.endswith("unrestricted")


def test_force_does_not_stop_the_asking(start: Start) -> None:
    client = start("--force")
    client.initialize()
    client.prompt(client.new_session(), "[[demo:ask-permission]]")
    assert client.asked()["id"] == 0


def test_a_turn_that_asks_can_be_cancelled(shared: Client) -> None:
    session = shared.new_session()
    request = shared.prompt(session, "[[demo:ask-permission]]")
    asked = shared.asked()
    shared.notify("session/cancel", {"sessionId": session})
    assert shared.end_of(request, session).stop == "cancelled"
    shared.send({"id": asked["id"], **selected("allow-once")})
    assert shared.turn(session, "hello").stop == "end_turn"


@pytest.mark.parametrize(
    ("scenario", "method", "result", "said"),
    [
        (
            "ask-question",
            "cursor/ask_question",
            {
                "outcome": {
                    "outcome": "answered",
                    "answers": [{"questionId": "q", "selectedOptionIds": ["b"]}],
                }
            },
            "question: answered b",
        ),
        ("ask-question", "cursor/ask_question", {"outcome": {"outcome": "skipped"}}, "question: skipped"),
        ("ask-question", "cursor/ask_question", {"outcome": "skipped"}, "question: cancelled"),
        ("ask-question", "cursor/ask_question", {}, "question: cancelled"),
        ("create-plan", "cursor/create_plan", {"outcome": {"outcome": "accepted"}}, "plan: accepted"),
        ("create-plan", "cursor/create_plan", {"outcome": {"outcome": "rejected"}}, "plan: rejected"),
        ("create-plan", "cursor/create_plan", {"outcome": "accepted"}, "plan: cancelled"),
        ("todo-request", "cursor/update_todos", {}, "todos: acknowledged"),
    ],
)
def test_a_request_of_cursors_own_waits_for_its_answer(
    shared: Client, scenario: str, method: str, result: Json, said: str
) -> None:
    session = shared.new_session()
    request = shared.prompt(session, f"[[demo:{scenario}]]")
    asked = shared.asked()
    assert asked["method"] == method
    assert "sessionId" not in asked["params"]
    shared.send({"id": asked["id"], "result": result})
    assert shared.end_of(request, session).text == said


@pytest.mark.parametrize("scenario", ["ask-question", "create-plan", "todo-request"])
def test_a_client_that_does_not_know_the_request_breaks_the_turn(shared: Client, scenario: str) -> None:
    session = shared.new_session()
    request = shared.prompt(session, f"[[demo:{scenario}]]")
    refusal = {"code": -32601, "message": "Method not found"}
    shared.send({"id": shared.asked()["id"], "error": refusal})
    turn = shared.end_of(request, session)
    assert turn.text == "\n\nError: RetriableError: WritableIterable is closed"
    assert turn.stop == "end_turn"


def test_no_line_is_mixed_with_another(shared: Client) -> None:
    sessions = [shared.new_session() for _ in range(8)]
    requests = [shared.prompt(session, "[[demo:chunks count=300 bytes=5000]]") for session in sessions]
    for session, request in zip(sessions, requests, strict=True):
        turn = shared.end_of(request, session)
        assert [len(chunk) for chunk in turn.chunks()] == [5000] * 300


def test_the_delays_of_the_environment_are_kept(start: Start) -> None:
    began = time.monotonic()
    client = start(START_MS="50", SESSION_MS="60", FIRST_MS="70", CHUNK_MS="2")
    client.initialize()
    assert time.monotonic() - began >= 0.05
    began = time.monotonic()
    session = client.new_session()
    assert time.monotonic() - began >= 0.06
    began = time.monotonic()
    chunks = client.turn(session, "hello").chunks()
    assert time.monotonic() - began >= 0.07 + 0.002 * (len(chunks) - 1)


def test_a_turn_that_the_system_refuses_something_is_answered_all_the_same(start: Start) -> None:
    client = start(PATH="/nowhere")
    client.initialize()
    answer = client.answer(client.prompt(client.new_session(), "[[demo:grandchild]]"))
    assert answer["error"]["code"] == -32603
