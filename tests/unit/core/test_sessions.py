from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cursorpipe_core import sessions as sessions_module
from cursorpipe_core.errors import AuthenticationError, SessionError
from cursorpipe_core.sessions import SessionDispenser
from tests.waiting import until


class Agent:
    """Opens sessions when it is let."""

    def __init__(self) -> None:
        self.opened = 0
        self.allowed = asyncio.Semaphore(0)
        self.failure: Exception | None = None

    async def open(self) -> str:
        await self.allowed.acquire()
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        return f"session-{self.opened}"

    def allow(self, count: int) -> None:
        for _ in range(count):
            self.allowed.release()


async def take(dispenser: SessionDispenser) -> str:
    """Take a session as a worker does."""
    return dispenser.take_now() or await dispenser.make()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with asyncio.timeout(10):
        yield Agent()


async def test_entering_waits_for_the_first_session_only(agent: Agent) -> None:
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=3) as dispenser:
        assert dispenser.ready == 1


async def test_what_cannot_open_a_session_is_not_entered(agent: Agent) -> None:
    agent.failure = AuthenticationError()
    agent.allow(1)
    with pytest.raises(AuthenticationError):
        await SessionDispenser(agent.open, stock=3).__aenter__()


async def test_the_stock_is_refilled_behind_and_no_session_is_given_twice(agent: Agent) -> None:
    agent.allow(100)
    async with SessionDispenser(agent.open, stock=3) as dispenser:
        await until(lambda: dispenser.ready == 3)
        taken = [await take(dispenser) for _ in range(3)]
        await until(lambda: dispenser.ready == 3)
        taken += [await take(dispenser) for _ in range(3)]
    assert len(set(taken)) == 6
    assert agent.opened <= 9


async def test_an_empty_stock_means_a_session_of_ones_own_at_once(agent: Agent) -> None:
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=1) as dispenser:
        await take(dispenser)
        own = asyncio.create_task(take(dispenser))
        await asyncio.sleep(0)
        agent.allow(2)
        assert (await own).startswith("session-")


async def test_a_failed_refill_is_tried_again_and_hurts_nobody(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "REFILL_PAUSE_S", 0)
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=2) as dispenser:
        agent.failure = SessionError("not now")
        agent.allow(1)
        await until(agent.allowed.locked)
        agent.failure = None
        agent.allow(5)
        await until(lambda: dispenser.ready == 2)


async def test_a_refill_that_fails_by_a_fault_of_ours_is_told_and_tried_again(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sessions_module, "REFILL_PAUSE_S", 0)
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=2) as dispenser:
        agent.failure = TypeError("of a shape that nobody thought of")
        agent.allow(1)
        await until(lambda: "of a shape that nobody thought of" in caplog.text)
        agent.failure = None
        agent.allow(5)
        await until(lambda: dispenser.ready == 2)


async def test_of_refills_that_fail_together_one_is_told(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=9) as dispenser:
        agent.failure = SessionError("gone")
        agent.allow(sessions_module.REFILL_PARALLEL)
        await until(lambda: not dispenser._making)
        assert caplog.text.count("gone") == 1


async def test_a_request_learns_why_there_is_no_session(agent: Agent) -> None:
    agent.allow(1)
    async with SessionDispenser(agent.open, stock=1) as dispenser:
        await take(dispenser)
        agent.failure = SessionError("broken")
        agent.allow(2)
        with pytest.raises(SessionError, match="broken"):
            await take(dispenser)


async def test_leaving_does_not_swallow_a_cancellation(agent: Agent) -> None:
    agent.allow(1)
    left = asyncio.Event()

    async def use() -> None:
        async with SessionDispenser(agent.open, stock=3):
            left.set()
        # Leaving waits for the refill to end; a cancellation that comes in that moment is this task's own.
        await asyncio.sleep(60)

    using = asyncio.create_task(use())
    await left.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using


async def test_the_stock_follows_the_rate_at_which_sessions_are_taken(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "RATE_WINDOW_S", 0.5)
    agent.allow(1000)
    delay = 0.02

    async def slowly() -> str:
        await asyncio.sleep(delay)
        return await agent.open()

    async with SessionDispenser(slowly, stock=2, most=10) as dispenser:
        await until(lambda: dispenser.ready == 2)
        for _ in range(40):
            await take(dispenser)
        await until(lambda: dispenser.ready > 2)
        assert dispenser.ready <= 10
        delay = 0
        await asyncio.sleep(0.6)  # the burst is forgotten
        while dispenser.ready > 2:
            await take(dispenser)
        await take(dispenser)
        await until(lambda: dispenser.ready >= 2)


async def test_several_sessions_are_made_at_a_time(agent: Agent) -> None:
    agent.allow(1)
    opening = 0
    most = 0

    async def open_one() -> str:
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        try:
            return await agent.open()
        finally:
            opening -= 1

    async with SessionDispenser(open_one, stock=9) as dispenser:
        await until(lambda: opening == sessions_module.REFILL_PARALLEL)
        agent.allow(8)
        await until(lambda: dispenser.ready == 9)
    assert most == sessions_module.REFILL_PARALLEL
