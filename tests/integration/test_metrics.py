"""The metrics of a whole server: what was done with its agents is what is told."""

from __future__ import annotations

import asyncio

import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.metrics import Samples, scrape
from tests.tool_scripts import call, together, tools_directive
from tests.waiting import PATIENCE_S

NAMED = "composer-2.5"
KIND = ("model", "backend", "outcome")


def answers(samples: Samples) -> dict[tuple[str, ...], float]:
    return {
        kind: samples.total("cursorpipe_requests_total", route=CHAT, **dict(zip(KIND, kind, strict=True)))
        for kind in samples.told("cursorpipe_requests_total", *KIND)
        if kind[0]
    }


async def until_told(client: Client, name: str, value: float | None = None, **labels: str) -> Samples:
    """Wait until a number is told, or any but zero, for what happens behind a request's back."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            samples = await scrape(client)
            told = samples.total(name, **labels)
            if told == value or (value is None and told):
                return samples
            await asyncio.sleep(0.02)


async def test_requests_of_known_kinds_make_exactly_the_expected_samples(serve: Serve) -> None:
    client = await serve(workers=1, pool_size=2)
    for _ in range(3):
        await answer(client, "hi")
    for _ in range(2):
        await answer(client, "hi", model=NAMED)
    async with client.post(CHAT, json=ask("hi", stream=True)) as response:
        await response.read()
    async with client.post(CHAT, json=ask("hi", model="composer-2.6")) as response:
        assert response.status == 404
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]]", stream=True)) as response:
        assert b'"error"' in await response.read()
    async with client.post(CHAT, json={"messages": "none"}) as response:
        assert response.status == 400

    samples = await scrape(client)
    assert answers(samples) == {
        ("auto", "acp", "ok"): 4,
        (NAMED, "subprocess", "ok"): 2,
        ("other", "subprocess", "model_not_found"): 1,
        ("auto", "acp", "agent_crash"): 1,
    }
    assert samples.total("cursorpipe_requests_total", route=CHAT, outcome="invalid_value") == 1
    assert samples.told("cursorpipe_answer_seconds_count", "backend") == {("acp",): 4, ("subprocess",): 2}
    assert samples.told("cursorpipe_first_text_seconds_count", "backend") == {("acp",): 5, ("subprocess",): 2}
    tokens = samples.told("cursorpipe_tokens_total", "model", "direction", "source")
    assert {kind[::2] for kind in tokens} == {("auto", "estimated"), (NAMED, "reported")}
    # The processes of a model that is refused are started, too.
    assert samples.total("cursorpipe_agent_starts_total", backend="subprocess") == 3
    assert (
        samples.total("cursorpipe_sessions_found_total") + samples.total("cursorpipe_sessions_missed_total")
        == 5
    )


async def test_a_crash_is_told_with_the_restart_that_follows(serve: Serve) -> None:
    client = await serve()
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]]", stream=True)) as response:
        await response.read()
    samples = await until_told(client, "cursorpipe_worker_restarts_total", 1, reason="agent_crash")
    samples = await until_told(client, "cursorpipe_workers", 1, state="ready")
    assert samples.total("cursorpipe_agent_starts_total", backend="acp") == 2


async def test_sessions_are_found_missed_and_made(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(pool_size=1)
    before = await scrape(client)
    assert before.total("cursorpipe_sessions_ready") == 1
    await asyncio.gather(*(answer(client, "hi") for _ in range(3)))
    samples = await until_told(client, "cursorpipe_sessions_ready", 1)
    found = samples.total("cursorpipe_sessions_found_total")
    assert found + samples.total("cursorpipe_sessions_missed_total") == 3
    assert found >= 1
    made = len(agent.events(method="session/new"))
    assert samples.total("cursorpipe_sessions_made_total") == made


@pytest.mark.parametrize(("model", "backend"), [("auto", "acp"), (NAMED, "subprocess")])
async def test_a_client_that_leaves_is_a_cancelled_turn(serve: Serve, model: str, backend: str) -> None:
    client = await serve()
    response = await client.post(CHAT, json=ask("[[demo:ignore-cancel count=50]]", model=model, stream=True))
    await response.content.readany()
    response.close()
    samples = await until_told(client, "cursorpipe_turns_cancelled_total", 1, backend=backend)
    samples = await until_told(client, "cursorpipe_requests_in_flight", 0)
    assert samples.total("cursorpipe_requests_total", outcome="client_left", backend=backend) == 1


async def test_the_queue_tells_its_length_and_how_long_it_took(serve: Serve) -> None:
    client = await serve(supervision={"worker_concurrency": 1}, pool_size=2)
    first = await client.post(CHAT, json=ask("[[demo:linger]]", stream=True))
    await first.content.readany()
    waiting = asyncio.create_task(answer(client, "hi"))
    await until_told(client, "cursorpipe_queue_length", 1, backend="acp")
    first.close()
    await waiting
    samples = await scrape(client)
    assert samples.total("cursorpipe_queue_length") == 0
    assert samples.told("cursorpipe_queue_wait_seconds_count", "backend") == {("acp",): 1}


async def test_refused_permissions_outlive_the_worker(serve: Serve) -> None:
    client = await serve()
    await answer(client, "[[demo:ask-permission]]")
    async with client.post(CHAT, json=ask("[[demo:crash-mid-stream]]", stream=True)) as response:
        await response.read()
    await until_told(client, "cursorpipe_worker_restarts_total", 1)
    samples = await until_told(client, "cursorpipe_workers", 1, state="ready")
    assert samples.total("cursorpipe_permissions_refused_total") == 1


async def test_a_worn_worker_is_a_recycle_and_no_restart(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.supervisor.WEAR_CHECK_S", 0.05)
    client = await serve(supervision={"worker_max_sessions": 2})
    await answer(client, "hi")
    await answer(client, "hi")
    samples = await until_told(client, "cursorpipe_worker_recycles_total")
    assert samples.total("cursorpipe_worker_restarts_total") == 0


async def test_the_memory_of_a_worker_is_told_once_it_was_looked_at(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.supervisor.WEAR_CHECK_S", 0.05)
    client = await serve(supervision={"worker_max_rss_mb": 0})
    samples = await until_told(client, "cursorpipe_worker_resident_memory_bytes")
    assert samples.total("cursorpipe_worker_resident_memory_bytes", worker="0", model="auto") > 1 << 20


@pytest.mark.usefixtures("quick_look")
async def test_turns_with_tools_are_told(serve: Serve) -> None:
    client = await serve()
    tools = [{"type": "function", "function": {"name": "get_time"}}]
    messages = [{"role": "user", "content": tools_directive(together(call("get_time")))}]
    body = {"messages": messages, "tools": tools}
    async with client.post(CHAT, json=body) as response:
        message = (await response.json())["choices"][0]["message"]
    samples = await scrape(client)
    assert samples.total("cursorpipe_tool_turns_parked") == 1
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "noon"}
    async with client.post(CHAT, json={**body, "messages": [*messages, message, result]}) as response:
        assert response.status == 200
    samples = await scrape(client)
    assert samples.told("cursorpipe_tool_turns_total", "way") == {("new",): 1, ("resumed",): 1}
    told = {name: samples.total(f"cursorpipe_tool_{name}") for name in ("calls_total", "groups_total")}
    assert told == {"calls_total": 1, "groups_total": 1}
    assert samples.total("cursorpipe_tool_turns_parked") == 0
