"""Each way in which the agent misbehaves, and what the client gets."""

from __future__ import annotations

import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.integration.streams import read_stream

NAMED = "composer-2.5"

RATE = (429, "rate_limit_error", "rate_limited")
NETWORK = (502, "upstream_unreachable", "network_error")
SESSION = (500, "server_error", "session_error")
CRASH = (500, "server_error", "agent_crash")
AUTH = (401, "authentication_error", "auth_failed")
MODEL = (404, "invalid_request_error", "model_not_found")
TIMEOUT = (504, "timeout_error", "timeout")

#: What the backend's failures are, in ACP as text of the answer and in print mode on stderr.
FAILURES = {
    "resource-exhausted": RATE,
    "unavailable": NETWORK,
    "non-retriable": SESSION,
    "usage-limit": RATE,
    "usage-limit-notice": RATE,
    "model-blocked": MODEL,
    "model-not-found": MODEL,
    "minified-s": RATE,
    "minified-t": NETWORK,
    "minified-i": MODEL,
    "writable-closed": NETWORK,
    "dns-failure": NETWORK,
    "connection-lost": NETWORK,
    "capacity": RATE,
    "plan-limit": RATE,
}


async def outcome(client: Client, text: str, *, stream: bool, **fields: object) -> tuple[int, str, str]:
    """Return status, type and code of a request that is expected to fail before any text."""
    async with client.post(CHAT, json=ask(text, stream=stream, **fields)) as response:
        body = await response.json()
        assert set(body) == {"error"}, body
        error = body["error"]
        return response.status, error["type"], error["code"]


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_failure_of_the_backend_is_an_error_and_never_an_answer(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy)
    for split in (0, 1):
        for stream in (False, True):
            for name, error in FAILURES.items():
                got = await outcome(client, f"[[demo:{name} split={split}]]", stream=stream)
                assert got == error, (name, split, stream)


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_failure_after_some_text_ends_a_stream_with_one_error_frame(
    serve: Serve, strategy: str
) -> None:
    client = await serve(strategy=strategy)
    for split in (0, 1):
        for name, error in FAILURES.items():
            prompt = f"[[demo:{name} partial=Partially split={split}]]"
            async with client.post(CHAT, json=ask(prompt, stream=True)) as response:
                stream = await read_stream(response)
            assert stream.error is not None, name
            # Some clients repeat what is a server's error in a stream; see the error table.
            kind = error[1].replace("server_error", "agent_error")
            assert (stream.error["type"], stream.error["code"]) == (kind, error[2]), name
            assert stream.text.strip() == "Partially", name
            assert not stream.done
            assert await outcome(client, prompt, stream=False) == error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_an_answer_that_talks_about_errors_is_an_answer(
    serve: Serve, strategy: str, stream: bool
) -> None:
    client = await serve(strategy=strategy)
    for variant in range(1, 6):
        prompt = f"[[demo:talks-about-error variant={variant}]]"
        async with client.post(CHAT, json=ask(prompt, stream=stream)) as response:
            assert response.status == 200, variant
            if stream:
                read = await read_stream(response)
                assert read.done, variant
                assert "rror" in read.text
            else:
                text = (await response.json())["choices"][0]["message"]["content"]
                assert "rror" in text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_an_empty_turn_is_tried_once_more_and_then_an_error(
    serve: Serve, agent: DemoAgent, strategy: str, stream: bool
) -> None:
    client = await serve(strategy=strategy)
    assert await outcome(client, "[[demo:empty]]", stream=stream) == SESSION
    assert len(agent.events("prompt")) == 2
    assert "hi" in await answer(client, "hi [[demo:empty times=1]]")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["status=1", "signal=9"])
@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_crash_before_the_first_chunk_is_tried_once_more_and_then_an_error(
    serve: Serve, agent: DemoAgent, strategy: str, how: str, stream: bool
) -> None:
    client = await serve(strategy=strategy, workers=2)
    assert await outcome(client, f"[[demo:crash-before-first-chunk {how}]]", stream=stream) == CRASH
    assert len(agent.events("prompt")) == 2


async def test_a_crash_before_the_first_chunk_is_nobodys_business_if_the_second_try_works(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve()
    assert "hi" in await answer(client, "hi [[demo:crash-before-first-chunk times=1]]")
    assert len(agent.starts("print")) == 1


@pytest.mark.parametrize("strategy", ["auto", "acp", "subprocess"])
async def test_a_crash_in_mid_stream_is_an_error_and_not_repeated(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]]", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.text
    assert stream.error is not None
    assert stream.error["code"] == "agent_crash"
    assert len(agent.events("prompt")) == 1
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]]")) as response:
        assert response.status == 500
        assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_silent_agent_is_a_timeout(serve: Serve, strategy: str, stream: bool) -> None:
    client = await serve(strategy=strategy, request_timeout_s=0.7)
    assert await outcome(client, "[[demo:silent-prompt]]", stream=stream) == TIMEOUT


async def test_an_acp_turn_whose_end_never_comes_is_a_timeout_after_its_text(serve: Serve) -> None:
    client = await serve(strategy="acp", request_timeout_s=1.0)
    async with client.post(CHAT, json=ask("[[demo:linger]]", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.text
    assert stream.error is not None
    assert stream.error["code"] == "timeout"


async def test_a_print_process_that_lingers_after_its_result_delays_nobody(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(strategy="subprocess", request_timeout_s=5)
    assert "hi" in await answer(client, "hi [[demo:linger]]")
    await agent.wait_for("exit")


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
@pytest.mark.parametrize(
    "scenario",
    ["stderr-flood", "garbage", "thoughts", "tool", "duplicate-tool-call", "ask-permission", "grandchild"],
)
async def test_an_unusual_but_whole_answer_is_whole(serve: Serve, strategy: str, scenario: str) -> None:
    client = await serve(strategy=strategy)
    whole = await answer(client, f"question-42 [[demo:{scenario}]]")
    async with client.post(CHAT, json=ask(f"question-42 [[demo:{scenario}]]", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.done
    assert stream.text == whole
    assert whole


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("ask-permission", "reject"),
        ("ask-question", "skipped"),
        ("create-plan", "rejected"),
        ("todo-request", ""),
    ],
)
async def test_what_the_agent_asks_is_answered_and_refused(
    serve: Serve, agent: DemoAgent, scenario: str, words: str
) -> None:
    client = await serve(strategy="acp")
    assert words in await answer(client, f"[[demo:{scenario}]]")
    assert len(agent.events("answered")) == 1


async def test_refused_permissions_are_counted(serve: Serve) -> None:
    client = await serve(strategy="acp")
    await answer(client, "[[demo:ask-permission]]")
    await answer(client, "[[demo:ask-permission]]")
    workers = (await (await client.get("/ready")).json())["workers"]
    assert workers[0]["permissions_refused"] == 2


async def test_permission_is_given_if_the_operator_said_so(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", permissions="allow")
    assert "allow" in await answer(client, "[[demo:ask-permission]]")


async def test_wide_characters_survive_being_cut(serve: Serve) -> None:
    client = await serve(strategy="acp")
    whole = await answer(client, "[[demo:unicode]]")
    assert "\ufffd" not in whole
    assert any(ord(char) > 0xFFFF for char in whole)
    assert any(0x4E00 <= ord(char) <= 0x9FFF or 0x3040 <= ord(char) <= 0x30FF for char in whole)


@pytest.mark.parametrize(
    ("scenario", "error"),
    [("not-logged-in", AUTH), ("invalid-key", AUTH), ("keychain-locked", AUTH), ("unknown-model", MODEL)],
)
@pytest.mark.parametrize("strategy", ["auto", "acp", "subprocess"])
async def test_an_agent_that_cannot_start_says_why(
    serve: Serve,
    agent: DemoAgent,
    strategy: str,
    scenario: str,
    error: tuple[int, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cursorpipe_core.acp.AUTHENTICATE_TIMEOUT_S", 0.3)
    agent.set(SCENARIO=scenario)
    client = await serve(strategy=strategy, ready=False)
    for stream in (False, True):
        assert await outcome(client, "hi", stream=stream, model=NAMED) == error


@pytest.mark.parametrize("login", ["browser", "hang"])
async def test_a_missing_login_tells_the_operator_what_to_run(
    serve: Serve, agent: DemoAgent, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.acp.AUTHENTICATE_TIMEOUT_S", 0.3)
    agent.set(LOGIN=login)
    client = await serve(strategy="acp", ready=False, api_key="")
    async with client.post(CHAT, json=ask()) as response:
        assert response.status == 401
        assert "agent login" in (await response.json())["error"]["message"]
    ready = await client.get("/ready")
    assert ready.status == 503
    assert "agent login" in (await ready.json())["reason"]


async def test_a_stored_login_is_used(
    serve: Serve, agent: DemoAgent, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.set(LOGIN="stored")
    monkeypatch.setenv("CURSOR_CONFIG_DIR", f"{tmp_path}/config")
    client = await serve(strategy="acp", api_key="")
    assert "hi" in await answer(client, "hi")
    assert len(agent.events(method="authenticate")) == 1


async def test_with_a_key_no_login_is_attempted(serve: Serve, agent: DemoAgent) -> None:
    await answer(await serve(strategy="acp"), "hi")
    assert not agent.events(method="authenticate")


async def test_a_session_that_fails_once_is_opened_at_the_second_try(serve: Serve, agent: DemoAgent) -> None:
    agent.set(SCENARIO="session-fails-once")
    assert "hi" in await answer(await serve(strategy="acp"), "hi")
