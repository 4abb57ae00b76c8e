"""What strangers, pages and odd words cannot bring the agent to do."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cursorpipe_server.access import logger as access
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, ask

TOKEN = "token-of-ann"
KEY = "key-of-cursor"


async def test_what_a_page_or_a_stranger_sends_never_reaches_the_agent(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(server={"bearer_tokens": f"ann={TOKEN}"})
    right = {"Authorization": f"Bearer {TOKEN}"}
    for headers, status in (
        ({}, 401),
        ({**right, "Origin": "https://evil.example"}, 403),
        ({**right, "Sec-Fetch-Site": "cross-site"}, 403),
        (right, 200),
    ):
        async with client.post(CHAT, json=ask("Hello from us"), headers=headers) as response:
            assert response.status == status
    assert len(agent.events("prompt")) == 1


@pytest.mark.parametrize(
    "model", ["-m", "--force", "a b", "a\nb", "a\x00b", "a\x1b[2J", "\u2028", "a\x85b", "-", " ", "x" * 300]
)
@pytest.mark.parametrize("strategy", ["auto", "acp", "subprocess"])
async def test_a_model_that_could_be_something_else_reaches_no_command_line(
    serve: Serve, agent: DemoAgent, caplog: pytest.LogCaptureFixture, model: str, strategy: str
) -> None:
    caplog.set_level(logging.INFO)
    client = await serve(strategy=strategy, ready=False)
    async with client.post(CHAT, json=ask(model=model)) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "model"
    assert agent.starts("print") == []
    lines = [record.getMessage() for record in caplog.records if record.name == access.name]
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_text_with_a_nul_is_no_fault(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask("before \x00 after")) as response:
        assert response.status in {200, 400}, await response.text()


async def test_no_key_is_told_anywhere(
    serve: Serve, agent: DemoAgent, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    client = await serve(server={"bearer_tokens": f"ann={TOKEN}"}, api_key=KEY)
    told = []
    for token in (TOKEN, "nearly-" + TOKEN):
        headers = {"Authorization": f"Bearer {token}"}
        for model in ("auto", "composer-2.5", "no-such-model"):
            async with client.post(CHAT, json=ask(model=model), headers=headers) as response:
                told.append(f"{response.headers} {await response.text()}")
    for path in ("/ready", "/openapi.json", "/health"):
        async with client.get(path) as response:
            told.append(await response.text())
    started = [word for start in agent.events("start") for word in start["argv"]]
    assert started
    for secret in (TOKEN, KEY):
        assert secret not in " ".join([*told, *started, caplog.text])


async def test_what_a_shared_process_says_as_it_dies_is_told_to_nobody(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await serve(strategy="acp", server={"bearer_token": TOKEN})
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    prompt = "[[demo:crash-mid-stream stderr=a-secret]]"
    async with client.post(CHAT, json=ask(prompt, stream=True), headers=bearer) as response:
        told = [await response.text()]
    for path in ("/ready", "/status"):
        async with client.get(path, headers=bearer) as response:
            told.append(await response.text())
    assert "agent_crash" in told[0]
    assert "exit status 1" in told[0]
    assert "a-secret" not in " ".join([*told, caplog.text])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_not_as_asked_for_is_quoted_to_its_caller_and_not_in_the_log(
    serve: Serve, agent: DemoAgent, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO)
    agent.set(SCENARIO="""json text="{'a': 'a-secret'}" """)
    client = await serve(strategy="acp")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with client.post(CHAT, json=ask("hi", response_format=wanted, stream=stream)) as response:
        assert "a-secret" in await response.text()
    assert "the agent failed the request" in caplog.text or "ended in mid-stream" in caplog.text
    assert "a-secret" not in caplog.text


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_key_that_the_cli_repeats_as_it_dies_is_taken_out(
    serve: Serve, caplog: pytest.LogCaptureFixture, strategy: str
) -> None:
    caplog.set_level(logging.DEBUG)
    client = await serve(strategy=strategy, api_key=KEY)
    prompt = f'[[demo:crash-before-first-chunk stderr="no luck with {KEY}"]]'
    async with client.post(CHAT, json=ask(prompt)) as response:
        told = await response.text()
    # A process that serves many says nothing to anybody of what it was at.
    assert ("no luck" in told) is (strategy == "subprocess")
    assert ("no luck with ***" in told) is (strategy == "subprocess")
    async with client.get("/ready") as response:
        told += await response.text()
    assert KEY not in told + caplog.text
