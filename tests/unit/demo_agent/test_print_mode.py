"""Print mode: formats, chats, trust, signals."""

from __future__ import annotations

import json
import signal

import pytest

from tests.unit.demo_agent.driver import Finished, Json, Place, end, finish, wait_until


def texts(events: list[Json]) -> list[str]:
    return [event["message"]["content"][0]["text"] for event in events]


def deltas(finished: Finished) -> list[str]:
    return texts(
        [
            event
            for event in finished.of_type("assistant")
            if "timestamp_ms" in event and "model_call_id" not in event
        ]
    )


def test_the_text_format_is_the_answer(place: Place) -> None:
    finished = place.run("-p", "--trust", "what is this?")
    assert finished.status == 0
    assert finished.stdout.endswith("You said: what is this?\n")
    assert "demo agent" in finished.stdout
    assert finished.stderr == ""


def test_the_text_format_leaves_out_what_came_before_a_tool(place: Place) -> None:
    assert place.run("-p", "--trust", "[[demo:tool]]").stdout == "I am in /demo.\n"


def test_the_json_format_is_one_object(place: Place) -> None:
    finished = place.run("-p", "--trust", "--output-format", "json", stdin="hello")
    result = json.loads(finished.stdout)
    assert result["result"].endswith("You said: hello")
    assert set(result) == {
        *("type", "subtype", "is_error", "duration_ms", "duration_api_ms"),
        *("result", "session_id", "request_id", "usage"),
    }
    assert set(result["usage"]) == {"inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens"}


def test_print_mode_is_implied_without_a_terminal(place: Place) -> None:
    assert place.run("--trust", stdin="hello").stdout.endswith("You said: hello\n")


def test_a_prompt_on_the_command_line_comes_before_standard_input(place: Place) -> None:
    assert place.run("-p", "--trust", "one", "two", stdin="three").stdout.endswith("You said: one two\n")
    assert place.run("-p", "", "--trust", stdin="three").stdout.endswith("You said: three\n")


def test_the_events_come_in_their_order(place: Place) -> None:
    finished = place.ask("hello [[demo:tool]]")
    kinds = [(event["type"], event.get("subtype")) for event in finished.events]
    first_delta = kinds.index(("assistant", None))
    assert kinds[:2] == [("system", "init"), ("user", None)]
    assert ("tool_call", "started") in kinds[first_delta:]
    assert kinds[-2:] == [("assistant", None), ("result", "success")]
    init, user = finished.events[:2]
    assert init["cwd"] == str(place.work)
    assert init["apiKeySource"] == "env"
    assert init["model"] == "Auto"
    assert user["message"]["content"] == [{"type": "text", "text": "hello [[demo:tool]]"}]
    assert {event["session_id"] for event in finished.events} == {init["session_id"]}


def test_thoughts_come_first_and_are_completed(place: Place) -> None:
    kinds = [(event["type"], event.get("subtype")) for event in place.ask("hello").events]
    assert kinds[2:6] == [
        ("thinking", "delta"),
        ("thinking", "delta"),
        ("thinking", "completed"),
        ("assistant", None),
    ]


def test_the_deltas_joined_are_the_result(place: Place) -> None:
    finished = place.ask("[[demo:tool]]")
    assert len(deltas(finished)) > 5
    assert "".join(deltas(finished)) == finished.result["result"]


def test_the_text_is_repeated_before_a_tool_and_at_the_end(place: Place) -> None:
    finished = place.ask("[[demo:tool]]")
    repeats = [
        event
        for event in finished.of_type("assistant")
        if "timestamp_ms" not in event or "model_call_id" in event
    ]
    before, last = repeats
    assert {"timestamp_ms", "model_call_id"} <= set(before)
    assert not {"timestamp_ms", "model_call_id"} & set(last)
    assert texts(repeats) == ["Let me look where I am. ", finished.result["result"]]
    position = finished.events.index(before)
    assert finished.events[position + 1]["type"] == "tool_call"


def test_without_partial_output_the_segments_make_the_result(place: Place) -> None:
    finished = place.run("-p", "--trust", "--output-format", "stream-json", "[[demo:tool]]")
    segments = finished.of_type("assistant")
    assert texts(segments) == ["Let me look where I am. ", "I am in /demo."]
    assert "".join(texts(segments)) == finished.result["result"]
    assert {"timestamp_ms", "model_call_id"} <= set(segments[0])
    assert not {"timestamp_ms", "model_call_id"} & set(segments[1])


def test_the_source_of_the_key_is_told(place: Place) -> None:
    place.run("login", key=None)
    sources = [
        place.ask("hello", *argv, key=key).events[0]["apiKeySource"]
        for argv, key in (((), "k"), (("--api-key", "k"), None), ((), None))
    ]
    assert sources == ["env", "flag", "login"]


def test_a_new_directory_has_to_be_trusted_once(place: Place) -> None:
    refused = place.run("-p", "hello")
    assert (refused.status, refused.stdout) == (1, "")
    assert "Workspace Trust Required" in refused.stderr
    assert "Pass --trust, --yolo, or -f" in refused.stderr
    assert place.run("-p", "--yolo", "hello").status == 0
    assert place.run("-p", "hello").status == 1
    assert place.run("-p", "--trust", "hello").status == 0
    assert place.run("-p", "hello").status == 0


def test_a_chat_that_is_resumed_remembers(place: Place) -> None:
    chat = place.ask("my name is Ada").result["session_id"]
    again = place.ask("who am I?", "--resume", chat).result
    assert "my name is Ada" in again["result"]
    assert again["session_id"] == chat
    assert "my name is Ada" not in place.ask("who am I?").result["result"]


def test_a_chat_can_be_continued_without_its_name(place: Place) -> None:
    chat = place.ask("my name is Ada").result["session_id"]
    assert place.ask("who am I?", "--continue").result["session_id"] == chat


def test_two_turns_at_once_in_one_chat_are_refused(place: Place) -> None:
    chat = place.run("create-chat").stdout.strip()
    first = place.start("-p", "--trust", "--resume", chat, "[[demo:silent-prompt]]")
    try:
        place.wait_for("prompt")
        second = place.ask("hello", "--resume", chat)
    finally:
        end(first)
    assert (second.status, second.stdout) == (1, "")
    assert second.stderr.startswith(f"Chat {chat} may still be running")
    assert place.ask("hello", "--resume", chat).status == 0


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_aborts_the_turn(place: Place, signum: int, status: int) -> None:
    process = place.start("-p", "--trust", "--output-format", "stream-json", "[[demo:silent-prompt]]")
    try:
        place.wait_for("prompt")
        process.send_signal(signum)
    finally:
        finished = finish(process)
    assert finished.status == status
    assert finished.stderr == "Aborting operation...\n"
    assert not finished.of_type("result")


def test_the_model_of_the_command_line_is_used_and_becomes_the_default(place: Place) -> None:
    assert place.ask("hello", "--model", "gpt-5.3-codex-high").events[0]["model"] == "GPT-5.3 Codex High"
    assert place.ask("hello").events[0]["model"] == "GPT-5.3 Codex High"
    assert "gpt-5.3-codex-high - GPT-5.3 Codex High (current)\n" in place.run("models").stdout


def test_an_unknown_model_is_refused_before_anything_is_printed(place: Place) -> None:
    finished = place.ask("hello", "--model", "gpt-1")
    assert (finished.status, finished.stdout) == (1, "")
    assert finished.stderr.startswith("Cannot use this model: gpt-1. Available models: auto, composer-2.5, ")


def test_a_prompt_of_ten_megabytes_is_answered(place: Place) -> None:
    finished = place.run("-p", "--trust", "--output-format", "json", stdin="word " * 2_000_000)
    assert "10000000 characters" in json.loads(finished.stdout)["result"]


def test_an_empty_prompt_is_refused(place: Place) -> None:
    assert place.run("-p", "--trust", stdin=" \n").status == 1


def test_it_waits_for_the_end_of_its_input(place: Place) -> None:
    process = place.start("-p", "--trust")
    try:
        assert process.stdin is not None
        process.stdin.write(b"first ")
        process.stdin.flush()
        place.wait_for("start")
        assert not place.events("prompt")
    finally:
        finished = finish(process, "second")
    assert finished.stdout.endswith("You said: first second\n")


def test_the_workspace_is_where_it_works(place: Place) -> None:
    (place.work / "inner").mkdir()
    finished = place.ask("hello", "--workspace", "inner")
    assert finished.events[0]["cwd"] == str(place.work / "inner")


def test_an_image_is_mentioned(place: Place) -> None:
    assert "1 image (image/png)" in place.ask("hello", "--image", "a.png").result["result"]


def test_a_lingering_process_has_given_its_result(place: Place) -> None:
    process = place.start("-p", "--trust", "--output-format", "json", "[[demo:linger]]")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "result"
        assert process.poll() is None
        process.terminate()
        wait_until(lambda: process.poll() is not None, "the end")
        assert process.returncode == 143
    finally:
        end(process)


def test_a_command_is_refused_at_once_unless_forced(place: Place) -> None:
    refused = place.ask("[[demo:ask-permission]]")
    assert refused.result["result"].endswith("permission: rejected")
    call = refused.of_type("tool_call", "completed")[0]["tool_call"]["shellToolCall"]
    assert set(call["result"]) == {"rejected"}
    forced = place.ask("[[demo:ask-permission]]", "--force")
    assert set(forced.of_type("tool_call", "completed")[0]["tool_call"]["shellToolCall"]["result"]) == {
        "success"
    }


@pytest.mark.parametrize(
    ("scenario", "query", "outcome"),
    [
        ("ask-question", "askQuestionInteractionQuery", "question: skipped"),
        ("create-plan", "createPlanRequestQuery", "plan: accepted"),
    ],
)
def test_questions_are_answered_by_the_cli_itself(
    place: Place, scenario: str, query: str, outcome: str
) -> None:
    finished = place.ask(f"[[demo:{scenario}]]")
    seen = [(event["subtype"], event["query_type"]) for event in finished.of_type("interaction_query")]
    assert seen == [("request", query), ("response", query)]
    assert finished.result["result"] == outcome
