"""Every scenario of the table, in both modes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from cursorpipe_core.demo_agent.scenarios import SCENARIOS
from cursorpipe_core.demo_agent.script import TALK
from tests.unit.demo_agent.driver import Client, Finished, Place, end, finish, wait_until

Start = Callable[..., Client]

USAGE = (
    "ActionRequiredError: You've reached your usage limit. "
    "Upgrade your plan or set a spend limit to continue."
)
BLOCKED = (
    "ActionRequiredError: Model Blocked This model is blocked for your team. "
    "Choose another one or ask your admin to enable it."
)
NOT_FOUND = 'I: AI Model Not Found Model name is not valid: "demo-model"'
NOTICE = """Error: You've hit your usage limit
Get Cursor Pro for more Agent usage, unlimited Tab, and more.
fallbackModel:
spendLimitHit: false
chatMessage: *You've hit your free requests limit. Upgrade to continue.*
spendLimits: [50,100,200]"""
LOST = "Connection lost to https://agentn.global.api5.cursor.sh attempts 1-3 failed"
NO_NAME = "[unavailable] getaddrinfo EAI_AGAIN api2.cursor.sh"

#: The texts of the contract: the paragraph of an ACP answer, and what print mode says on stderr.
FAILURES = {
    "resource-exhausted": (
        "Error: RetriableError: [resource_exhausted] Error",
        "RetriableError: [resource_exhausted] Error",
    ),
    "unavailable": (
        "Error: ConnectError: [unavailable] read ECONNRESET api2.cursor.sh",
        "ConnectError: [unavailable] read ECONNRESET api2.cursor.sh",
    ),
    "non-retriable": (
        "Error: NonRetriableError: [invalid_argument] Error",
        "NonRetriableError: [invalid_argument] Error",
    ),
    "usage-limit": (f"Error: {USAGE}", USAGE),
    "usage-limit-notice": (NOTICE, NOTICE),
    "model-blocked": (f"Error: {BLOCKED}", BLOCKED),
    "model-not-found": (f"Error: {NOT_FOUND}", NOT_FOUND),
    "minified-s": ("Error: S: [resource_exhausted] Error", "S: [resource_exhausted] Error"),
    "minified-t": ("Error: T: [unavailable] Error", "T: [unavailable] Error"),
    "minified-i": (f"Error: {NOT_FOUND}", NOT_FOUND),
    "writable-closed": (
        "Error: RetriableError: WritableIterable is closed",
        "RetriableError: WritableIterable is closed",
    ),
    "dns-failure": (f"Error: ConnectError: {NO_NAME}", f"Error: {NO_NAME}"),
    "connection-lost": (f"Error: ConnectError: [unavailable] {LOST}", LOST),
    "capacity": (
        "Error: RetriableError: [resource_exhausted] Error",
        "RetriableError: [resource_exhausted] Error",
    ),
    "plan-limit": (f"Error: {USAGE}", USAGE),
}

#: What a directive for the rest of the table brings a turn of ACP to: its stop reason, the code of an
#: error, or the end of the process by this status.
ENDS: dict[str, str | int | tuple[str, int]] = {
    **dict.fromkeys(FAILURES, "end_turn"),
    **dict.fromkeys(["invalid-key", "unknown-model", "keychain-locked", "trust-required"], "end_turn"),
    "not-logged-in": -32000,
    **dict.fromkeys(
        ["crash-at-start", "crash-before-initialize", "crash-before-first-chunk", "crash-mid-stream"],
        ("exit", 1),
    ),
    **dict.fromkeys(
        ["silent-initialize", "silent-session", "silent-prompt", "linger", "late-chunks"], "cancelled"
    ),
    "deaf": ("exit", 143),
    "ignore-sigterm": ("exit", -signal.SIGKILL),
    "grandchild": ("exit", 0),
    **dict.fromkeys(
        [
            *(
                "answer",
                "slow-start",
                "no-models",
                "other-protocol",
                "slow-session",
                "session-fails-once",
                "no-modes",
            ),
            *("ignore-cancel", "stderr-flood", "huge-line", "garbage", "slow-chunks", "chunks"),
            *("markers", "thoughts", "tool", "duplicate-tool-call", "ask-permission", "ask-question"),
            *("create-plan", "todo-request", "unicode", "empty", "talks-about-error", "echo"),
            *("usage", "model-refused", "json", "tools"),
        ],
        "end_turn",
    ),
}

#: Parameters that keep a scenario short.
SHORT = {
    "slow-start": "ms=1",
    "slow-session": "ms=1",
    "ignore-cancel": "count=3 ms=1",
    "slow-chunks": "count=3 ms=1",
    "huge-line": "bytes=100000",
    "grandchild": "seconds=5",
}


def directive(name: str, parameters: str = "") -> str:
    return f"[[demo:{name} {parameters or SHORT.get(name, '')}]]"


def test_every_scenario_is_known_to_these_tests() -> None:
    assert set(ENDS) == set(SCENARIOS)


def play(client: Client, session: str, name: str) -> int:
    """Begin a turn and do what it wants in order to end."""
    request = client.prompt(session, f"hello {directive(name)}")
    if name in {"ask-permission", "ask-question", "create-plan", "todo-request"}:
        client.send({"id": client.asked()["id"], "result": {}})
    elif ENDS[name] == "cancelled":
        client.notify("session/cancel", {"sessionId": session})
    return request


@pytest.mark.parametrize("name", sorted(name for name, end in ENDS.items() if not isinstance(end, tuple)))
def test_a_directive_brings_its_turn_to_an_end(shared: Client, name: str) -> None:
    session = shared.new_session()
    answer = shared.end_of(play(shared, session, name), session).answer
    expected = ENDS[name]
    if isinstance(expected, int):
        assert answer["error"]["code"] == expected
    else:
        assert answer["result"] == {"stopReason": expected}
    # Whatever it was, it befell that turn alone.
    assert shared.turn(shared.new_session(), "hello").text.endswith("You said: hello")


@pytest.mark.parametrize("name", sorted(name for name, end in ENDS.items() if isinstance(end, tuple)))
def test_a_directive_brings_its_process_to_an_end(client: Client, place: Place, name: str) -> None:
    client.prompt(client.new_session(), directive(name))
    place.wait_for("prompt")
    expected = ENDS[name]
    assert isinstance(expected, tuple)
    if not name.startswith("crash"):
        assert client.process.stdin is not None
        client.process.stdin.close()
    if name in {"deaf", "ignore-sigterm"}:
        stays_alive(client)
        client.process.terminate()
    if name == "ignore-sigterm":
        stays_alive(client)
        client.process.kill()
    assert client.exit_status() == expected[1]


def stays_alive(client: Client) -> None:
    """Check that the process outlives the time in which others end; time is the subject here."""
    time.sleep(0.15)
    assert client.process.poll() is None


# -- failures of the backend


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_failure_is_text_over_acp(shared: Client, name: str) -> None:
    turn = shared.turn(shared.new_session(), directive(name))
    assert turn.chunks() == [f"\n\n{FAILURES[name][0]}"]
    assert turn.stop == "end_turn"


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_failure_may_come_in_pieces_behind_a_part_of_an_answer(shared: Client, name: str) -> None:
    turn = shared.turn(shared.new_session(), directive(name, "partial=Well, split=1"))
    assert turn.chunks()[0] == "Well,"
    assert turn.text == f"Well,\n\n{FAILURES[name][0]}"
    assert all(len(chunk) <= 3 for chunk in turn.chunks()[1:])


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_failure_is_a_complaint_and_a_status_in_print_mode(place: Place, name: str) -> None:
    finished = place.ask(directive(name, "partial=Well,"))
    assert finished.status == 1
    assert finished.stderr == f"{FAILURES[name][1]}\n"
    assert [event["message"]["content"][0]["text"] for event in finished.of_type("assistant")] == ["Well,"]
    assert not finished.of_type("result")


def test_a_failure_names_the_model_that_is_asked_for(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("model-not-found", "model=gpt-9"))
    assert turn.text == '\n\nError: I: AI Model Not Found Model name is not valid: "gpt-9"'


def test_a_failure_is_not_remembered(shared: Client) -> None:
    session = shared.new_session()
    shared.turn(session, f"secret {directive('capacity')}")
    assert "secret" not in shared.turn(session, "hello").text


REFUSALS = {
    "not-logged-in": "Error: Authentication required. Please run 'agent login' first, "
    "or set CURSOR_API_KEY environment variable.",
    "invalid-key": "⚠ Warning: The provided API key is invalid.",
    "unknown-model": "Cannot use this model: demo-model. Available models: auto, ",
    "keychain-locked": "Your macOS login keychain is locked.",
    "trust-required": "⚠ Workspace Trust Required",
}


@pytest.mark.parametrize("name", sorted(REFUSALS))
@pytest.mark.parametrize("by", ["environment", "directive"])
def test_print_mode_refuses_in_the_words_of_the_contract(place: Place, name: str, by: str) -> None:
    finished = place.ask("hello", SCENARIO=name) if by == "environment" else place.ask(directive(name))
    assert finished.status == 1
    assert finished.stderr.startswith(REFUSALS[name])
    assert not finished.of_type("result")
    if by == "environment":
        assert finished.stdout == ""


@pytest.mark.parametrize("name", ["invalid-key", "unknown-model", "keychain-locked"])
def test_acp_refuses_to_start_in_the_words_of_the_contract(place: Place, name: str) -> None:
    finished = place.run("acp", SCENARIO=name)
    assert (finished.status, finished.stdout) == (1, "")
    assert finished.stderr.startswith(REFUSALS[name])


# -- crashes and silence


@pytest.mark.parametrize("how", ["status=7", "signal=9"])
def test_a_crash_at_the_start_befalls_every_command(place: Place, how: str) -> None:
    status = 7 if how == "status=7" else -9
    for argv in (("acp",), ("--version",), ("models",), ("-p", "--trust", "hello")):
        finished = place.run(*argv, SCENARIO=f"crash-at-start {how} stderr=Ouch")
        assert (finished.status, finished.stdout, finished.stderr) == (status, "", "Ouch\n")


def test_a_crash_may_wait_for_the_first_message(start: Start) -> None:
    client = start(SCENARIO="crash-before-initialize status=3")
    client.request("initialize", {"protocolVersion": 1})
    assert client.exit_status() == 3


@pytest.mark.parametrize("how", ["status=4", "signal=9", "signal=6"])
@pytest.mark.parametrize("name", ["crash-before-first-chunk", "crash-mid-stream"])
def test_a_crash_in_a_turn_ends_the_process(client: Client, name: str, how: str) -> None:
    session = client.new_session()
    client.prompt(session, directive(name, how))
    if name == "crash-mid-stream":
        client.wait_for_text(session, "I was just about to tell you ")
    assert client.exit_status() == (4 if how == "status=4" else -int(how[-1]))


def test_a_crash_in_print_mode_leaves_a_stream_without_result(place: Place) -> None:
    finished = place.ask(directive("crash-mid-stream", "status=5"))
    assert finished.status == 5
    assert finished.of_type("assistant")
    assert not finished.of_type("result")
    assert not place.ask(directive("crash-before-first-chunk")).of_type("assistant")
    assert place.ask("hello", SCENARIO="crash-before-initialize").stdout == ""


@pytest.mark.parametrize(
    ("name", "answered"), [("silent-initialize", []), ("silent-session", ["initialize"])]
)
def test_silence_has_its_place_over_acp(start: Start, name: str, answered: list[str]) -> None:
    client = start(SCENARIO=name)
    requests = [
        client.request("initialize", {"protocolVersion": 1}),
        client.request("session/new", {"cwd": "/", "mcpServers": []}),
    ]
    for _ in answered:
        client.answer(requests.pop(0))
    assert client.error("unheard/of")["code"] == -32601
    assert requests[0] not in client._answers


@pytest.mark.parametrize("name", ["silent-initialize", "silent-session", "silent-prompt", "deaf"])
def test_silence_in_print_mode_lasts_until_a_signal(place: Place, name: str) -> None:
    process = place.start("-p", "--trust", "--output-format", "stream-json", "hello", SCENARIO=name)
    try:
        place.wait_for("start")
        if name in {"silent-prompt", "deaf"}:
            place.wait_for("prompt")
        with pytest.raises(Exception, match="timed out"):
            process.wait(0.15)
        process.kill()
    finally:
        finished = finish(process)
    kinds = [event["type"] for event in finished.events]
    assert kinds == (["system", "user"] if name in {"silent-prompt", "deaf"} else [])


def test_a_deaf_process_reads_nothing_from_the_start(start: Start, place: Place) -> None:
    client = start(SCENARIO="deaf at=start")
    assert client.process.stdin is not None
    descriptor = client.process.stdin.fileno()
    os.set_blocking(descriptor, False)
    written = 0
    with contextlib.suppress(BlockingIOError):
        while written < 10_000_000:
            written += os.write(descriptor, b'{"id":1,"method":"initialize","params":{}}\n' * 100)
    assert written < 1_000_000
    place.wait_for("start")
    client.process.terminate()
    assert client.exit_status() == 143


def test_a_deaf_process_lets_other_turns_finish(client: Client) -> None:
    talking, deaf = client.new_session(), client.new_session()
    request = client.prompt(talking, directive("slow-chunks", "count=20 ms=10"))
    client.wait_for_text(talking, "word-1 ")
    client.prompt(deaf, directive("deaf"))
    assert client.end_of(request, talking).stop == "end_turn"


def test_a_stubborn_process_ends_only_by_kill(start: Start, place: Place) -> None:
    client = start(SCENARIO="ignore-sigterm")
    client.initialize()
    assert client.turn(client.new_session(), "hello").stop == "end_turn"
    client.process.terminate()
    assert client.process.stdin is not None
    client.process.stdin.close()
    stays_alive(client)
    client.process.kill()
    assert client.exit_status() == -9
    assert not place.events("exit")


def test_a_stubborn_process_keeps_running_after_its_result(place: Place) -> None:
    process = place.start("-p", "--trust", "--output-format", "json", directive("ignore-sigterm"))
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "result"
        process.terminate()
        with pytest.raises(Exception, match="timed out"):
            process.wait(0.15)
    finally:
        end(process)


def test_a_cancel_can_be_ignored(shared: Client) -> None:
    session = shared.new_session()
    request = shared.prompt(session, directive("ignore-cancel", "count=30 ms=2"))
    shared.wait_for_text(session, "word-1 ")
    shared.notify("session/cancel", {"sessionId": session})
    turn = shared.end_of(request, session)
    assert turn.stop == "end_turn"
    assert turn.text.endswith("word-30 ")


@pytest.mark.parametrize("name", ["silent-prompt", "linger"])
def test_a_turn_that_never_ends_may_give_in_to_a_cancel_or_not(client: Client, name: str) -> None:
    session = client.new_session()
    obedient = client.prompt(session, directive(name))
    client.notify("session/cancel", {"sessionId": session})
    assert client.end_of(obedient, session).stop == "cancelled"
    deadlocked = client.prompt(session, directive(name, "cancellable=0"))
    client.notify("session/cancel", {"sessionId": session})
    # The one that displaces it does not wait for ever, and what came first would be answered first.
    assert client.turn(session, "hello").stop == "end_turn"
    assert deadlocked not in client._answers


def test_chunks_may_follow_the_end_of_a_cancelled_turn(shared: Client) -> None:
    session = shared.new_session()
    request = shared.prompt(session, directive("late-chunks", "late=4"))
    shared.wait_for_text(session, "word-1 ")
    shared.notify("session/cancel", {"sessionId": session})
    assert "late" not in shared.end_of(request, session).text
    shared.wait_for_text(session, "late 1 late 2 late 3 late 4 ")
    shared.updates.clear()


@pytest.mark.parametrize("by", ["environment", "directive"])
def test_a_grandchild_holds_the_pipes(place: Place, by: str) -> None:
    scenario = "grandchild seconds=30"
    process = (
        place.start("-p", "--trust", "hello", SCENARIO=scenario)
        if by == "environment"
        else place.start("-p", "--trust", f"hello [[demo:{scenario}]]")
    )
    try:
        (event,) = place.wait_for("grandchild")
        assert process.wait(10) == 0
        grandchild = psutil.Process(event["grandchild"])
        assert os.getpgid(grandchild.pid) == process.pid
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        assert b"You said" in os.read(process.stdout.fileno(), 10_000)
        with pytest.raises(BlockingIOError):  # were the pipe closed, there would be an end to read
            os.read(process.stdout.fileno(), 1)
    finally:
        end(process)
    wait_until(lambda: not _lives(grandchild), "the end of the grandchild")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_grandchild_can_leave_the_group(place: Place) -> None:
    process = place.start("-p", "--trust", directive("grandchild", "seconds=30 detached=1"))
    try:
        (event,) = place.wait_for("grandchild")
        assert os.getpgid(event["grandchild"]) == event["grandchild"]
    finally:
        psutil.Process(event["grandchild"]).kill()
        end(process)


# -- unusual answers


def test_standard_error_can_be_flooded(client: Client) -> None:
    assert client.turn(client.new_session(), directive("stderr-flood")).stop == "end_turn"
    wait_until(lambda: len(client.stderr) == 2_000_000, "the flood")


def test_one_line_can_be_huge(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("huge-line", "bytes=20000000"))
    assert [len(chunk) for chunk in turn.chunks()] == [20_000_000]
    assert SCENARIOS["huge-line"].parameters == {"bytes": "20000000"}


def test_garbage_surrounds_a_good_answer(client: Client) -> None:
    turn = client.turn(client.new_session(), f"hello {directive('garbage')}")
    assert turn.stop == "end_turn"
    assert turn.text.endswith("You said: hello ")
    noise = b"".join(client.noise)
    for line in (b"\n   \n", b"[1]\n", b"42\n", b'"id":null', b'"result":null', b"\xff\xfe"):
        assert line in noise
    assert len(client.noise) == 20


def test_garbage_surrounds_the_events_of_print_mode(place: Place) -> None:
    process = place.start("-p", "--trust", "--output-format", "stream-json", directive("garbage"))
    try:
        stdout, _ = process.communicate(timeout=10)
    finally:
        end(process)
    lines = stdout.split(b"\n")
    assert b"[1]" in lines
    assert b"" in lines[:-1]
    assert json.loads(lines[-2])["type"] == "result"


def test_the_pieces_have_the_size_that_is_asked_for(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("chunks", "count=10000 bytes=7"))
    assert turn.chunks() == ["xxxxxx "] * 10_000


def test_a_slow_answer_takes_its_time(shared: Client) -> None:
    began = time.monotonic()
    turn = shared.turn(shared.new_session(), directive("slow-chunks", "count=5 ms=20"))
    assert turn.chunks() == [f"word-{number} " for number in range(1, 6)]
    assert time.monotonic() - began >= 0.1


def test_a_slow_start_and_a_slow_session_take_their_time(start: Start) -> None:
    began = time.monotonic()
    client = start(SCENARIO="slow-start ms=300")
    client.initialize()
    assert time.monotonic() - began >= 0.3
    client = start(SCENARIO="slow-session ms=300")
    client.initialize()
    began = time.monotonic()
    client.new_session()
    assert time.monotonic() - began >= 0.3


def test_markers_are_numbered(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("markers", "marker=X count=3"))
    assert turn.chunks() == ["X-1 ", "X-2 ", "X-3 "]


def test_it_can_think_at_length(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("thoughts", "count=5"))
    assert turn.chunks("agent_thought_chunk") == [f"Thought {number}. " for number in range(1, 6)]
    assert turn.text


def test_a_tool_goes_through_its_states(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("tool"))
    tools = [update for update in turn.updates if update["sessionUpdate"].startswith("tool_call")]
    assert [update["status"] for update in tools] == ["pending", "in_progress", "completed"]
    assert len({update["toolCallId"] for update in tools}) == 1
    assert tools[0]["kind"] == "execute"
    assert tools[-1]["rawOutput"] == {"exitCode": 0, "stdout": "/demo\n", "stderr": ""}
    kinds = turn.kinds()
    assert "agent_message_chunk" in kinds[: kinds.index("tool_call")]
    assert "agent_message_chunk" in kinds[kinds.index("tool_call") :]


def test_a_tool_can_be_announced_twice_under_an_id_with_a_line_feed(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("duplicate-tool-call"))
    first, second = [update for update in turn.updates if update["sessionUpdate"] == "tool_call"]
    assert first["toolCallId"] == second["toolCallId"]
    assert "\n" in first["toolCallId"]
    assert first["rawInput"] == {}
    assert second["rawInput"] == {"command": "pwd"}


UNICODE = "Grüße, 世界! 👋🏽 😀 e\u0301 \u2028 done"


def whole(text: str) -> str:
    """Join the halves of surrogate pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def test_wide_characters_survive_being_cut(shared: Client) -> None:
    turn = shared.turn(shared.new_session(), directive("unicode"))
    assert turn.chunks()[2:4] == ["\ud83d", "\ude00"]
    assert whole(turn.text) == UNICODE


def test_wide_characters_survive_in_print_mode(place: Place) -> None:
    finished = place.ask(directive("unicode"))
    assert whole(finished.result["result"]) == UNICODE
    assert place.run("-p", "--trust", directive("unicode")).stdout == f"{UNICODE}\n"


def test_a_wide_character_is_cut_between_two_writes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    del client
    from cursorpipe_core.demo_agent import output  # noqa: PLC0415 (the subject, in process)

    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        del descriptor
        written.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    output.write_line({"text": "a👋b"}, torn=True)
    monkeypatch.undo()
    assert b"".join(written).decode() == '{"text":"a👋b"}\n'
    first, _ = written
    with pytest.raises(UnicodeDecodeError):
        first.decode()


def test_an_answer_can_be_empty(shared: Client, place: Place) -> None:
    turn = shared.turn(shared.new_session(), directive("empty"))
    assert (turn.stop, turn.text) == ("end_turn", "")
    assert place.ask(directive("empty")).result["result"] == ""


@pytest.mark.parametrize("variant", range(1, len(TALK) + 1))
def test_an_answer_can_talk_about_errors(shared: Client, variant: int) -> None:
    turn = shared.turn(shared.new_session(), directive("talks-about-error", f"variant={variant}"))
    assert turn.text == TALK[variant - 1]
    assert "Error:" in turn.text
    assert turn.stop == "end_turn"


@pytest.mark.parametrize("prompt", ["\n two\n\nlines \n", "Error: x", "x" * 5000])
def test_the_echo_is_the_prompt(start: Start, place: Place, prompt: str) -> None:
    client = start(SCENARIO="echo")
    client.initialize()
    assert client.turn(client.new_session(), prompt).text == prompt
    assert place.ask(prompt, SCENARIO="echo").result["result"] == prompt


def test_json_is_said_with_the_quotation_marks_that_a_directive_cannot_hold(
    shared: Client, place: Place
) -> None:
    asked = directive("json", r"""text="So:\n{'name': 'Ada', 'age': 36}" """)
    assert shared.turn(shared.new_session(), asked).text == 'So:\n{"name": "Ada", "age": 36}'
    assert place.ask(directive("json")).result["result"] == "{}"


def test_the_token_figures_can_be_chosen_in_print_mode(place: Place) -> None:
    chosen = place.ask(directive("usage", "input=1 output=2 cache_read=3 cache_write=4")).result["usage"]
    assert chosen == {"inputTokens": 1, "outputTokens": 2, "cacheReadTokens": 3, "cacheWriteTokens": 4}
    assert place.ask("hello").result["usage"] != chosen


# -- how a scenario is asked for


def test_a_value_in_quotes_may_have_spaces_and_line_feeds(shared: Client, place: Place) -> None:
    quoted = r'partial="One moment.\n\nI look" split=1'
    turn = shared.turn(shared.new_session(), directive("capacity", quoted))
    assert turn.text == f"One moment.\n\nI look\n\n{FAILURES['capacity'][0]}"
    finished = place.ask("hello", SCENARIO='crash-at-start status=3 stderr="Out of luck"')
    assert (finished.status, finished.stderr) == (3, "Out of luck\n")


def test_the_last_directive_wins_and_none_is_repeated(shared: Client) -> None:
    text = "a [[demo:empty]]b [[demo:markers marker=X]]c[[demo:answer]] d"
    assert shared.turn(shared.new_session(), text).text.endswith("You said: a b c d")


def test_a_directive_wins_over_the_environment(start: Start) -> None:
    client = start(SCENARIO="empty")
    client.initialize()
    session = client.new_session()
    assert client.turn(session, "hello").text == ""
    assert client.turn(session, "hello [[demo:answer]]").text.endswith("You said: hello ")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("unheard-of", "no scenario 'unheard-of'"),
        ("", "no scenario ''"),
        ("chunks count=many", "'count' is not a number: many"),
        ("chunks many", "has no value: many"),
        ('capacity partial="One', "quotation is not closed"),
        ("chunks colour=red", "no parameter 'colour'"),
        ("crash-mid-stream signal=15", "crash by signal 15"),
    ],
)
def test_a_directive_that_is_not_understood_is_answered(shared: Client, words: str, complaint: str) -> None:
    turn = shared.turn(shared.new_session(), f"[[demo:{words}]]")
    assert complaint in turn.text
    assert all(name in turn.text for name in SCENARIOS)
    assert "[[demo:" not in turn.text


def test_a_scenario_of_the_turn_leaves_the_small_commands_alone(place: Place) -> None:
    for argv in (("models",), ("status",), ("--version",)):
        assert place.run(*argv, SCENARIO="crash-before-first-chunk").status == 0


def test_a_session_can_fail_once(start: Start) -> None:
    client = start(SCENARIO="session-fails-once")
    client.initialize()
    error = client.error("session/new", {"cwd": "/", "mcpServers": []})
    assert (error["code"], error["data"]) == (
        -32603,
        {"details": "Failed to initialize session services"},
    )
    assert client.new_session()


def test_a_change_of_the_model_can_be_refused(start: Start) -> None:
    client = start(SCENARIO="model-refused times=2")
    client.initialize()
    session = client.new_session()
    by_option = {"sessionId": session, "configId": "model", "value": "default[]"}
    by_method = {"sessionId": session, "modelId": "default[]"}
    for method, params in (("session/set_config_option", by_option), ("session/set_model", by_method)):
        error = client.error(method, params)
        assert error["code"] == -32602
        assert error["data"] == {"message": "Invalid model value: default[]"}
    assert client.call("session/set_model", by_method) == {}


def test_a_session_can_have_no_modes(start: Start) -> None:
    client = start(SCENARIO="no-modes")
    client.initialize()
    offered = client.call("session/new", {"cwd": "/", "mcpServers": []})
    assert "modes" not in offered
    assert [option["id"] for option in offered["configOptions"]] == ["model"]


def statuses(finished: list[Finished]) -> list[int]:
    return [process.status for process in finished]


def test_a_fault_is_counted_over_all_processes(place: Place) -> None:
    scenario = "crash-before-first-chunk status=9 times=2"
    assert statuses([place.ask("hello", SCENARIO=scenario) for _ in range(4)]) == [9, 9, 0, 0]


def test_a_counted_directive_is_counted_too(client: Client) -> None:
    session = client.new_session()
    texts = [client.turn(session, directive("empty", "times=1")).text for _ in range(2)]
    assert texts[0] == ""
    assert texts[1]


def test_processes_at_the_same_time_share_the_count(place: Place) -> None:
    processes = [place.start("-p", "--trust", "hello", SCENARIO="capacity times=3") for _ in range(6)]
    assert sorted(statuses([finish(process) for process in processes])) == [0, 0, 0, 1, 1, 1]


def test_a_counted_fault_of_the_start_is_not_used_up_by_a_small_command(place: Place) -> None:
    scenario = "crash-at-start times=1"
    assert place.run("--version", SCENARIO=scenario).status == 0
    assert place.run("models", SCENARIO=scenario).status == 0
    assert statuses([place.run("acp", SCENARIO=scenario) for _ in range(2)]) == [1, 0]
