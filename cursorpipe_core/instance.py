"""The running server as the owner of processes: none that it started is left, however it ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from cursorpipe_core.bounds import to_the_end
from cursorpipe_core.orphans import end_all, is_child, marked
from cursorpipe_core.state import StateEntry, clear_dead_entries, state_directory

logger = logging.getLogger(__name__)

#: What an agent leaves outside its process group may be its own updater: it gets a while to finish.
DETACHED_GRACE_S = 30.0
#: Seconds at least between two looks for that: each reads the environment of every process of the user.
SWEEP_PAUSE_S = 5.0
#: Seconds that a process has run when it is put on record. When one was started comes from proc(5), which
#: keeps whoever asks waiting for as long as the system is still putting the program in place. Until then,
#: and for a process that ends sooner, there is the mark.
RECORD_AFTER_S = 0.05


class Instance:
    """Gives agents their places, keeps a record of their processes, and ends what they leave behind.

    Entering takes an entry in the state directory, and clears in the background what killed servers left
    there; raises SettingsError if there can be no entry. Leaving ends every process that still bears the
    mark of this instance.
    """

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._entry: StateEntry
        self._numbers = itertools.count(1)
        self._clearing: asyncio.Task[None] | None = None
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._records: dict[str, int] = {}
        self._ended_at: dict[str, float] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        state = state_directory(self._state_dir)
        self._entry = StateEntry(state)
        self._clearing = asyncio.create_task(
            _in_thread(partial(clear_dead_entries, state)), name="what killed servers left"
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for due in self._due.values():
            due.cancel()
        tasks = [task for task in (self._clearing, self._sweeping) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await to_the_end(self._close)

    def name_place(self) -> tuple[str, str]:
        """Return the path of a directory, to be made, for one agent, and the mark that the agent is to bear.

        No two agents get the same.
        """
        number = next(self._numbers)
        return f"{self._entry.places}/{number}", f"{self._entry.id}.{number}"

    def record(self, mark: str, pid: int) -> None:
        """Write down, in a moment, a process that bears ``mark``, leads its group and is a child of ours.

        Of several that bear it, one after the other, the last is on record.
        """
        self._strike_out(mark)
        loop = asyncio.get_running_loop()
        self._due[mark] = loop.call_later(RECORD_AFTER_S, self._write_down, mark, pid)

    def agent_ended(self, mark: str) -> None:
        """Strike out the process that bore ``mark``; what has left its group is ended after a grace."""
        self._strike_out(mark)
        self._ended_at[mark] = time.monotonic()
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="what agents left")

    def _write_down(self, mark: str, pid: int) -> None:
        del self._due[mark]
        if not is_child(pid):
            return  # it has just ended, and somebody else may have its id
        try:
            self._records[mark] = self._entry.record(pid)
        except OSError as exc:
            # A full disk costs the record, not the process: the mark finds it as well.
            logger.warning("process %d is not on record: %s", pid, exc.strerror)

    def _strike_out(self, mark: str) -> None:
        if (due := self._due.pop(mark, None)) is not None:
            due.cancel()
        if (record := self._records.pop(mark, None)) is not None:
            self._entry.strike_out(record)

    async def _sweep(self) -> None:
        """Look for what agents left outside their groups, many of them with one look."""
        while self._ended_at:
            due_at = next(iter(self._ended_at.values())) + DETACHED_GRACE_S
            await asyncio.sleep(max(SWEEP_PAUSE_S, due_at - time.monotonic()))
            limit = time.monotonic() - DETACHED_GRACE_S
            due = frozenset(mark for mark, ended_at in self._ended_at.items() if ended_at <= limit)
            await _in_thread(partial(end_all, partial(marked, due.__contains__)))
            for mark in due:
                del self._ended_at[mark]

    def _close(self) -> None:
        end_all(lambda: marked(lambda mark: mark.partition(".")[0] == self._entry.id))
        self._entry.close()


async def _in_thread(work: Callable[[], object]) -> None:
    """Clear something away behind the requests; a failure is logged, as nobody waits for it."""
    try:
        await asyncio.to_thread(work)
    except Exception:
        logger.exception("what was left behind could not be cleared")
