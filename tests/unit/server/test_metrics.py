from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from cursorpipe_core import (
    AgentCrashError,
    AuthenticationError,
    Backend,
    BackendHistory,
    BacklogError,
    Began,
    DurationsSnapshot,
    Finish,
    FinishReason,
    History,
    QueueFullError,
    RateLimitError,
    SlotState,
    TextDelta,
    ThoughtDelta,
    ToolsSnapshot,
    UnknownModelError,
    Usage,
    WorkerSnapshot,
)
from cursorpipe_server.config import MetricsAuth
from cursorpipe_server.errors import HTTP_ERRORS
from cursorpipe_server.keys import IN_FLIGHT
from tests.metrics import Client, Samples, scrape
from tests.unit.server.conftest import BEGAN, FINISH, HELLO, MakeClient, ScriptedRouter, ask
from tests.waiting import until

CHAT = "/v1/chat/completions"
KIND = ("route", "model", "backend", "outcome")
TOKEN = "s3cret"


async def requests(client: Client) -> dict[tuple[str, ...], float]:
    """The requests so far, those for the metrics left out."""
    told = (await scrape(client)).told("cursorpipe_requests_total", *KIND)
    return {kind: count for kind, count in told.items() if kind[0] != "/metrics"}


async def chat(client: Client, **fields: Any) -> None:
    async with client.post(CHAT, json=ask(**fields)) as response:
        await response.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_counted_by_what_served_it(client: Client, stream: bool) -> None:
    await chat(client, stream=stream)
    await chat(client, stream=stream)
    assert await requests(client) == {(CHAT, "auto", "acp", "ok"): 2}


async def test_the_model_is_the_one_that_served(client: Client, router: ScriptedRouter) -> None:
    router.script = [[Began(Backend.SUBPROCESS, "m-1"), *HELLO[1:]]]
    await chat(client, model="an-alias")
    assert await requests(client) == {(CHAT, "m-1", "subprocess", "ok"): 1}


@pytest.mark.parametrize(
    ("asked_for", "label"), [(None, "auto"), ("a/b[c=d]", "a/b[c=d]"), ("made-up", "other")]
)
async def test_what_nobody_served_has_the_name_of_a_model_of_the_list_only(
    client: Client, router: ScriptedRouter, asked_for: str | None, label: str
) -> None:
    router.script = [QueueFullError("full", retry_after=1)]
    await chat(client, **({} if asked_for is None else {"model": asked_for}))
    assert await requests(client) == {(CHAT, label, "acp", "queue_full"): 1}


async def test_a_model_at_which_the_agent_failed_is_told_by_name(
    client: Client, router: ScriptedRouter
) -> None:
    router.led_to, router.waited_s = Backend.ACP, (0.1, 0.2)
    router.script = [RateLimitError("No more today.")]
    await chat(client, model="not-in-the-list")
    # A worker has started with it.
    assert await requests(client) == {(CHAT, "not-in-the-list", "acp", "rate_limited"): 1}


async def test_a_model_that_no_process_has_proven_gets_no_label(
    client: Client, router: ScriptedRouter
) -> None:
    # One that failed, or whose client left, may never have looked at what it was given.
    router.led_to, router.waited_s = Backend.SUBPROCESS, (0.1, 0.2)
    router.script = [AgentCrashError("It is gone.")]
    await chat(client, model="sk-somebodys-secret")
    assert await requests(client) == {(CHAT, "other", "subprocess", "agent_crash"): 1}


async def test_a_model_that_the_agent_does_not_know_gets_no_label(
    client: Client, router: ScriptedRouter
) -> None:
    router.led_to, router.waited_s = Backend.SUBPROCESS, (0.1, 0.2)
    router.script = [UnknownModelError("made-up")]
    await chat(client, model="made-up")
    assert await requests(client) == {(CHAT, "other", "subprocess", "model_not_found"): 1}


@pytest.mark.parametrize(
    ("method", "path", "route", "outcome"),
    [
        ("GET", "/health", "/health", "ok"),
        ("GET", "/v1/models/a/b%5Bc=d%5D", "/v1/models/{id}", "ok"),
        ("GET", "/v1/models/none", "/v1/models/{id}", "model_not_found"),
        ("GET", "/a/path/of/somebody", "other", "unknown_url"),
        ("PUT", "/health", "other", "method_not_allowed"),
        ("POST", CHAT, CHAT, "unsupported_media_type"),
    ],
)
async def test_what_asks_no_agent_is_counted_by_its_route(
    client: Client, method: str, path: str, route: str, outcome: str
) -> None:
    await client.request(method, path)
    assert await requests(client) == {(route, "", "", outcome): 1}


async def test_every_outcome_of_an_answer_is_told_from_the_start(client: Client) -> None:
    known = {
        "ok",
        "client_left",
        "internal_error",
        "server_stopped",
        *(known.code for known in HTTP_ERRORS.values()),
    }
    answers = (await scrape(client)).values("cursorpipe_answers_total", "outcome")
    assert answers == {outcome: {0} for outcome in known}


@pytest.mark.parametrize(
    ("error", "outcome", "failed"),
    [
        (AgentCrashError("It died."), "agent_crash", "true"),
        (AuthenticationError(), "auth_failed", "true"),
        (QueueFullError("full"), "queue_full", "true"),
        (ValueError("oops"), "internal_error", "true"),
        (UnknownModelError("x"), "model_not_found", "false"),
        (BacklogError("slow"), "client_too_slow", "false"),
    ],
)
async def test_answers_that_fail_are_told_from_mistakes_of_clients(
    client: Client, router: ScriptedRouter, error: Exception, outcome: str, failed: str
) -> None:
    router.script = [error]
    await chat(client)
    async with client.get("/v1/models"):
        pass
    answers = (await scrape(client)).told("cursorpipe_answers_total", "outcome", "failed")
    assert answers == {(outcome, failed): 1}


async def test_a_fault_of_ours_is_counted_as_one(client: Client, router: ScriptedRouter) -> None:
    router.script = [ValueError("oops")]
    await chat(client)
    assert await requests(client) == {(CHAT, "auto", "acp", "internal_error"): 1}


async def test_a_failure_in_mid_stream_is_counted_though_the_status_was_200(
    client: Client, router: ScriptedRouter
) -> None:
    router.script = [[BEGAN, TextDelta(["Hel"])], AgentCrashError("gone")]
    await chat(client, stream=True)
    samples = await scrape(client)
    assert samples.total("cursorpipe_requests_total", outcome="agent_crash", backend="acp") == 1
    assert samples.total("cursorpipe_first_text_seconds_count") == 1
    assert samples.total("cursorpipe_answer_seconds_count") == 0


async def test_a_client_that_leaves_is_counted(client: Client, router: ScriptedRouter) -> None:
    router.script = [[BEGAN, TextDelta(["Hel"])], asyncio.Event()]
    response = await client.post(CHAT, json=ask(stream=True))
    await response.content.readany()
    assert (await scrape(client)).total("cursorpipe_requests_in_flight") == 1
    response.close()
    await router.closed.wait()
    assert await requests(client) == {(CHAT, "auto", "acp", "client_left"): 1}


async def test_the_first_text_is_not_a_thought(client: Client, router: ScriptedRouter) -> None:
    told = asyncio.Event()
    router.script = [[BEGAN, ThoughtDelta(["Hm"])], told, [TextDelta(["Yes"]), HELLO[3], FINISH]]
    response = await client.post(CHAT, json=ask(stream=True))
    await response.content.readany()
    asyncio.get_running_loop().call_later(0.15, told.set)
    await response.read()
    samples = await scrape(client)
    labels = {"route": CHAT, "backend": "acp"}
    assert samples.total("cursorpipe_first_text_seconds_bucket", le="0.1", **labels) == 0
    assert samples.total("cursorpipe_first_text_seconds_bucket", le="+Inf", **labels) == 1
    assert samples.total("cursorpipe_first_text_seconds_sum") > 0.15
    assert samples.total("cursorpipe_answer_seconds_sum") > samples.total("cursorpipe_first_text_seconds_sum")


async def test_chunks_and_tokens_are_summed_over_all_choices(client: Client, router: ScriptedRouter) -> None:
    reported = Usage(100, 20, estimated=False)
    router.script = [[Began(Backend.SUBPROCESS, "m-1"), TextDelta(["a", "b"]), reported, FINISH]]
    await chat(client, model="m-1", n=3)
    router.script = [HELLO]
    await chat(client)
    samples = await scrape(client)
    assert samples.told("cursorpipe_answer_chunks_total", "backend") == {("subprocess",): 6, ("acp",): 2}
    assert samples.told("cursorpipe_tokens_total", "model", "direction", "source") == {
        ("m-1", "input", "reported"): 300,
        ("m-1", "output", "reported"): 60,
        ("auto", "input", "estimated"): 12,
        ("auto", "output", "estimated"): 3,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_the_bytes_of_an_answer_are_counted(
    client: Client, router: ScriptedRouter, stream: bool
) -> None:
    long = "x" * 50_000
    router.script = [[BEGAN, TextDelta([long]), HELLO[3], Finish(FinishReason.STOP)]]
    await chat(client, stream=stream)
    sent = (await scrape(client)).total("cursorpipe_response_bytes_total", route=CHAT)
    assert len(long) < sent < len(long) + 2000


async def test_what_the_agents_count_is_told(client: Client, router: ScriptedRouter) -> None:
    waits = DurationsSnapshot((1.0,), (2, 1), 7.5)
    router.state = replace(
        router.state,
        waiting=5,
        waiting_acp=3,
        tools=ToolsSnapshot(
            "http", parked=1, calls=7, groups=6, new=2, resumed=3, rebuilt=4, expired=5, refused=8
        ),
        history=History(
            acp=BackendHistory(started=3, cancelled=2, waits=waits),
            subprocess=BackendHistory(started=9),
            sessions_made=7,
            sessions_found=5,
            sessions_missed=1,
            restarts={AgentCrashError: 4},
            recycled=6,
            permissions_refused=2,
        ),
    )
    samples = await scrape(client)
    assert samples.told("cursorpipe_queue_length", "backend") == {("acp",): 3, ("subprocess",): 2}
    assert samples.told("cursorpipe_queue_wait_seconds_bucket", "backend", "le") == {
        ("acp", "1.0"): 2,
        ("acp", "+Inf"): 3,
    }
    assert samples.told("cursorpipe_agent_starts_total", "backend") == {("acp",): 3, ("subprocess",): 9}
    assert samples.told("cursorpipe_turns_cancelled_total", "backend") == {("acp",): 2}
    assert samples.told("cursorpipe_worker_restarts_total", "reason") == {("agent_crash",): 4}
    assert samples.told("cursorpipe_tool_turns_total", "way") == {
        ("new",): 2,
        ("resumed",): 3,
        ("rebuilt",): 4,
    }
    assert samples.told("cursorpipe_tool_turns_lost_total", "cause") == {("expired",): 5}
    plain = {
        "sessions_made_total": 7,
        "sessions_found_total": 5,
        "sessions_missed_total": 1,
        "worker_recycles_total": 6,
        "permissions_refused_total": 2,
        "tool_calls_total": 7,
        "tool_groups_total": 6,
        "tool_turns_parked": 1,
        "tool_requests_refused_total": 8,
    }
    assert {name: samples.total(f"cursorpipe_{name}") for name in plain} == plain


async def test_workers_are_told_by_state_and_one_by_one(client: Client, router: ScriptedRouter) -> None:
    ready = WorkerSnapshot(0, SlotState.READY, None, 42, 0, 3, 2, (), rss_bytes=1000)
    router.state = replace(
        router.state,
        workers=(
            ready,
            WorkerSnapshot(1, SlotState.TRIPPED, "why", None, 3, 0, 0, ()),
            replace(ready, model="a/b[c=d]"),
            # Of these nobody knows whether they exist: one label for both, and no sample twice.
            replace(ready, model="made-up"),
            replace(ready, model="made-up-too"),
        ),
    )
    samples = await scrape(client)
    assert samples.told("cursorpipe_workers", "state") == {("ready",): 4, ("tripped",): 1}
    assert samples.total("cursorpipe_sessions_ready") == 8
    assert samples.told("cursorpipe_worker_resident_memory_bytes", "worker", "model") == {
        ("0", "auto"): 1000,
        ("0", "a/b[c=d]"): 1000,
        ("0", "other"): 2000,
    }
    assert samples.total("cursorpipe_worker_turns", worker="0", model="auto") == 3


async def test_whether_it_is_ready_is_told(client: Client, router: ScriptedRouter) -> None:
    assert (await scrape(client)).total("cursorpipe_ready") == 1
    router.state = replace(router.state, ready=False)
    assert (await scrape(client)).total("cursorpipe_ready") == 0


async def test_names_are_as_prometheus_wants_them(client: Client) -> None:
    await chat(client)
    for family in (await scrape(client)).families:
        assert family.documentation, family.name
        if family.name.startswith("process_"):
            continue
        for sample in family.samples:
            name = sample.name
            assert re.fullmatch(r"cursorpipe_[a-z_]+", name)
            assert (family.type == "counter") is name.endswith("_total"), name
            assert (family.type == "histogram") is name.endswith(
                ("_seconds_bucket", "_seconds_sum", "_seconds_count")
            )
            # A unit that is named is a base unit, and the last but the count's own ending.
            assert not re.search(r"_(ms|s|mb|kb|milliseconds|minutes)(_|$)", name), name


async def test_openmetrics_is_told_to_who_wants_it(client: Client) -> None:
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with client.get("/metrics", headers=wanted) as response:
        assert response.content_type == "application/openmetrics-text"
        assert (await response.text()).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("server", "headers", "status"),
    [
        ({}, {}, 200),
        ({"bearer_token": TOKEN}, {}, 401),
        ({"bearer_token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"bearer_token": TOKEN, "metrics_auth": MetricsAuth.OPEN}, {}, 200),
    ],
)
async def test_who_may_read_them_is_a_setting(
    make_client: MakeClient, server: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    client = await make_client(**server)
    assert (await client.get("/metrics", headers=headers)).status == status


async def test_open_metrics_open_nothing_else(make_client: MakeClient) -> None:
    client = await make_client(bearer_token=TOKEN, metrics_auth=MetricsAuth.OPEN)
    assert (await client.get("/v1/models")).status == 401


async def test_no_sample_names_a_client_or_what_it_sent(make_client: MakeClient) -> None:
    client = await make_client(bearer_tokens=f"ann={TOKEN}")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    await client.post(CHAT, json=ask("my secret", model="made-up"), headers=headers)
    await client.get("/a/secret/path", headers=headers)
    async with client.get("/metrics", headers=headers) as response:
        text = await response.text()
    assert not [word for word in ("secret", TOKEN, "ann", "127.0.0.1", "made-up") if f'"{word}' in text]


async def test_metrics_can_be_read_while_requests_are_served(client: Client, router: ScriptedRouter) -> None:
    end = asyncio.Event()
    router.script = [end, HELLO]
    asking = [asyncio.create_task(chat(client)) for _ in range(5)]
    await until(lambda: router.open == 5)
    assert (await scrape(client)).total("cursorpipe_requests_in_flight") == 5
    end.set()
    await asyncio.gather(*asking)
    samples: Samples = await scrape(client)
    assert samples.total("cursorpipe_requests_in_flight") == 0
    assert samples.total("cursorpipe_requests_total", route=CHAT) == 5


async def test_a_server_that_stops_is_not_ready(client: Client) -> None:
    assert client.app is not None
    client.app[IN_FLIGHT].closing = True
    assert (await scrape(client)).total("cursorpipe_ready") == 0
