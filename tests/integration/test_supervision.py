"""Agents that die, and what that means for whom."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import psutil
import pytest

from cursorpipe_core import (
    AgentUnavailableError,
    Router,
    SlotState,
    Strategy,
    SupervisorSettings,
    restarts,
    runner,
)
from cursorpipe_core.counts import Counts
from cursorpipe_core.instance import Instance
from cursorpipe_core.supervisor import Supervisor
from cursorpipe_core.worker import AgentWorker
from cursorpipe_server.keys import ROUTER
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Client, Serve, answer, ask
from tests.integration.streams import Stream, read_stream
from tests.waiting import until


async def workers(client: Client) -> list[dict[str, Any]]:
    async with client.get("/ready") as response:
        states: list[dict[str, Any]] = (await response.json())["workers"]
        return states


def router_of(client: Client) -> Router:
    assert client.app is not None
    return client.app[ROUTER]


async def wait_ready(client: Client, count: int) -> None:
    router = router_of(client)
    await until(lambda: sum(worker.state == "ready" for worker in router.snapshot().workers) == count)


async def test_a_crash_fails_only_the_requests_of_that_worker(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", workers=2, pool_size=4)

    async def one(number: int) -> Stream:
        prompt = f"[[demo:markers marker=mark-{number}- count=40 ms=25]]"
        async with client.post(CHAT, json=ask(prompt, stream=True)) as response:
            return await read_stream(response)

    running = [asyncio.create_task(one(number)) for number in range(8)]
    prompts = await agent.wait_for("prompt", count=8)
    victim = prompts[0]["pid"]
    hit = [prompt["text"] for prompt in prompts if prompt["pid"] == victim]
    assert len(hit) == 4
    await asyncio.sleep(0.2)  # let every stream have some text
    os.kill(victim, signal.SIGKILL)
    for number, stream in enumerate(await asyncio.gather(*running)):
        if any(f"mark-{number}-" in text for text in hit):
            assert stream.error is not None
            assert stream.error["code"] == "agent_crash"
            assert "SIGKILL" in stream.error["message"]
        else:
            assert stream.done
            assert stream.text.count(f"mark-{number}-") == 40


async def test_a_request_goes_to_the_worker_that_has_a_session_in_stock(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SESSION_MS=1000)
    client = await serve(strategy="acp", workers=2, pool_size=2)
    await wait_ready(client, 2)
    for text in ("one", "two"):
        assert text in await answer(client, text)
    first, second = [prompt["pid"] for prompt in agent.events("prompt")]
    assert first != second


async def test_a_killed_worker_is_back_within_its_backoff(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="acp", workers=2, pool_size=2)
    before = await workers(client)
    os.kill(before[0]["pid"], signal.SIGKILL)
    await agent.wait_for("start", count=3, mode="acp")
    await wait_ready(client, 2)
    after = await workers(client)
    assert after[0]["pid"] != before[0]["pid"]
    assert after[1]["pid"] == before[1]["pid"]
    assert [worker["restarts"] for worker in after] == [1, 0]
    assert "hi" in await answer(client, "hi")


async def test_a_request_that_had_not_begun_is_served_elsewhere_when_its_worker_dies(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(FIRST_MS=1500)
    client = await serve(strategy="acp", workers=2, pool_size=16)
    running = [
        asyncio.create_task(answer(client, f"[[demo:markers marker=question-{number}- count=2]]"))
        for number in range(16)
    ]
    prompts = await agent.wait_for("prompt", count=16)
    os.kill(prompts[0]["pid"], signal.SIGKILL)
    answers = await asyncio.gather(*running)
    assert all(text.count(f"question-{number}-") == 2 for number, text in enumerate(answers))


async def test_the_second_try_is_another_workers_although_the_first_one_lives(
    serve: Serve, agent: DemoAgent
) -> None:
    client = await serve(strategy="acp", workers=2, pool_size=2)
    assert "hi" in await answer(client, "hi [[demo:empty times=1]]")
    first, second = agent.events("prompt")
    assert first["pid"] != second["pid"]
    assert len(agent.starts("acp")) == 2


async def test_a_request_waits_for_a_worker_that_is_starting(serve: Serve, agent: DemoAgent) -> None:
    agent.set(START_MS=500)
    client = await serve(strategy="acp", ready=False)
    async with client.get("/ready") as response:
        assert response.status == 503
        assert (await response.json())["workers"][0]["state"] == "starting"
    assert (await client.get("/health")).status == 200
    assert "hi" in await answer(client, "hi")


async def test_auto_falls_back_to_a_subprocess_when_acp_cannot_sign_in(
    serve: Serve, agent: DemoAgent
) -> None:
    # A stored login that print mode finds and ACP, on a machine without a display, does not.
    agent.set(LOGIN="browser")
    client = await serve(ready=False)
    for stream in (False, True):
        async with client.post(CHAT, json=ask("hi", stream=stream)) as response:
            assert response.status == 200
            assert response.headers["x-cursorpipe-backend"] == "subprocess"


@pytest.mark.usefixtures("quick_restarts")
async def test_a_worker_that_keeps_crashing_is_given_a_pause(serve: Serve, agent: DemoAgent) -> None:
    agent.set(SCENARIO="crash-before-initialize")
    client = await serve(strategy="acp", ready=False)
    async with client.post(CHAT, json=ask("hi")) as response:
        assert response.status == 503
        error = (await response.json())["error"]
        assert error["code"] == "agent_unavailable"
        assert "Retry-After" in response.headers
    (worker,) = await workers(client)
    assert worker["state"] == "tripped"
    assert "exit status 1" in worker["reason"]
    assert len(agent.starts("acp")) == 4


@pytest.mark.usefixtures("quick_restarts")
async def test_without_a_worker_auto_is_ready_to_serve_by_subprocesses(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SCENARIO="other-protocol")
    client = await serve(ready=False)
    await until(lambda: router_of(client).snapshot().workers[0].state == "tripped")
    async with client.get("/ready") as response:
        told = await response.json()
        assert response.status == 200
        assert told["ready"]
        assert "No worker stays alive" in told["reason"]
    for model in ("auto", "composer-2.5"):
        async with client.post(CHAT, json=ask("hi", model=model)) as response:
            assert response.status == 200
            assert response.headers["x-cursorpipe-backend"] == "subprocess"


@pytest.mark.usefixtures("quick_restarts")
async def test_without_a_worker_auto_is_not_ready_while_subprocesses_fail_too(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.set(SCENARIO="crash-at-start")
    client = await serve(ready=False)
    router = router_of(client)
    await until(lambda: router.snapshot().workers[0].state == "tripped")
    # Nobody knows yet.
    assert router.snapshot().ready
    async with client.post(CHAT, json=ask("hi")) as response:
        assert response.status == 500
    assert not router.snapshot().ready
    assert "No worker stays alive, each" not in (router.snapshot().reason or "")
    # After a while it is tried again, and believed once it answers.
    with monkeypatch.context() as later:
        later.setattr(runner, "DOUBT_S", 0.0)
        assert router.snapshot().ready
    assert not router.snapshot().ready
    agent.set(SCENARIO="other-protocol")
    router.adopt(agent.settings(), SupervisorSettings(workers=1, pool_size=1))
    assert "hi" in await answer(client, "hi")
    assert router.snapshot().ready


@pytest.mark.parametrize("strategy", [Strategy.AUTO, Strategy.ACP])
async def test_who_stands_in_the_line_is_told_when_the_last_worker_is_given_up(
    agent: DemoAgent, strategy: Strategy
) -> None:
    settings = agent.settings()
    limits = SupervisorSettings(workers=2, strategy=strategy)
    supervisor = Supervisor(settings, limits, Instance(settings.state_dir), Counts())
    tried_again, last = supervisor._slots
    waiting = asyncio.create_task(supervisor.lease("me", 60))
    await until(lambda: supervisor.waiting == 1)
    # The one is tried once more, while the other is given up.
    tried_again.given_up = last.given_up = True
    supervisor._move(last, SlotState.TRIPPED)
    assert supervisor.waiting == (strategy is Strategy.ACP)
    if strategy is Strategy.ACP:
        supervisor._move(tried_again, SlotState.TRIPPED)
    with pytest.raises(AgentUnavailableError, match="No agent stays alive"):
        await waiting


@pytest.mark.usefixtures("quick_restarts")
async def test_a_last_try_of_a_tripped_worker_keeps_nobody_waiting_who_need_not(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "LONGEST_DELAY_S", 0.5)
    agent.set(SCENARIO="other-protocol")
    client = await serve(ready=False)
    router = router_of(client)
    await until(lambda: router.snapshot().workers[0].state == "tripped")
    # The next try, and no other process, lasts longer than the test does.
    before = len(agent.starts("acp"))
    agent.set(SCENARIO="slow-start ms=600000 times=1")
    router.adopt(agent.settings(startup_timeout_s=600), SupervisorSettings(workers=1, pool_size=1))
    await agent.wait_for("start", mode="acp", count=before + 1)
    assert router.snapshot().workers[0].state == "starting"
    assert router.snapshot().ready
    async with client.post(CHAT, json=ask("hi")) as response:
        assert response.status == 200
        assert response.headers["x-cursorpipe-backend"] == "subprocess"


async def test_a_missing_login_trips_at_once_and_is_not_hammered(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.acp.AUTHENTICATE_TIMEOUT_S", 0.2)
    agent.set(SCENARIO="not-logged-in")
    client = await serve(strategy="acp", ready=False)
    async with client.post(CHAT, json=ask("hi")) as response:
        assert response.status == 401
    (worker,) = await workers(client)
    assert worker["state"] == "tripped"
    assert len(agent.starts("acp")) == 1


@pytest.mark.parametrize("scenario", ["crash-before-initialize times=5", "invalid-key times=2"])
@pytest.mark.usefixtures("quick_restarts")
async def test_a_worker_that_was_given_up_serves_once_its_trouble_is_over(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    monkeypatch.setattr(restarts, "LONGEST_DELAY_S", 0.5)
    agent.set(SCENARIO=scenario)
    client = await serve(strategy="acp", ready=False)
    router = router_of(client)
    await until(lambda: router.snapshot().workers[0].state == "tripped")
    await wait_ready(client, 1)
    assert "hi" in await answer(client, "hi")
    (worker,) = await workers(client)
    assert worker["reason"] is None


@pytest.mark.usefixtures("quick_restarts")
async def test_ends_of_a_worker_that_had_started_well_are_no_failed_starts(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(restarts, "STABLE_AFTER_S", 0.0)
    # Never more than one end within the window, and each after a start that counts as stable.
    client = await serve(strategy="acp", supervision={"max_restarts": 1, "restart_window_s": 0.001})
    for number in range(1, 4):
        (worker,) = await workers(client)
        os.kill(worker["pid"], signal.SIGKILL)
        await agent.wait_for("start", count=number + 1, mode="acp")
        await wait_ready(client, 1)
    assert caplog.text.count("Next start in 0.0s") == 3


async def test_the_log_tells_why_a_worker_ended_and_when_the_next_one_starts(
    serve: Serve, agent: DemoAgent, caplog: pytest.LogCaptureFixture
) -> None:
    client = await serve(strategy="acp")
    (worker,) = await workers(client)
    os.kill(worker["pid"], signal.SIGKILL)
    await agent.wait_for("start", count=2, mode="acp")
    (line,) = [record.getMessage() for record in caplog.records if "Next start" in record.getMessage()]
    assert line.startswith("worker 0: ")
    assert "SIGKILL" in line


async def test_a_fault_of_ours_costs_one_worker_and_not_its_place(
    serve: Serve, agent: DemoAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(worker: AgentWorker) -> int:
        monkeypatch.undo()
        raise RuntimeError(f"no figures of process {worker.pid}")

    monkeypatch.setattr("cursorpipe_core.supervisor.WEAR_CHECK_S", 0.01)
    monkeypatch.setattr(AgentWorker, "rss_bytes", fail)
    client = await serve(strategy="acp")
    assert client.app is not None
    router = client.app[ROUTER]
    (first,) = agent.events("start", mode="acp")
    await until(lambda: router.snapshot().workers[0].restarts)
    await until(lambda: not psutil.pid_exists(first["pid"]))
    await wait_ready(client, 1)
    assert "hi" in await answer(client, "hi")


@pytest.mark.parametrize("strategy", ["auto", "acp", "subprocess"])
async def test_without_a_cli_the_server_starts_and_says_how_to_get_one(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy, ready=False, stand_in=(), agent_bin="no-such-agent")
    assert (await client.get("/health")).status == 200
    async with client.get("/ready") as response:
        assert response.status == 503
    async with client.post(CHAT, json=ask("hi")) as response:
        assert response.status == 503
        error = (await response.json())["error"]
        assert (error["type"], error["code"]) == ("service_unavailable", "agent_not_found")
        assert "no-such-agent" in error["message"]
        assert "--demo" in error["message"]


@pytest.mark.parametrize("scenario", ["ignore-sigterm", "deaf at=start", "grandchild"])
async def test_nothing_survives_the_server(serve: Serve, agent: DemoAgent, scenario: str) -> None:
    agent.set(SCENARIO=scenario)
    client = await serve(strategy="acp", workers=2, ready=scenario != "deaf at=start")
    await agent.wait_for("start", count=2)
    await client.close()
    await until(lambda: not [pid for pid in agent.pids() if psutil.pid_exists(pid)])


async def test_nothing_survives_a_pinned_request_either(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess")
    await answer(client, "hi [[demo:grandchild]]")
    await agent.wait_for("start")
    await client.close()
    await until(lambda: not [pid for pid in agent.pids() if psutil.pid_exists(pid)])


async def test_stopping_ends_requests_that_run(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess")
    asking = asyncio.create_task(
        client.session.post(client.make_url(CHAT), json=ask("[[demo:silent-prompt]]"))
    )
    (prompt,) = await agent.wait_for("prompt")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await client.close()
    assert not psutil.pid_exists(prompt["pid"])
