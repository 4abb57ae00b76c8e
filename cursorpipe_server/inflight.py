"""The requests that are being served, and the wait for their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Counts requests in and out; ``closing`` once the server takes no new connections."""

    def __init__(self) -> None:
        self.closing = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def count(self) -> int:
        """How many requests are being served."""
        return self._count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request for as long as it is served."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no request is being served."""
        await self._idle.wait()
