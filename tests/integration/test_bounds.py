"""Agents that are slow, silent, deaf or worn: each wait has its bound, each worker its term."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cursorpipe_core import Strategy, SupervisorSettings
from cursorpipe_core import supervisor as supervisor_module
from cursorpipe_server.keys import ROUTER, SETTINGS
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.integration.streams import read_stream
from tests.waiting import until

NAMED = "composer-2.5"
#: A worker is never worn, by whichever measure.
ENDLESS: dict[str, Any] = {"worker_max_sessions": 0, "worker_max_age_s": 0.0, "worker_max_rss_mb": 0}


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "WEAR_CHECK_S", 0.05)


async def post(client: Client, text: str, **fields: object) -> tuple[int, str | None, dict[str, str]]:
    """Return status, error code and headers."""
    async with client.post(CHAT, json=ask(text, **fields)) as response:
        body = await response.json()
        return response.status, body.get("error", {}).get("code"), dict(response.headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_an_agent_that_shows_no_sign_of_work_is_given_up(
    serve: Serve, agent: DemoAgent, strategy: str, stream: bool
) -> None:
    client = await serve(strategy=strategy, first_event_timeout_s=0.5)
    assert (await post(client, "[[demo:silent-prompt]]", stream=stream))[:2] == (504, "timeout")
    if strategy == "acp":
        await agent.wait_for("received", method="session/cancel")
    else:
        (prompt,) = agent.events("prompt")
        await until(lambda: not psutil.pid_exists(prompt["pid"]))


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_an_agent_that_falls_silent_ends_its_stream_with_an_error(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(strategy=strategy, idle_timeout_s=0.4)
    prompt = "[[demo:slow-chunks count=3 ms=1500]]"
    async with client.post(CHAT, json=ask(prompt, stream=True)) as response:
        stream = await read_stream(response)
    assert stream.text.startswith("word-1")
    assert stream.error is not None
    assert stream.error["code"] == "timeout"


async def test_a_slow_but_steady_agent_is_left_alone(serve: Serve) -> None:
    client = await serve(strategy="acp", idle_timeout_s=0.6, first_event_timeout_s=2)
    async with client.post(CHAT, json=ask("[[demo:slow-chunks count=12 ms=100]]", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.done


async def test_a_stopped_agent_is_deaf_and_is_replaced(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(
        strategy="acp", workers=2, liveness_interval_s=0.3, liveness_timeout_s=0.3, pool_size=2
    )
    prompt = "[[demo:slow-chunks count=400 ms=25]]"
    async with client.post(CHAT, json=ask(prompt, stream=True)) as response:
        (begun,) = await agent.wait_for("prompt")
        os.kill(begun["pid"], signal.SIGSTOP)
        stream = await read_stream(response)
    assert stream.error is not None
    assert stream.error["code"] == "agent_crash"
    await agent.wait_for("start", count=3, mode="acp")
    await until(lambda: not psutil.pid_exists(begun["pid"]))
    assert "hi" in await answer(client, "hi")


async def test_a_worker_that_runs_is_asked_by_a_new_interval(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", liveness_interval_s=1000)
    assert client.app is not None
    settings = client.app[SETTINGS].settings
    (start,) = agent.events("start", mode="acp")
    os.kill(start["pid"], signal.SIGSTOP)
    client.app[ROUTER].adopt(
        replace(settings.agent, liveness_interval_s=0.2, liveness_timeout_s=0.2), settings.supervision
    )
    await agent.wait_for("start", count=2, mode="acp")
    await until(lambda: not psutil.pid_exists(start["pid"]))


async def test_idle_is_not_dead(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", liveness_interval_s=0.1, liveness_timeout_s=2)
    await agent.wait_for("received", method="_cursorpipe/ping", count=3)
    assert "hi" in await answer(client, "hi")
    assert len(agent.starts("acp")) == 1


async def test_a_silent_turn_of_a_living_agent_is_not_taken_for_death(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", liveness_interval_s=0.1, liveness_timeout_s=2)
    prompt = "[[demo:markers marker=m count=2 ms=600]]"
    assert (await answer(client, prompt)).count("m") >= 2
    assert len(agent.starts("acp")) == 1


@pytest.mark.parametrize(
    "limit", [{"worker_max_sessions": 4}, {"worker_max_age_s": 0.8}, {"worker_max_rss_mb": 1}]
)
async def test_a_worn_worker_is_replaced_while_it_finishes_and_no_request_fails(
    serve: Serve, agent: DemoAgent, limit: dict[str, object]
) -> None:
    client = await serve(strategy="acp", supervision={**ENDLESS, **limit})
    (before,) = agent.events("start", mode="acp")
    long = asyncio.create_task(answer(client, "[[demo:markers marker=long count=40 ms=40]]"))
    await agent.wait_for("prompt")
    while len(agent.events("start", mode="acp")) < 2:
        assert "hi" in await answer(client, "hi")
    assert (await long).count("long-") == 40
    assert "hi" in await answer(client, "hi")
    await until(lambda: not psutil.pid_exists(before["pid"]))


async def test_never_are_two_workers_replaced_at_once(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(
        strategy="acp", workers=3, pool_size=3, supervision={"worker_max_age_s": 0.1, "worker_max_rss_mb": 0}
    )
    assert client.app is not None
    router = client.app[ROUTER]
    for _ in range(150):
        living = [event["pid"] for event in agent.events("start") if psutil.pid_exists(event["pid"])]
        # One that starts beside the three, or one that leaves.
        assert len(living) <= 4
        assert router.snapshot().draining <= 1
        await asyncio.sleep(0.01)
    assert len(agent.events("start")) > 4


async def test_a_worn_worker_serves_on_until_its_replacement_is_warm(serve: Serve, agent: DemoAgent) -> None:
    agent.set(START_MS=2000)
    client = await serve(strategy="acp", supervision={**ENDLESS, "worker_max_sessions": 2})
    assert "hi" in await answer(client, "hi")
    _, fresh = await agent.wait_for("start", count=2, mode="acp")
    assert "hi" in await answer(client, "hi")
    assert fresh["pid"] not in [prompt["pid"] for prompt in agent.events("prompt")]


async def test_the_next_worker_is_replaced_when_the_last_turn_of_the_one_before_has_ended(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(
        strategy="acp", workers=3, pool_size=3, supervision={**ENDLESS, "worker_max_age_s": 0.5}
    )
    long = "[[demo:slow-chunks count=60 ms=25]]"
    running = [asyncio.create_task(answer(client, long)) for _ in range(3)]
    await agent.wait_for("start", count=4, mode="acp")
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    assert len(agent.starts("acp")) == 4
    await asyncio.gather(*running)
    await agent.wait_for("start", count=5, mode="acp")


async def test_the_end_of_a_worn_worker_is_noticed_while_its_replacement_starts(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(strategy="acp", supervision=ENDLESS)
    assert client.app is not None
    router = client.app[ROUTER]
    agent.set(SCENARIO="slow-start ms=600000 times=1")
    router.adopt(
        agent.settings(startup_timeout_s=600),
        SupervisorSettings(strategy=Strategy.ACP, **{**ENDLESS, "worker_max_sessions": 1}),
    )
    worn, fresh = await agent.wait_for("start", count=2, mode="acp")
    os.kill(worn["pid"], signal.SIGKILL)
    await until(lambda: not router.snapshot().ready)
    # The one that hangs is given up with it.
    await agent.wait_for("start", count=3, mode="acp")
    assert "hi" in await answer(client, "hi")
    await until(lambda: not psutil.pid_exists(fresh["pid"]))


@pytest.mark.parametrize("dies", [False, True])
async def test_a_worn_worker_without_a_replacement_serves_on_and_is_replaced_later(
    serve: Serve,
    agent: DemoAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    dies: bool,
) -> None:
    # Nothing but the death of the worker shortens the wait for the second try.
    monkeypatch.setattr(supervisor_module, "REPLACEMENT_PAUSE_S", 1000 if dies else 0.1)
    program = tmp_path / "agent"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cursorpipe_core.demo_agent "$@"\n')
    program.chmod(0o700)
    client = await serve(
        strategy="acp", stand_in=(str(program),), supervision={**ENDLESS, "worker_max_sessions": 2}
    )
    (worn,) = agent.events("start", mode="acp")
    program.rename(tmp_path / "away")
    assert "hi" in await answer(client, "hi")
    await until(lambda: "stays for want of a replacement" in caplog.text)
    assert "hi" in await answer(client, "hi")
    assert {prompt["pid"] for prompt in agent.events("prompt")} == {worn["pid"]}
    (tmp_path / "away").rename(program)
    if dies:
        os.kill(worn["pid"], signal.SIGKILL)
    await agent.wait_for("start", count=2, mode="acp")
    await until(lambda: not psutil.pid_exists(worn["pid"]))
    assert "hi" in await answer(client, "hi")


async def test_a_worker_serves_no_more_at_once_than_it_may(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(
        strategy="acp", supervision={"worker_concurrency": 2, "max_queue": 2, "queue_timeout_s": 5.0}
    )
    prompt = "[[demo:markers marker=m count=10 ms=50]]"
    running = [asyncio.create_task(post(client, prompt)) for _ in range(4)]
    await agent.wait_for("prompt", count=2)
    assert client.app is not None
    router = client.app[ROUTER]
    await until(lambda: router.snapshot().waiting == 2)
    status, code, headers = await post(client, prompt)
    assert (status, code) == (429, "queue_full")
    assert int(headers["Retry-After"]) >= 1
    assert [status for status, *_ in await asyncio.gather(*running)] == [200] * 4


async def test_no_more_processes_run_at_once_than_may(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess", supervision={"max_subprocesses": 2})
    running = [asyncio.create_task(answer(client, f"q{number}")) for number in range(6)]
    most = 0
    while not all(task.done() for task in running):
        living = [event["pid"] for event in agent.events("start") if psutil.pid_exists(event["pid"])]
        most = max(most, len(living))
        await asyncio.sleep(0.005)
    assert most <= 2
    assert len(await asyncio.gather(*running)) == 6


async def test_the_line_for_processes_has_its_bound_too(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess", supervision={"max_subprocesses": 1, "max_queue": 1})
    assert client.app is not None
    router = client.app[ROUTER]
    running = [asyncio.create_task(post(client, "[[demo:markers marker=m count=10 ms=50]]")) for _ in "ab"]
    await agent.wait_for("prompt")
    await until(lambda: router.snapshot().waiting == 1)
    status, code, headers = await post(client, "hi")
    assert (status, code) == (429, "queue_full")
    assert int(headers["Retry-After"]) >= 1
    assert [status for status, *_ in await asyncio.gather(*running)] == [200] * 2


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_waiting_for_ones_turn_has_its_bound(serve: Serve, agent: DemoAgent, strategy: str) -> None:
    limits = {"worker_concurrency": 1, "max_subprocesses": 1, "queue_timeout_s": 0.3}
    client = await serve(strategy=strategy, supervision=limits)
    running = asyncio.create_task(post(client, "[[demo:slow-chunks count=60 ms=25]]"))
    await agent.wait_for("prompt")
    status, code, headers = await post(client, "hi")
    assert (status, code) == (429, "queue_timeout")
    assert "Retry-After" in headers
    assert (await running)[0] == 200


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_a_flood_of_one_client_delays_anothers_request_by_no_more_than_two_turns(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(
        strategy=strategy,
        server={"bearer_tokens": "ann=token-of-ann, bob=token-of-bob"},
        supervision={"worker_concurrency": 1, "max_subprocesses": 1},
    )
    assert client.app is not None
    router = client.app[ROUTER]

    async def one(name: str, text: str) -> int:
        headers = {"Authorization": f"Bearer token-of-{name}"}
        async with client.post(CHAT, json=ask(text), headers=headers) as response:
            return response.status

    running = [asyncio.create_task(one("ann", "[[demo:markers marker=m count=10 ms=50]]"))]
    await agent.wait_for("prompt")
    running += [asyncio.create_task(one("ann", "one of many")) for _ in range(10)]
    await until(lambda: router.snapshot().waiting == 10)
    running.append(asyncio.create_task(one("bob", "the only one")))
    assert await asyncio.gather(*running) == [200] * 12
    texts = [prompt["text"] for prompt in agent.events("prompt")]
    assert texts.index("the only one") <= 2


async def test_a_request_has_its_time_for_the_wait_as_well(serve: Serve, agent: DemoAgent) -> None:
    agent.set(START_MS=10_000)
    client = await serve(strategy="acp", ready=False, request_timeout_s=0.3)
    assert (await post(client, "hi"))[:2] == (504, "timeout")
    assert client.app is not None
    assert not client.app[ROUTER].snapshot().ready


async def test_a_waiting_client_that_leaves_is_gone_at_once(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", supervision={"worker_concurrency": 1})
    assert client.app is not None
    router = client.app[ROUTER]
    running = asyncio.create_task(post(client, "[[demo:slow-chunks count=60 ms=25]]"))
    await agent.wait_for("prompt")
    waiting = asyncio.create_task(post(client, "mine"))
    await until(lambda: router.snapshot().waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: router.snapshot().waiting == 0)
    assert (await running)[0] == 200
    assert "mine" not in [event["text"] for event in agent.events("prompt")]


async def test_a_lost_connection_before_any_text_is_tried_once_more(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.router.NETWORK_PAUSE_S", 0.01)
    client = await serve(strategy="acp")
    assert "hi" in await answer(client, "hi [[demo:unavailable times=1]]")
    assert len(agent.events("prompt")) == 2


async def test_a_lost_connection_is_not_tried_anew_at_once(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.router.NETWORK_PAUSE_S", 1000)
    client = await serve(strategy="acp")
    pausing = asyncio.create_task(post(client, "[[demo:unavailable times=1]]"))
    await agent.wait_for("finished")
    for _ in range(3):
        assert "hi" in await answer(client, "hi")
    assert [prompt["scenario"] for prompt in agent.events("prompt")].count("unavailable") == 1
    assert not pausing.done()
    pausing.cancel()
    await asyncio.gather(pausing, return_exceptions=True)


async def test_sixteen_requests_survive_the_death_of_one_of_two_workers(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(FIRST_MS=1500, START_MS=1000)
    client = await serve(workers=2, pool_size=16)
    running = [
        asyncio.create_task(answer(client, f"[[demo:markers marker=q{number}- count=2]]"))
        for number in range(16)
    ]
    prompts = await agent.wait_for("prompt", count=16)
    os.kill(prompts[0]["pid"], signal.SIGKILL)
    answers = await asyncio.gather(*running)
    assert all(text.count(f"q{number}-") == 2 for number, text in enumerate(answers))
