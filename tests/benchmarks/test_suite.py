"""The benchmarks still run; what they measure is nobody's business here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import acp.schema
import pytest

from tests.benchmarks.__main__ import Benchmark
from tests.benchmarks.agent import compiled_agent, interpreted_agent
from tests.benchmarks.jobs import Ask, Job, Outcome, decode_job, decode_outcome, encode, quantile
from tests.benchmarks.report import as_json, table
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.servers import NoServerError, Server

PATIENCE_S = 20

MakeAgent = Callable[[Path], Path | None]


@pytest.fixture(params=[compiled_agent, interpreted_agent], scope="module")
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: MakeAgent = request.param
    program = make(tmp_path_factory.mktemp("agent"))
    if program is None:
        pytest.skip("there is no C compiler")
    return program


def speak(agent: Path, *messages: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Say something to the agent over ACP; returns its lines, and its last words."""
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    # The pace of the answers is the test's: the input ends when they were read.
    with subprocess.Popen(
        [agent, "acp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines)
        process.stdin.flush()
        heard = []
        wanted = {message["id"] for message in messages if "id" in message}
        while wanted:
            heard.append(json.loads(process.stdout.readline()))
            wanted.discard(heard[-1].get("id"))
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return heard, told.strip()


def prompt(number: int, session: str, text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"id": number, "method": "session/prompt", "params": {"prompt": content, "sessionId": session}}


def test_the_agent_speaks_acp(agent: Path) -> None:
    heard, told = speak(
        agent,
        {"id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"id": 2, "method": "session/new", "params": {"cwd": "/", "mcpServers": []}},
        {"id": 3, "method": "session/set_mode", "params": {"sessionId": "s", "modeId": "ask"}},
        {"id": 4, "method": "no/such", "params": {"a": [{"b": 'c"}]'}, 1.5, None, "\\"]}},
        prompt(5, "s", 'So it is: "bench:chunks=3,bytes=10" \\ and so on.'),
        prompt(6, "t", "bench:chunks=100000,pace=1000000"),
        {"method": "session/cancel", "params": {"sessionId": "t"}},
    )
    answers = {message["id"]: message for message in heard if "id" in message}
    acp.schema.InitializeResponse.model_validate(answers[1]["result"])
    session = acp.schema.NewSessionResponse.model_validate(answers[2]["result"])
    assert session.modes is not None
    assert {mode.id for mode in session.modes.available_modes} == {"agent", "plan", "ask"}
    assert answers[3]["result"] == {}
    assert answers[4]["error"]["code"] == -32601
    assert answers[5]["result"] == {"stopReason": "end_turn"}
    assert answers[6]["result"] == {"stopReason": "cancelled"}
    updates = [acp.schema.SessionNotification.model_validate(m["params"]) for m in heard if "method" in m]
    texts = [u.update.content.text for u in updates if u.session_id == "s"]  # type: ignore[union-attr]
    assert texts == ["~xxxxxxxxx"] * 3
    assert told == "prompts=2 cancels=1 sessions=1"


def test_the_agent_tells_what_it_counted_and_when_a_paced_piece_was_sent(agent: Path) -> None:
    heard, _ = speak(agent, prompt(1, "s", "bench:chunks=2,pace=1000,apart=1"), prompt(2, "t", "bench:tell"))
    texts = [m["params"]["update"]["content"]["text"] for m in heard if "method" in m]
    assert "~prompts=2 cancels=0 sessions=0;" in texts
    stamps = [text[1:].partition(";")[0] for text in texts]
    assert sum(stamp.isdigit() for stamp in stamps) == 2


def test_the_agent_prints_an_answer_as_its_contract_says(agent: Path) -> None:
    run = subprocess.run(
        [agent, "-p", "--output-format", "stream-json"],
        input="bench:chunks=3,bytes=4",
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    events = [json.loads(line) for line in run.stdout.splitlines()]
    texts = [event["message"]["content"][0]["text"] for event in events if event["type"] == "assistant"]
    assert events[0]["subtype"] == "init"
    assert texts == ["~xxx", "~xxx", "~xxx", "~xxx~xxx~xxx"]
    assert [event["type"] for event in events if "timestamp_ms" in event] == ["assistant"] * 3
    assert events[-1]["result"] == "~xxx~xxx~xxx"


@pytest.mark.parametrize("word", ["--version", "models", "status"])
def test_the_agent_has_the_small_commands(agent: Path, word: str) -> None:
    assert subprocess.run([agent, word], capture_output=True, check=True, timeout=PATIENCE_S).stdout


def test_a_job_and_its_outcome_go_through_a_pipe() -> None:
    job = Job([Ask("{}", "p", 1)], 3, rate=2.5)
    assert decode_job(encode(job)) == job
    outcome = Outcome([], wall_s=1.5, said="x")
    assert decode_outcome(encode(outcome)) == outcome
    assert quantile([3, 1, 2], 0.5) == 2


def test_a_server_that_does_not_answer_is_ended_and_its_log_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Server] = []

    def refuse(server: Server) -> float:
        started.append(server)
        raise NoServerError("no answer")

    monkeypatch.setattr(Server, "answer_s", refuse)
    short = [scenario for scenario in SCENARIOS if scenario.letter == "A"]
    with pytest.raises(NoServerError, match="no answer"):
        Benchmark([], rounds=1, scale=0.01, quiet=True).run(short)
    (server,) = started
    assert server._process is not None
    assert server._process.returncode is not None
    assert "cursorpipe.log ends:" in capsys.readouterr().err


def test_every_side_does_the_same_work() -> None:
    short = [scenario for scenario in SCENARIOS if scenario.letter == "A"]
    others = ["floor", "pipe", "canned"]
    measured = Benchmark(others, rounds=1, scale=0.01, quiet=True).run(short)
    text = table(measured, others)
    for item in measured:
        for side in ("ours", *others):
            assert item.values(side, "failed") == [0], text
            assert item.median(side, "req/s") > 0
    assert len(as_json(measured)) == len(measured) == 2
    assert "A c=32" in text
