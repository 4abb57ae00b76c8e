"""Limits that change while they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Any

import pytest

from cursorpipe_core import (
    Address,
    AgentSettings,
    Endpoint,
    Router,
    SupervisorSettings,
    ToolBridge,
    Transport,
    specs,
)
from cursorpipe_core.counts import BackendCounts
from cursorpipe_core.errors import QueueFullError
from cursorpipe_core.instance import Instance
from cursorpipe_core.line import WaitingLine
from cursorpipe_core.prompt import Prompt
from cursorpipe_core.restarts import RestartPolicy
from cursorpipe_core.runner import SubprocessRunner
from cursorpipe_core.turn import Clocks, Turn


def unlike_each_other(cls: type, numbers: Iterator[int]) -> dict[str, Any]:
    """Return a value for each number that can change, none of them like another."""
    return {
        name: kind(next(numbers))
        for name, (spec, kind, _) in specs(cls).items()
        if spec.reload and kind in {int, float}
    }


def numbers_within(thing: object, seen: set[int]) -> Iterator[float]:
    """Yield every number that is kept anywhere in an object of ours."""
    if isinstance(thing, int | float):
        yield thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    parts: list[object] = []
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, list | tuple | set):
        parts = list(thing)
    elif type(thing).__module__.startswith("cursorpipe_core"):
        if is_dataclass(thing):
            parts += [getattr(thing, field.name) for field in fields(thing)]
        parts += list(getattr(thing, "__dict__", {}).values())
    for part in parts:
        yield from numbers_within(part, seen)


class NoBridge(ToolBridge):
    """A bridge by which no tool is ever offered."""

    async def open(self, endpoint: Endpoint, transport: Transport) -> Address:
        raise AssertionError((endpoint, transport))

    def close(self, endpoint: Endpoint) -> None:
        raise AssertionError(endpoint)


async def test_no_part_of_the_router_keeps_a_limit_of_before() -> None:
    numbers = count(1_000_001)
    before = [unlike_each_other(cls, numbers) for cls in (AgentSettings, SupervisorSettings)]
    after = [unlike_each_other(cls, numbers) for cls in (AgentSettings, SupervisorSettings)]
    router = Router(AgentSettings(**before[0]), SupervisorSettings(**before[1]))
    old = {value for part in before for value in part.values()}
    new = {value for part in after for value in part.values()}
    async with router.serve_tools(NoBridge()):
        assert old <= set(numbers_within(router, set()))
        router.adopt(AgentSettings(**after[0]), SupervisorSettings(**after[1]))
        kept = set(numbers_within(router, set()))
    assert new <= kept
    assert not old & kept


async def test_whoever_waits_stays_when_the_line_gets_shorter() -> None:
    places = 0
    line: WaitingLine[bool] = WaitingLine(max_waiting=2, give_back=lambda _: None)
    waiting = [asyncio.create_task(line.acquire("a", lambda: places > 0 or None, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    line.max_waiting = 1
    with pytest.raises(QueueFullError):
        await line.acquire("b", lambda: None, 5)
    places = 2
    line.wake()
    assert await asyncio.gather(*waiting) == [True, True]


def test_ends_so_far_count_by_the_new_intensity() -> None:
    restarts = RestartPolicy(max_restarts=9, window_s=60)
    assert not restarts.after_end(uptime_s=1, now_s=0).tripped
    restarts.limit(max_restarts=1, window_s=60)
    assert restarts.after_end(uptime_s=1, now_s=1).tripped
    restarts.limit(max_restarts=1, window_s=2)
    assert not restarts.after_end(uptime_s=1, now_s=10).tripped


class Runner(SubprocessRunner):
    """A runner whose processes do nothing until they are told to end."""

    def __init__(self, *, max_processes: int) -> None:
        super().__init__(
            AgentSettings(), Instance(""), BackendCounts(), max_processes=max_processes, max_waiting=100
        )

    async def _run(self, model: str | None, chat: Any) -> None:
        await chat.over.wait()

    async def request(self) -> Turn:
        turn = Turn(prompt_bytes=0, clocks=Clocks(60, 60, 60), left_s=60)
        try:
            await self.begin(None, Prompt(""), turn, client="a", timeout_s=20)
        except BaseException:
            turn.close()
            raise
        return turn


async def test_a_raised_limit_lets_in_as_many_as_now_fit() -> None:
    async with Runner(max_processes=1) as runner:
        requests = [asyncio.create_task(runner.request()) for _ in range(5)]
        first = await requests[0]
        assert (runner.in_flight, runner.waiting) == (1, 4)
        runner.adopt(AgentSettings(), max_processes=3, max_waiting=100)
        turns = [first, *await asyncio.gather(*requests[1:3])]
        assert (runner.in_flight, runner.waiting) == (3, 2)
        for turn in turns:
            turn.close()
        for turn in await asyncio.gather(*requests[3:]):
            turn.close()


async def test_a_lowered_limit_ends_nothing_and_lets_nobody_in_until_it_is_kept() -> None:
    async with Runner(max_processes=3) as runner:
        turns = [await runner.request() for _ in range(3)]
        runner.adopt(AgentSettings(), max_processes=1, max_waiting=100)
        last = asyncio.create_task(runner.request())
        for turn in turns[:2]:
            turn.close()
        async with asyncio.timeout(5):
            while runner.in_flight > 1:  # noqa: ASYNC110 — each pass is a round of the loop
                await asyncio.sleep(0)
        assert not last.done()
        turns[2].close()
        (await last).close()
