"""The application on its ports."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiohttp import web

from cursorpipe_core import Router
from cursorpipe_server.app import create_app
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.keys import IN_FLIGHT
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.protocol import Runner
from cursorpipe_server.tracing import Tracing, tracing_from_environment

logger = logging.getLogger(__name__)

#: Seconds that requests which did not end in time get to be cancelled; aiohttp waits for it twice.
CANCEL_TIMEOUT_S = 0.5


class Site:
    """Serves with what ``router`` has on sockets that listen; leaving cancels what is being served."""

    def __init__(
        self, live: LiveSettings, router: Router, listeners: Sequence[socket.socket], *, backlog: int
    ) -> None:
        self._tracing = _tracing()
        app = create_app(live, router, tracing=self._tracing)
        self._in_flight: InFlight = app[IN_FLIGHT]
        self._listeners = listeners
        self._backlog = backlog
        self._runner = Runner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=CANCEL_TIMEOUT_S
        )
        self._sites: list[web.SockSite] = []

    async def __aenter__(self) -> Self:
        try:
            await self._runner.setup()
            for listener in self._listeners:
                site = web.SockSite(self._runner, listener, backlog=self._backlog)
                await site.start()
                self._sites.append(site)
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_flight.cut = True
        await self._runner.cleanup()
        if self._tracing is not None:
            await self._tracing.close()

    async def close(self) -> None:
        """Take no new connections, and return when those that are there have had what is owed on them."""
        self._in_flight.closing = True
        for site in self._sites:
            await site.stop()
        await self._runner.retire()

    @property
    def owed(self) -> int:
        """How many connections have an answer to come, or the rest of one."""
        return self._runner.owed


def _tracing() -> Tracing | None:
    try:
        return tracing_from_environment(os.environ)
    except ImportError as exc:
        logger.error("no spans are sent: install cursorpipe[otel] (%s)", exc)  # noqa: TRY400 — no fault of ours
        return None
