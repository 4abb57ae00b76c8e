from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cursorpipe_core.errors import (
    AgentUnavailableError,
    AuthenticationError,
    QueueFullError,
    QueueTimeoutError,
)
from cursorpipe_core.line import WaitingLine


class Desk:
    """Has a number of places to give."""

    def __init__(self, places: int, max_waiting: int = 1000, *, there_are_some: bool = True) -> None:
        self.places = places
        self.served: list[str] = []
        self.line: WaitingLine[str] = WaitingLine(
            max_waiting=max_waiting, give_back=self.give_back, there_are_some=lambda: there_are_some
        )

    def take(self) -> str | None:
        if not self.places:
            return None
        self.places -= 1
        return "place"

    def give_back(self, thing: str) -> None:
        assert thing == "place"
        self.places += 1
        self.line.wake()

    async def come(self, client: str, name: str = "", timeout_s: float = 5) -> None:
        await self.line.acquire(client, self.take, timeout_s)
        self.served.append(name or client)

    def queue(self, client: str, name: str = "") -> asyncio.Task[None]:
        return asyncio.create_task(self.come(client, name))

    async def free(self, count: int) -> None:
        for _ in range(count):
            self.give_back("place")
            await asyncio.sleep(0)
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    async with asyncio.timeout(10):
        yield


async def test_what_is_there_is_given_at_once() -> None:
    desk = Desk(1)
    await desk.come("a")
    assert desk.line.waiting == 0


async def test_one_client_is_served_in_the_order_of_its_coming() -> None:
    desk = Desk(0)
    tasks = [desk.queue("a", str(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert desk.line.waiting == 5
    await desk.free(5)
    await asyncio.gather(*tasks)
    assert desk.served == list("01234")


async def test_a_flood_of_one_client_delays_another_by_one_turn() -> None:
    desk = Desk(0)
    tasks = [desk.queue("flood") for _ in range(200)]
    await asyncio.sleep(0)
    tasks.append(desk.queue("single"))
    await asyncio.sleep(0)
    await desk.free(2)
    assert "single" in desk.served
    await desk.free(199)
    await asyncio.gather(*tasks)


async def test_nobody_overtakes_who_waits() -> None:
    desk = Desk(0)
    first = desk.queue("a", "first")
    await asyncio.sleep(0)
    desk.places = 1  # not told of yet
    second = desk.queue("b", "second")
    await asyncio.sleep(0)
    assert not desk.served
    desk.line.wake()
    await first
    await desk.free(1)
    await second
    assert desk.served == ["first", "second"]


async def test_a_full_line_sends_away_at_once_with_a_time_to_come_back() -> None:
    desk = Desk(0, max_waiting=1)
    waiting = desk.queue("a")
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError) as caught:
        await desk.come("b")
    assert caught.value.retry_after
    await desk.free(1)
    await waiting


async def test_a_line_of_no_length_still_gives_what_is_there() -> None:
    desk = Desk(1, max_waiting=0)
    await desk.come("a")
    with pytest.raises(QueueFullError):
        await desk.come("a")


@pytest.mark.parametrize(
    ("there_are_some", "error"), [(True, QueueTimeoutError), (False, AgentUnavailableError)]
)
async def test_waiting_has_its_bound(there_are_some: bool, error: type[AgentUnavailableError]) -> None:
    desk = Desk(0, there_are_some=there_are_some)
    with pytest.raises(AgentUnavailableError) as caught:
        await desk.come("a", timeout_s=0.01)
    assert type(caught.value) is error
    assert desk.line.waiting == 0
    desk.places = 1
    await desk.come("b")


async def test_who_leaves_is_gone_at_once_and_takes_nothing() -> None:
    desk = Desk(0)
    leaving, staying = desk.queue("a"), desk.queue("a", "staying")
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert desk.line.waiting == 1
    await desk.free(1)
    await staying
    assert desk.places == 0


async def test_who_leaves_in_the_moment_of_being_served_gives_it_back() -> None:
    desk = Desk(0)
    leaving = desk.queue("a")
    await asyncio.sleep(0)
    desk.give_back("place")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert desk.places == 1
    await desk.come("b")


async def test_a_place_that_is_freed_while_somebody_is_leaving_is_not_lost() -> None:
    desk = Desk(0)
    leaving, staying, later = desk.queue("a"), desk.queue("b", "staying"), desk.queue("a", "later")
    await asyncio.sleep(0)
    leaving.cancel()
    # Before the one that leaves has run.
    desk.give_back("place")
    assert desk.line.waiting == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving
    desk.give_back("place")
    await asyncio.gather(staying, later)
    assert (desk.places, desk.line.waiting) == (0, 0)
    desk.give_back("place")
    await desk.come("c")


async def test_places_that_are_freed_while_everybody_is_leaving_are_there_for_the_next() -> None:
    desk = Desk(0)
    waiting = [desk.queue(name) for name in ("a", "a", "b")]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    for _ in waiting:
        desk.give_back("place")
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (desk.places, desk.line.waiting) == (3, 0)
    for _ in range(3):
        await desk.come("c")


async def test_all_are_sent_away_with_the_cause() -> None:
    desk = Desk(0)
    tasks = [desk.queue(client) for client in "aab"]
    await asyncio.sleep(0)
    desk.line.fail(AuthenticationError())
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [AuthenticationError] * 3
    assert desk.line.waiting == 0
