"""Processes that nobody looks after any more: found beyond doubt, and ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import psutil

#: The variable in an agent's environment that says whose it is; what the agent starts inherits it.
MARK = "CURSORPIPE_INSTANCE"
#: Seconds between SIGTERM and SIGKILL.
SIGTERM_GRACE_S = 2.0
#: Seconds that SIGKILL gets, and how often it is sent: what is found may be starting others.
SIGKILL_WAIT_S = 2.0
SIGKILL_ROUNDS = 3
#: More than a process' line of proc(5)'s stat ever has.
_STAT_SIZE = 4096


def start_time(pid: int) -> str | None:
    """Return when a process was started, which tells it from others of the same id; None: there is none."""
    try:
        # Field 22 of proc(5)'s stat, in ticks since the boot; the name before it may have spaces.
        stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            ticks = os.read(stat, _STAT_SIZE).rpartition(b")")[2].split(None, 20)[19]
        finally:
            os.close(stat)
        return f"{ticks.decode()}-{_boot()}"
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


@cache
def _boot() -> str:
    """Return what tells this boot from others, where the system has a name for it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def is_child(pid: int) -> bool:
    """Whether this is a child of ours, dead or alive; until it is reaped nobody else has its id."""
    try:
        return psutil.Process(pid).ppid() == os.getpid()
    except psutil.Error:
        return False


def started_at(pid: int, time: str) -> Iterator[psutil.Process]:
    """Yield the process of this id if it was started then, and its group with it."""
    if start_time(pid) != time:
        return
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == pid:
                yield process


def marked(is_ours: Callable[[str], bool]) -> Iterator[psutil.Process]:
    """Yield the processes of this user whose mark is one of ours."""
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):  # not ours to read, or just gone
            mark = process.environ().get(MARK)
            if mark is not None and is_ours(mark):
                yield process


def end_all(find: Callable[[], Iterable[psutil.Process]]) -> int:
    """End the processes that ``find`` yields, and those that it yields after that; returns how many.

    Bounded by the times above. Each is signalled only while it is still the process that was found.
    """
    found = set(find())
    if not found:
        return 0
    alive = _signal(found, psutil.Process.terminate, SIGTERM_GRACE_S)
    for _ in range(SIGKILL_ROUNDS):
        late = set(find())
        found |= late
        alive = _signal(alive | late, psutil.Process.kill, SIGKILL_WAIT_S)
        if not alive and not late:
            break
    return len(found - alive)


def _signal(
    processes: set[psutil.Process], send: Callable[[psutil.Process], None], patience_s: float
) -> set[psutil.Process]:
    """Send a signal to each and return those that are there after the wait."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            send(process)
    _, alive = psutil.wait_procs(processes, timeout=patience_s)
    return set(alive)
