"""Workers of their own for named models, so that a pinned model need not wait for a process to start."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from cursorpipe_core.config import AgentSettings, SupervisorSettings
from cursorpipe_core.counts import Counts
from cursorpipe_core.errors import AgentUnavailableError, UnknownModelError
from cursorpipe_core.instance import Instance
from cursorpipe_core.snapshot import WorkerSnapshot
from cursorpipe_core.supervisor import Supervisor
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: Warms whatever is asked for.
EVERY_MODEL = "*"
#: Seconds between two looks for models that nobody asks for any more.
IDLE_CHECK_S = 10.0


class WarmModel:
    """One model's worker, under a supervisor of its own: no model is ever switched in a process.

    A process has one model for all its sessions (CLI contract §4.5).
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.used_at = time.monotonic()
        self.unwanted = asyncio.Event()

    async def live(self) -> None:
        """Keep the worker until it is not wanted any more."""
        async with self.supervisor:
            await self.unwanted.wait()

    @property
    def idle(self) -> bool:
        """Whether nobody is served or waits, nor has a turn that waits for its tools."""
        return not (self.supervisor.in_use or self.supervisor.waiting)


class WarmModels:
    """The models that have workers now, started when they are asked for, up to a number.

    The one that was asked for longest ago makes room for another, unless it is at work; one that nobody
    asks for is stopped after a while. Leaving ends every worker.
    """

    def __init__(
        self, agent: AgentSettings, settings: SupervisorSettings, instance: Instance, counts: Counts
    ) -> None:
        self._agent = agent
        self._settings = settings
        self._instance = instance
        self._counts = counts
        self._models: dict[str, WarmModel] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._stop_idle(), name="idle models")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        for model in list(self._models):
            self._stop(model)
        await asyncio.gather(*self._lives, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return sum(warm.supervisor.waiting for warm in self._models.values())

    @property
    def draining(self) -> int:
        """How many workers have been replaced and finish the turns they have."""
        return sum(warm.supervisor.draining for warm in self._models.values())

    def snapshot(self) -> Sequence[WorkerSnapshot]:
        """Describe every worker now, with its model."""
        return [
            replace(worker, model=model)
            for model, warm in self._models.items()
            for worker in warm.supervisor.snapshot()
        ]

    def adopt(self, agent: AgentSettings, settings: SupervisorSettings) -> None:
        """Go on with other limits."""
        self._agent, self._settings = agent, settings
        for warm in self._models.values():
            warm.supervisor.adopt(agent, _for_one(settings))

    def covers(self, model: str) -> bool:
        """Whether a model is to have a worker of its own."""
        return model in self._settings.warm_models or EVERY_MODEL in self._settings.warm_models

    def lease_now(self, model: str, *, other_than: AgentWorker | None = None) -> AgentWorker | None:
        """Return a worker as ``lease`` does, if there is no need to wait for one."""
        warm = self._models.get(model)
        if warm is None:
            return None
        warm.used_at = time.monotonic()
        return warm.supervisor.lease_now(other_than=other_than)

    async def lease(
        self, model: str, client: str, timeout_s: float, *, other_than: AgentWorker | None = None
    ) -> AgentWorker:
        """Return a worker of this model with a place reserved, started if there is none.

        Raises AgentUnavailableError while every model that is warm is at work, UnknownModelError for a
        model that Cursor does not serve, and what the supervisor raises.
        """
        warm = self._models.get(model) or self._start(model)
        warm.used_at = time.monotonic()
        try:
            return await warm.supervisor.lease(client, timeout_s, other_than=other_than)
        except UnknownModelError:
            # Not one that has been started since for somebody else.
            if self._models.get(model) is warm:
                self._stop(model)
            raise

    def _start(self, model: str) -> WarmModel:
        if len(self._models) >= self._settings.warm_models_max:
            idle = [name for name, warm in self._models.items() if warm.idle]
            if not idle:
                raise AgentUnavailableError("Every warm model is at work.")
            self._stop(min(idle, key=lambda name: self._models[name].used_at))
        logger.info("model %s gets a worker of its own", model)
        supervisor = Supervisor(
            self._agent, _for_one(self._settings), self._instance, self._counts, model=model
        )
        warm = self._models[model] = WarmModel(supervisor)
        life = asyncio.create_task(warm.live(), name=f"model {model}")
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return warm

    def _stop(self, model: str) -> None:
        warm = self._models.pop(model, None)
        if warm is not None:
            logger.info("the worker of model %s is stopped", model)
            warm.unwanted.set()

    async def _stop_idle(self) -> None:
        while True:
            await asyncio.sleep(min(IDLE_CHECK_S, self._settings.warm_models_idle_s))
            unused_since = time.monotonic() - self._settings.warm_models_idle_s
            for model, warm in list(self._models.items()):
                if warm.idle and warm.used_at <= unused_since:
                    self._stop(model)


def _for_one(settings: SupervisorSettings) -> SupervisorSettings:
    """Return the settings for one worker, with the share of the stock that a worker has."""
    return replace(settings, workers=1, pool_size=max(1, settings.pool_size // settings.workers))
