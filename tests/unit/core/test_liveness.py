"""Silence alone is not death."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cursorpipe_core import AgentSettings
from cursorpipe_core.liveness import Liveness

QUICK = AgentSettings(liveness_interval_s=0.05, liveness_timeout_s=7)


class Agent:
    """Answers so often, and is deaf then."""

    def __init__(self, answers: int) -> None:
        self.asked = 0
        self._answers = answers

    async def answers(self, timeout_s: float) -> bool:
        assert timeout_s == 7
        self.asked += 1
        return self.asked <= self._answers


async def test_an_agent_is_asked_after_each_silence_until_it_does_not_answer() -> None:
    agent = Agent(3)
    reason = await Liveness(QUICK).wait_deaf(agent.answers)
    assert agent.asked == 4
    assert "deaf" in str(reason)
    assert "7s" in str(reason)


async def test_an_agent_that_is_heard_is_not_asked() -> None:
    liveness, agent = Liveness(replace(QUICK, liveness_interval_s=60)), Agent(0)
    waiting = asyncio.create_task(liveness.wait_deaf(agent.answers))
    for _ in range(10):
        liveness.heard()
        await asyncio.sleep(0)
    before = agent.asked
    liveness.adopt(QUICK)
    await waiting
    assert (before, agent.asked) == (0, 1), "other bounds count from now on"


async def test_a_sign_of_life_while_it_is_asked_is_an_answer() -> None:
    liveness, asked = Liveness(QUICK), 0

    async def says_something_else(timeout_s: float) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.001)
        if asked < 3:
            liveness.heard()
        return False

    await liveness.wait_deaf(says_something_else)
    assert asked == 3
