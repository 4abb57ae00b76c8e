"""Listening, and leaving in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from cursorpipe_core import Router
from cursorpipe_server.config import Settings
from cursorpipe_server.greeting import greet
from cursorpipe_server.hangup import has_terminal
from cursorpipe_server.listening import BACKLOG, handed_over, own_sockets, where
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.notify import ServiceManager, status_line
from cursorpipe_server.reload import reload

if TYPE_CHECKING:
    from cursorpipe_server.site import Site

logger = logging.getLogger(__name__)


async def serve(settings: Settings, read: Callable[[], Settings], *, attended: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; raises ListenError.

    The first signal closes the port and lets open requests end within the drain time, a second one ends
    them at once; then the agents are stopped. SIGHUP takes over what ``read`` gives by then; but if the
    server is ``attended`` and its terminal is gone, it means the end as well.
    """
    with contextlib.ExitStack() as stack:
        # The port first: a second start by mistake must not start agents.
        if listeners := stack.enter_context(handed_over(os.environ)):
            await _serve_on(listeners, where(listeners, settings), lambda: where(listeners, read()), attended)
        else:
            await _serve_on(stack.enter_context(own_sockets(settings.server)), settings, read, attended)


async def _serve_on(
    listeners: Sequence[socket.socket], settings: Settings, read: Callable[[], Settings], attended: bool
) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    live = LiveSettings(settings)
    router = Router(settings.agent, settings.supervision)
    manager = ServiceManager(os.environ)

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    def hang_up() -> None:
        if attended and not has_terminal():
            end()
        elif stop.is_set():
            logger.info("SIGHUP: the server is stopping, its settings stay")
        else:
            with manager.reloading():
                reload(live, router, read)

    def status() -> str:
        return status_line(router.snapshot(), stopping=stop.is_set())

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_handlers({signal.SIGINT: end, signal.SIGTERM: end, signal.SIGHUP: hang_up}))
        await stack.enter_async_context(manager.attended(status))
        await stack.enter_async_context(router)
        site = await stack.enter_async_context(await _site(live, router, listeners))
        # Not when the agents are: they may take long, and what they do is told by the status.
        manager.ready()
        greeting = asyncio.create_task(greet(settings, router, listeners[0].getsockname()[1]))
        greeting.add_done_callback(_log_failure)
        await stop.wait()
        manager.stopping(live.settings.server.drain_timeout_s)
        greeting.cancel()
        await asyncio.gather(greeting, return_exceptions=True)
        await _drain(site, hurry, live.settings.server.drain_timeout_s)


async def _site(live: LiveSettings, router: Router, listeners: Sequence[socket.socket]) -> Site:
    """Return what serves; its modules, which are most of the program, are read while the agents start."""
    module = await asyncio.to_thread(import_module, "cursorpipe_server.site")
    site: Site = module.Site(live, router, listeners, backlog=BACKLOG)
    return site


async def _drain(site: Site, hurry: asyncio.Event, timeout_s: float) -> None:
    """Wait until all that was asked is answered, at most for the drain time, and not when hurried."""
    logger.info("stopping; %d open requests get %.0fs to end", site.owed, timeout_s)
    closing, hurried = asyncio.create_task(site.close()), asyncio.create_task(hurry.wait())
    waits = (closing, hurried)
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    if not closing.cancelled():
        closing.result()
    if site.owed:
        logger.warning("%d requests did not end in time and are cut", site.owed)


@contextlib.contextmanager
def _handlers(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Have the loop call a handler for each signal that comes."""
    loop = asyncio.get_running_loop()
    for signum, handler in handlers.items():
        loop.add_signal_handler(signum, handler)
    try:
        yield
    finally:
        for signum in handlers:
            loop.remove_signal_handler(signum)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("what is served could not be told", exc_info=error)
