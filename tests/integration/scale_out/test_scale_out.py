"""Three servers behind a real LiteLLM and a real HAProxy: spread, failure, and change under load."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import repeat

import aiohttp
import pytest

from tests.integration.scale_out.fleet import Fleet, outcomes
from tests.integration.scale_out.load import Answer, Fate, Front, Load, slow
from tests.waiting import until

pytestmark = [pytest.mark.scale_out, pytest.mark.timeout(300)]

CLIENTS = 12


async def test_requests_are_spread_evenly(front: Front, fleet: Fleet, http: aiohttp.ClientSession) -> None:
    load = Load(front, slow())
    async with load.from_clients(http, CLIENTS):
        await load.more(288)
    assert load.fates() == {Fate.WHOLE: len(load.answers)}
    await until(lambda: sum(member.served for member in fleet) == len(load.answers))
    served = [member.served for member in fleet]
    print(f"{len(load.answers)} requests, served by the three servers: {served}")
    even = len(load.answers) / len(fleet)
    assert all(0.75 * even <= member.served <= 1.25 * even for member in fleet)
    assert await outcomes(fleet) == {"ok": len(load.answers)}, "the metrics add up to what the clients saw"
    texts = [(await member.metrics()).total("cursorpipe_first_text_seconds_count") for member in fleet]
    assert sum(texts) == len(load.answers)


async def test_the_metrics_of_all_servers_add_up_to_what_the_clients_saw(
    haproxy: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    answers: list[Answer] = []
    for text, model, count in (
        ("hi", "auto", 30),
        ("hi", "composer-2.5", 6),
        ("hi", "no-such-model", 6),
        ("[[demo:crash-mid-stream]]", "auto", 6),
    ):
        answers += await asyncio.gather(
            *(haproxy.ask(http, text, model=model, stream=number % 2 == 0) for number in range(count))
        )
    seen = Counter(answer.code for answer in answers)
    told = await outcomes(fleet)
    print(f"{len(answers)} requests: the clients saw {dict(seen)}, the three servers tell {dict(told)}")
    assert seen == told
    assert (seen["ok"], seen["model_not_found"]) == (36, 6)


async def test_streams_come_through_whole_and_as_they_are_said(
    front: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    async def paced(number: int) -> None:
        answer = await front.ask(http, f"[[demo:slow-chunks count=20 ms=50]] {number}", stream=True)
        assert answer.fate is Fate.WHOLE, answer.complaint
        assert len(answer.text.split()) >= 20
        # What is kept back on the way comes all at once.
        assert answer.pieces_at[-1] - answer.pieces_at[0] > 0.5
        assert len(answer.pieces_at) >= 10

    direct = Front(f"http://127.0.0.1:{fleet[0].port}", "s3cret", "auto")
    # Not pieces that are the same: LiteLLM ends an answer that repeats itself.
    long = "[[demo:markers marker=sixteen-letters- count=5000]]"
    said = (await direct.ask(http, long, stream=True)).text
    assert len(said) >= 5000 * 16
    answers = await asyncio.gather(*(front.ask(http, long, stream=True) for _ in range(9)))
    assert [answer.text == said for answer in answers] == [True] * 9, answers[0].complaint
    await asyncio.gather(*(paced(number) for number in range(9)))
    print(f"9 streams of {len(said)} bytes the same as without anything in front, 9 paced ones as said")


async def test_a_killed_server_costs_only_streams_that_had_begun(
    front: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    load = Load(front, slow())
    async with load.from_clients(http, CLIENTS):
        for member in fleet:
            await load.more(12)
            await until(lambda: load.halfway >= 3)
            member.kill()
            await load.more(24)
            await member.begin()
            before = member.served
            # It is given work again.
            await until(lambda m=member, before=before: m.served >= before + 3, patience_s=60)  # type: ignore[misc]
    fates = load.fates()
    print(
        f"{len(load.answers)} requests, 3 servers killed: "
        + ", ".join(f"{fates[fate]} {fate.value}" for fate in Fate)
    )
    assert fates[Fate.LOST] == 0, load.complaints
    assert len(load.texts()) == 1, load.texts()
    # Those of a server are a third of all, and half of them are streams.
    assert fates[Fate.CUT] <= CLIENTS


async def test_a_rolling_restart_fails_no_request(
    front: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    load = Load(front, slow())
    async with load.from_clients(http, CLIENTS):
        for member in fleet:
            await load.more(12)
            await member.restart()
        await load.more(12)
    fates = load.fates()
    print(f"{len(load.answers)} requests over {len(fleet)} restarts: {fates[Fate.WHOLE]} whole")
    assert fates == {Fate.WHOLE: len(load.answers)}, [*load.complaints, fates]


async def test_a_server_without_an_agent_costs_no_request(
    front: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    await fleet[0].stop()
    await fleet[0].begin_without_agent()
    load = Load(front, repeat("hi"))
    async with load.from_clients(http, CLIENTS):
        await load.more(60)
    print(f"{len(load.answers)} requests, {fleet[0].refused} refused by one server and served elsewhere")
    assert load.fates() == {Fate.WHOLE: len(load.answers)}, load.complaints


async def test_haproxy_keeps_a_conversation_at_one_server(
    haproxy: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    for name in ("a", "b", "c", "d"):
        before = [member.served for member in fleet]
        for _ in range(5):
            answer = await haproxy.ask(http, "hi", stream=False, headers={"x-conversation-id": name})
            assert answer.fate is Fate.WHOLE, answer.complaint
        await until(lambda before=before: sum(m.served for m in fleet) == sum(before) + 5)  # type: ignore[misc]
        gained = [member.served - old for member, old in zip(fleet, before, strict=True)]
        assert sorted(gained) == [0, 0, 5]


async def test_litellm_finds_all_servers_healthy(
    litellm: Front, fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": f"Bearer {litellm.key}"}
    async with http.get(f"{litellm.url}/health", headers=headers) as response:
        report = await response.json()
    # Both models of each.
    assert (report["healthy_count"], report["unhealthy_count"]) == (2 * len(fleet), 0)


async def test_litellm_falls_back_to_another_model_where_that_is_set(
    litellm: Front, http: aiohttp.ClientSession
) -> None:
    fails_over_print_mode = "[[demo:trust-required]]"
    answer = await litellm.ask(http, fails_over_print_mode, stream=False, model="cursor/composer-2.5")
    assert answer.fate is Fate.WHOLE, answer.complaint
    answer = await litellm.ask(http, fails_over_print_mode, stream=False, model="cursor/gpt-5.4-mini")
    assert answer.fate is Fate.LOST
