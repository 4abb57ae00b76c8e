"""The real program as a process of its own, and what it printed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable

from tests.waiting import PATIENCE_S, until


class Program:
    """The running program and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self.complaint = ""
        self._reading = asyncio.gather(self._read(), self._complain())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode()

    async def _complain(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.complaint += line.decode()

    async def url(self) -> str:
        """Wait until it listens and return where."""
        await until(lambda: "/v1 (" in self.output)
        found = re.search(r"serves (http://\S+)/v1", self.output)
        assert found is not None
        return found[1]

    async def told_to_stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop, and wait until it does."""
        self.process.send_signal(signum)
        await until(lambda: "stopping" in self.complaint)

    async def exit_status(self) -> int:
        """Wait until it is gone."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self.process.wait()

    def stop_reading(self) -> None:
        """Close our end of what it prints to."""
        transport = self.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.exit_status()


Start = Callable[..., Awaitable[Program]]
