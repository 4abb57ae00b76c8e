"""Keeps a number of agent processes alive and leads requests to them."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Self

from cursorpipe_core.config import AgentSettings, SupervisorSettings
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentNotFoundError,
    AgentUnavailableError,
    AuthenticationError,
    CursorpipeError,
    UnknownModelError,
)
from cursorpipe_core.restarts import RestartPolicy
from cursorpipe_core.snapshot import SlotState, WorkerSnapshot
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: What no restart mends: the slot trips at once, with the sentence for the operator.
BOOT_ERRORS = (AgentNotFoundError, AuthenticationError, UnknownModelError)
#: Seconds after which it makes sense to ask again when no worker was ready.
UNAVAILABLE_RETRY_AFTER_S = 5.0


class Slot:
    """A place for one worker at a time; its own coroutine in the supervisor is all that changes it."""

    def __init__(self, number: int, policy: RestartPolicy) -> None:
        self.number = number
        self.policy = policy
        self.state = SlotState.STARTING
        self.error: CursorpipeError | None = None
        self.worker: AgentWorker | None = None
        self.restarts = 0

    def snapshot(self) -> WorkerSnapshot:
        """Describe the slot now."""
        worker = self.worker
        serving = worker if self.state in {SlotState.READY, SlotState.DRAINING} else None
        return WorkerSnapshot(
            slot=self.number,
            state=self.state,
            reason=str(self.error) if self.error is not None else None,
            pid=worker.pid if worker else None,
            restarts=self.restarts,
            in_flight=serving.in_flight if serving else 0,
            sessions_ready=serving.sessions_ready if serving else 0,
            notes=tuple(worker.notes) if worker else (),
        )


class Supervisor:
    """A number of slots, one for one: an end concerns its own slot and nobody else.

    Entering starts the slots' coroutines and returns at once; leaving ends every worker, all together,
    each within the bounds of its own stop.
    """

    def __init__(self, agent: AgentSettings, settings: SupervisorSettings) -> None:
        self._agent = agent
        self._settings = settings
        self._slots = [
            Slot(
                number,
                RestartPolicy(max_restarts=settings.max_restarts, window_s=settings.restart_window_s),
            )
            for number in range(settings.workers)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._keep(slot), name=f"worker slot {slot.number}") for slot in self._slots
        ]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Whether a worker could take a request now."""
        return any(slot.state is SlotState.READY for slot in self._slots)

    def snapshot(self) -> list[WorkerSnapshot]:
        """Describe every slot now."""
        return [slot.snapshot() for slot in self._slots]

    async def lease(self, timeout_s: float, *, other_than: AgentWorker | None = None) -> AgentWorker:
        """Return the ready worker with the fewest open turns, waiting for one at most ``timeout_s``.

        ``other_than`` is passed over while there is another. Raises AgentUnavailableError when none
        becomes ready; at once, and with the cause, when none can before something is mended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._changed.clear()
                    worker = self._pick(other_than)
                    if worker is not None:
                        return worker
                    self._raise_if_hopeless()
                    await self._changed.wait()
        except TimeoutError:
            raise AgentUnavailableError(
                f"No agent became ready within {timeout_s:.1f}s.", retry_after=UNAVAILABLE_RETRY_AFTER_S
            ) from None

    def _pick(self, other_than: AgentWorker | None) -> AgentWorker | None:
        ready = [slot.worker for slot in self._slots if slot.state is SlotState.READY and slot.worker]
        serving = [worker for worker in ready if worker.serves]
        return min(serving, key=lambda worker: (worker is other_than, worker.in_flight), default=None)

    def _raise_if_hopeless(self) -> None:
        """Raise if no slot serves or is about to."""
        if any(slot.state is not SlotState.TRIPPED for slot in self._slots):
            return
        for slot in self._slots:
            if isinstance(slot.error, BOOT_ERRORS):
                raise slot.error.with_traceback(None)
        raise AgentUnavailableError(
            f"No agent stays alive. {self._slots[0].error}", retry_after=UNAVAILABLE_RETRY_AFTER_S
        )

    async def _keep(self, slot: Slot) -> None:
        """Start a worker, announce it, wait for its end, pause, again."""
        try:
            while True:
                started = time.monotonic()
                self._move(slot, SlotState.STARTING)
                slot.error = await self._one_life(slot)
                now = time.monotonic()
                if isinstance(slot.error, BOOT_ERRORS):
                    restart = slot.policy.after_boot_error()
                else:
                    restart = slot.policy.after_end(uptime_s=now - started, now_s=now)
                self._move(slot, SlotState.TRIPPED if restart.tripped else SlotState.BACKOFF)
                logger.warning("worker %d: %s Next start in %.1fs.", slot.number, slot.error, restart.delay_s)
                await asyncio.sleep(restart.delay_s)
                slot.restarts += 1
        finally:
            self._move(slot, SlotState.STOPPED)

    async def _one_life(self, slot: Slot) -> CursorpipeError:
        """Serve with one worker until it ends; returns why."""
        slot.worker = AgentWorker(self._agent, stock=self._stock(slot))
        try:
            async with slot.worker as worker:
                logger.info("worker %d is ready, process %s", slot.number, worker.pid)
                slot.error = None
                self._move(slot, SlotState.READY)
                reason = await worker.wait_ended()
                self._move(slot, SlotState.DRAINING)
                # Of a dead process nothing is open any more, so this waits only for one to be replaced.
                await worker.drain(self._agent.request_timeout_s)
                return reason
        except CursorpipeError as exc:
            return exc
        except Exception as exc:
            # A fault of ours must cost one worker, not its slot for good.
            logger.exception("worker %d failed", slot.number)
            error = AgentCrashError("The worker failed for a reason of its own; the log has it.")
            error.__cause__ = exc
            return error
        finally:
            slot.worker = None

    def _stock(self, slot: Slot) -> int:
        """Return the slot's share of the sessions kept ready: at least one, all together what was set."""
        share, extra = divmod(self._settings.pool_size, self._settings.workers)
        return max(1, share + (slot.number < extra))

    def _move(self, slot: Slot, state: SlotState) -> None:
        slot.state = state
        self._changed.set()
