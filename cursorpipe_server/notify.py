"""What the server tells the service manager that started it: ready, what it does, alive, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from cursorpipe_core import Snapshot

logger = logging.getLogger(__name__)

#: Seconds between two looks at what the workers do; a status that has not changed is not told again.
STATUS_EVERY_S = 1.0
#: Seconds that the stop of the agents may take, once open requests have had their time.
LEAVE_S = 20.0


class ServiceManager:
    """Speaks systemd's notify protocol: datagrams to the socket that ``NOTIFY_SOCKET`` names.

    Without that variable every method does nothing. Nothing here waits or raises: a service manager that
    does not listen must not keep the server from serving.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # `@` stands for the zero byte of an abstract address.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._beat_s = _half_the_watchdog_s(environ)

    def ready(self) -> None:
        """Tell that the server serves."""
        self._tell("READY=1")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the settings are being read, and when it is done; an old answer is told by its time."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self._tell("READY=1")

    def stopping(self, drain_timeout_s: float) -> None:
        """Tell that the end has begun, and how long it may take, whatever the unit says."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((drain_timeout_s + LEAVE_S) * 1_000_000)}")

    @contextlib.asynccontextmanager
    async def attended(self, status: Callable[[], str]) -> AsyncIterator[None]:
        """Tell the status when it changes, and the watchdog that the event loop turns."""
        if not self._address:
            yield
            return
        telling = asyncio.create_task(self._keep_telling(status), name="service manager")
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _keep_telling(self, status: Callable[[], str]) -> None:
        told, beat_due = "", time.monotonic()
        while True:
            words = []
            if (now_doing := status()) != told:
                told = now_doing
                words.append(f"STATUS={told}")
            if self._beat_s is not None and time.monotonic() >= beat_due:
                beat_due += self._beat_s
                words.append("WATCHDOG=1")
            if words:
                self._tell(*words)
            due_in = STATUS_EVERY_S if self._beat_s is None else beat_due - time.monotonic()
            await asyncio.sleep(max(0.0, min(STATUS_EVERY_S, due_in)))

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as words_out:
                # Full is full: the loop is not to wait for who does not read.
                words_out.setblocking(False)
                words_out.sendto("\n".join(words).encode(), self._address)
        except OSError as exc:
            logger.warning("the service manager could not be told %s: %s", words[0].partition("=")[0], exc)


def status_line(snapshot: Snapshot, *, stopping: bool) -> str:
    """Return what the workers do, in one line."""
    serving = sum(worker.in_flight for worker in snapshot.workers) + snapshot.subprocesses
    parts = [f"{serving} requests in flight", f"{snapshot.waiting} waiting"]
    if snapshot.workers:
        ready = sum(worker.state == "ready" for worker in snapshot.workers)
        parts.insert(0, f"{ready} of {len(snapshot.workers)} workers ready")
    if stopping:
        parts.insert(0, "stopping")
    elif snapshot.reason:
        parts.append(" ".join(snapshot.reason.split()))
    return ", ".join(parts)


def _half_the_watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the seconds between two signs of life; None where nobody waits for one."""
    # The variables of whoever started us, if it does not clear them, are another process's.
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        half = int(environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    except ValueError:
        return None
    return half if half > 0 else None
