"""Keeps a number of agent processes alive and leads requests to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from types import TracebackType
from typing import Self

from cursorpipe_core.config import AgentSettings, Strategy, SupervisorSettings
from cursorpipe_core.counts import Counts
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentNotFoundError,
    AgentUnavailableError,
    AuthenticationError,
    CursorpipeError,
    UnknownModelError,
)
from cursorpipe_core.instance import Instance
from cursorpipe_core.line import RETRY_AFTER_S, WaitingLine
from cursorpipe_core.restarts import RestartPolicy
from cursorpipe_core.snapshot import SlotState, WorkerSnapshot
from cursorpipe_core.worker import AgentWorker

logger = logging.getLogger(__name__)

#: What no restart mends: the slot trips at once, with the sentence for the operator.
BOOT_ERRORS = (AgentNotFoundError, AuthenticationError, UnknownModelError)
#: Seconds between two looks at how worn a worker is.
WEAR_CHECK_S = 5.0
#: Seconds before another try when the replacement of a worn worker could not be started.
REPLACEMENT_PAUSE_S = 60.0


class Slot:
    """A place for one worker at a time; its own coroutine in the supervisor is all that changes it."""

    def __init__(self, number: int, policy: RestartPolicy) -> None:
        self.number = number
        self.policy = policy
        self.state = SlotState.STARTING
        #: Whether it has tripped and not been ready since.
        self.given_up = False
        self.error: CursorpipeError | None = None
        self.worker: AgentWorker | None = None
        self.ready_since: float | None = None
        self.restarts = 0
        self.rss_bytes = 0

    def snapshot(self) -> WorkerSnapshot:
        """Describe the slot now."""
        worker = self.worker
        serving = worker if self.state is SlotState.READY else None
        return WorkerSnapshot(
            slot=self.number,
            state=self.state,
            reason=str(self.error) if self.error is not None else None,
            pid=worker.pid if worker else None,
            restarts=self.restarts,
            in_flight=serving.in_flight if serving else 0,
            sessions_ready=serving.sessions_ready if serving else 0,
            notes=tuple(worker.notes) if worker else (),
            permissions_refused=serving.permissions_refused if serving else 0,
            rss_bytes=self.rss_bytes if worker else 0,
        )


class Supervisor:
    """A number of slots, one for one: an end concerns its own slot and nobody else.

    Entering starts the slots' coroutines and returns at once; leaving ends every worker, all together,
    each within the bounds of its own stop.
    """

    def __init__(
        self,
        agent: AgentSettings,
        settings: SupervisorSettings,
        instance: Instance,
        counts: Counts,
        *,
        model: str | None = None,
    ) -> None:
        """Prepare the slots; with ``model`` their workers serve that one and no other."""
        self._agent = agent
        self._model = model
        self._instance = instance
        self._counts = counts
        self._settings = settings
        self._longest_turn_s = agent.request_timeout_s
        self._slots = [
            Slot(
                number,
                RestartPolicy(max_restarts=settings.max_restarts, window_s=settings.restart_window_s),
            )
            for number in range(settings.workers)
        ]
        self._line: WaitingLine[AgentWorker] = WaitingLine(
            max_waiting=settings.max_queue,
            give_back=AgentWorker.release,
            there_are_some=lambda: self.ready,
            waits=counts.acp.waits,
        )
        self._slot_tasks: list[asyncio.Task[None]] = []
        self._lives: set[asyncio.Task[None]] = set()
        self._recycling: asyncio.Task[None] | None = None
        self._draining = 0
        self._some_ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._slot_tasks = [
            asyncio.create_task(self._keep(slot), name=f"worker slot {slot.number}") for slot in self._slots
        ]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = [*self._slot_tasks, *self._lives]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ready(self) -> bool:
        """Whether a worker could take a request now."""
        return any(_serves(slot) for slot in self._slots)

    @property
    def given_up(self) -> CursorpipeError | None:
        """Why no worker serves, if all are tripped; also while one of those is tried once more."""
        return self._cause() if all(slot.given_up for slot in self._slots) else None

    @property
    def waiting(self) -> int:
        """How many requests wait for a worker."""
        return self._line.waiting

    @property
    def in_use(self) -> bool:
        """Whether a turn is open, or waits for its caller."""
        return any(slot.worker.in_use for slot in self._slots if slot.worker is not None)

    @property
    def draining(self) -> int:
        """How many workers have been replaced and finish the turns they have."""
        return self._draining

    def snapshot(self) -> list[WorkerSnapshot]:
        """Describe every slot now."""
        return [slot.snapshot() for slot in self._slots]

    def adopt(self, agent: AgentSettings, settings: SupervisorSettings) -> None:
        """Go on with other limits; the slots and their stocks stay as many as they are."""
        self._agent, self._settings = agent, settings
        self._longest_turn_s = max(self._longest_turn_s, agent.request_timeout_s)
        for slot in self._slots:
            slot.policy.limit(max_restarts=settings.max_restarts, window_s=settings.restart_window_s)
            if slot.worker is not None:
                slot.worker.adopt(agent)
        self._line.max_waiting = settings.max_queue
        self._line.wake()

    async def any_worker(self) -> AgentWorker:
        """Wait for a worker that serves, and return it without a place: for what is no request's."""
        while True:
            await self._some_ready.wait()
            for slot in self._slots:
                if slot.worker is not None and _serves(slot):
                    return slot.worker
            self._some_ready.clear()

    def lease_now(self, *, other_than: AgentWorker | None = None) -> AgentWorker | None:
        """Return a worker as ``lease`` does, if there is no need to wait for one."""
        return None if self._line.waiting else self._take(other_than)

    async def lease(
        self, client: str, timeout_s: float, *, other_than: AgentWorker | None = None
    ) -> AgentWorker:
        """Return a ready worker with a place reserved: one with a session in stock, and few open turns.

        Waits in the line of ``client`` while no worker has a place; ``other_than`` is passed over while
        there is another. Raises what the line raises; and at once, with the cause, when no worker can
        serve before something is mended.
        """
        if (hopeless := self._hopeless()) is not None:
            # Without the frames of those who were told before, which would pile up.
            raise hopeless.with_traceback(None)
        return await self._line.acquire(client, lambda: self._take(other_than), timeout_s)

    def _take(self, other_than: AgentWorker | None) -> AgentWorker | None:
        best: AgentWorker | None = None
        for slot in self._slots:
            worker = slot.worker
            if worker is None or not _serves(slot):
                continue
            if worker.in_flight >= self._settings.worker_concurrency:
                continue
            if best is None or _rank(worker, other_than) < _rank(best, other_than):
                best = worker
        if best is not None:
            best.reserve()
        return best

    def _hopeless(self) -> CursorpipeError | None:
        """Return why no slot serves or is about to, if none does and none is."""
        if self._settings.strategy is Strategy.AUTO:
            # Print mode serves meanwhile: nobody needs to see a worker tried once more.
            return self.given_up
        return self._cause() if all(slot.state is SlotState.TRIPPED for slot in self._slots) else None

    def _cause(self) -> CursorpipeError:
        for slot in self._slots:
            if isinstance(slot.error, BOOT_ERRORS):
                return slot.error
        return AgentUnavailableError(
            f"No agent stays alive. {self._slots[0].error}", retry_after=RETRY_AFTER_S
        )

    async def _keep(self, slot: Slot) -> None:
        """Start a worker, serve until it ends, pause, again."""
        try:
            while True:
                slot.ready_since = None
                self._move(slot, SlotState.STARTING)
                slot.error = await self._serve(slot)
                now = time.monotonic()
                uptime_s = None if slot.ready_since is None else now - slot.ready_since
                if isinstance(slot.error, BOOT_ERRORS):
                    restart = slot.policy.after_boot_error()
                else:
                    restart = slot.policy.after_end(uptime_s=uptime_s, now_s=now)
                slot.given_up = restart.tripped
                self._move(slot, SlotState.TRIPPED if restart.tripped else SlotState.BACKOFF)
                logger.warning("worker %d: %s Next start in %.1fs.", slot.number, slot.error, restart.delay_s)
                await asyncio.sleep(restart.delay_s)
                slot.restarts += 1
                self._counts.restarted(slot.error)
        finally:
            self._move(slot, SlotState.STOPPED)

    async def _serve(self, slot: Slot) -> CursorpipeError:
        """Serve with one worker, and with its replacements as they wear out; returns why one ended."""
        try:
            slot.worker, life = await self._start(slot)
            slot.error = None
            slot.rss_bytes = 0
            slot.ready_since = time.monotonic()
            slot.given_up = False
            self._move(slot, SlotState.READY)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WEAR_CHECK_S):
                        return await slot.worker.wait_ended()
                slot.rss_bytes = slot.worker.rss_bytes()
                wear = self._wear(slot.worker, slot.rss_bytes >> 20)
                if wear is not None and (self._recycling is None or self._recycling.done()):
                    # Only one at a time, from the first start to the last turn of the old one.
                    self._recycling = life
                    life = await self._replace(slot, slot.worker, life, wear)
        except CursorpipeError as exc:
            return exc
        except Exception as exc:
            # A fault of ours must cost one worker, not its slot for good.
            logger.exception("worker %d failed", slot.number)
            error = AgentCrashError("The worker failed for a reason of its own; the log has it.")
            error.__cause__ = exc
            if slot.worker is not None:
                slot.worker.retire(error)
            return error
        finally:
            slot.worker = None

    async def _start(self, slot: Slot) -> tuple[AgentWorker, asyncio.Task[None]]:
        """Start a worker, and a task that is its life; raises why it could not start."""
        worker = AgentWorker(
            self._agent,
            self._instance,
            stock=self._stock(slot),
            most=self._settings.pool_max,
            model=self._model,
            counts=self._counts,
            on_release=self._line.wake,
        )
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        life = asyncio.create_task(self._live(worker, started), name=f"worker {slot.number}")
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        try:
            await started
        except asyncio.CancelledError:
            life.cancel()
            raise
        # Nobody could tell it of a change while it started.
        worker.adopt(self._agent)
        logger.info("worker %d is ready, process %s", slot.number, worker.pid)
        return worker, life

    async def _live(self, worker: AgentWorker, started: asyncio.Future[None]) -> None:
        """See one worker from its start to the end of its last turn."""
        try:
            async with worker:
                started.set_result(None)
                await worker.wait_ended()
                # Of a dead process nothing is open any more; one to be replaced finishes what it has.
                self._draining += 1
                try:
                    # Its turns keep the time that they began with, however short that of new ones is.
                    await worker.drain(self._longest_turn_s)
                finally:
                    self._draining -= 1
        except Exception as exc:
            if started.done():
                raise
            started.set_exception(exc)
        finally:
            started.cancel()

    def _wear(self, worker: AgentWorker, rss_mb: int) -> str | None:
        """Return why a worker is to be replaced by a fresh one, if it is."""
        limits = self._settings
        if 0 < limits.worker_max_sessions <= worker.sessions_opened:
            return f"{worker.sessions_opened} sessions"
        if 0 < limits.worker_max_age_s <= worker.age_s:
            return f"{worker.age_s:.0f}s of age"
        if 0 < limits.worker_max_rss_mb <= rss_mb:
            return f"{rss_mb} MiB of memory"
        return None

    async def _replace(
        self, slot: Slot, old: AgentWorker, life: asyncio.Task[None], wear: str
    ) -> asyncio.Task[None]:
        """Put a fresh worker in the place of a worn one, which finishes its turns; returns the new life.

        Raises why the worn one has ended, if it does before that: the slot is without a worker then.
        """
        starting = asyncio.create_task(self._start(slot), name=f"replacement of worker {slot.number}")
        ending = asyncio.create_task(old.wait_ended(), name=f"end of worker {slot.number}")
        try:
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise ending.result()
        finally:
            starting.cancel()
            ending.cancel()
            await asyncio.wait((starting, ending))
        try:
            slot.worker, new_life = starting.result()
        except CursorpipeError as exc:
            logger.warning("worker %d stays for want of a replacement: %s", slot.number, exc)
            self._recycling = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPLACEMENT_PAUSE_S):
                    await old.wait_ended()
            return life
        logger.info("worker %d is replaced after %s", slot.number, wear)
        slot.rss_bytes = 0
        self._counts.recycled += 1
        old.retire(AgentCrashError("The worker was replaced."))
        self._move(slot, SlotState.READY)
        return new_life

    def _stock(self, slot: Slot) -> int:
        """Return the slot's share of the sessions kept ready: at least one, all together what was set."""
        share, extra = divmod(self._settings.pool_size, self._settings.workers)
        return max(1, share + (slot.number < extra))

    def _move(self, slot: Slot, state: SlotState) -> None:
        slot.state = state
        if state is SlotState.READY:
            self._some_ready.set()
        if (hopeless := self._hopeless()) is not None:
            self._line.fail(hopeless)
        else:
            self._line.wake()


def _serves(slot: Slot) -> bool:
    # The process may be dead before its slot has been told.
    return slot.state is SlotState.READY and slot.worker is not None and slot.worker.serves


def _rank(worker: AgentWorker, other_than: AgentWorker | None) -> tuple[bool, bool, int]:
    """Return what makes another worker the better choice, the weightiest first."""
    return worker is other_than, not worker.sessions_ready, worker.in_flight
