"""Listening, and leaving in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from cursorpipe_core import Router
from cursorpipe_server.config import Settings
from cursorpipe_server.greeting import greet
from cursorpipe_server.hangup import has_terminal
from cursorpipe_server.inflight import InFlight
from cursorpipe_server.live import LiveSettings
from cursorpipe_server.reload import reload

if TYPE_CHECKING:
    from cursorpipe_server.site import Site

logger = logging.getLogger(__name__)

#: Connections that wait to be accepted.
BACKLOG = 1024


class ListenError(Exception):
    """The server cannot listen where it should; the message says so to the operator."""


async def serve(settings: Settings, read: Callable[[], Settings], *, attended: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; raises ListenError.

    The first signal closes the port and lets open requests end within the drain time, a second one ends
    them at once; then the agents are stopped. SIGHUP takes over what ``read`` gives by then; but if the
    server is ``attended`` and its terminal is gone, it means the end as well.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    live = LiveSettings(settings)
    router = Router(settings.agent, settings.supervision)

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    def hang_up() -> None:
        if attended and not has_terminal():
            end()
        elif stop.is_set():
            logger.info("SIGHUP: the server is stopping, its settings stay")
        else:
            reload(live, router, read)

    async with contextlib.AsyncExitStack() as stack:
        # The port first: a second start by mistake must not start agents.
        listeners = stack.enter_context(_listening(settings))
        stack.enter_context(_handlers({signal.SIGINT: end, signal.SIGTERM: end, signal.SIGHUP: hang_up}))
        await stack.enter_async_context(router)
        site = await stack.enter_async_context(await _site(live, router, listeners))
        greeting = asyncio.create_task(greet(settings, router, listeners[0].getsockname()[1]))
        greeting.add_done_callback(_log_failure)
        await stop.wait()
        greeting.cancel()
        await asyncio.gather(greeting, return_exceptions=True)
        await site.close()
        await _drain(site.in_flight, hurry, live.settings.server.drain_timeout_s)


async def _site(live: LiveSettings, router: Router, listeners: Sequence[socket.socket]) -> Site:
    """Return what serves; its modules, which are most of the program, are read while the agents start."""
    module = await asyncio.to_thread(import_module, "cursorpipe_server.site")
    site: Site = module.Site(live, router, listeners, backlog=BACKLOG)
    return site


async def _drain(in_flight: InFlight, hurry: asyncio.Event, timeout_s: float) -> None:
    """Wait until no request is being served, at most for the drain time, and not when hurried."""
    logger.info("stopping; %d open requests get %.0fs to end", in_flight.count, timeout_s)
    waits = [asyncio.create_task(in_flight.wait_idle()), asyncio.create_task(hurry.wait())]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    if in_flight.count:
        logger.warning("%d requests did not end in time and are cut", in_flight.count)


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


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """Listen on every address of the host; raises ListenError unless all of them can be had."""
    host, port = settings.server.host, settings.server.port
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, proto, _, address in dict.fromkeys(found):
                listener = stack.enter_context(socket.socket(family, kind, proto))
                listeners.append(listener)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    # The other family has a socket of its own where it is wanted.
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Any free port means the same one on every address.
                listener.bind((address[0], port or listeners[0].getsockname()[1], *address[2:]))
                # Bound is not taken: only a listening socket keeps another start from the port.
                listener.listen(BACKLOG)
        except OSError as exc:
            raise ListenError(_why_not(exc, host, port)) from exc
        yield listeners


def _why_not(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"CURSORPIPE_HOST: '{host}' is no address of this machine."
    if error.errno == errno.EADDRINUSE:
        return f"CURSORPIPE_PORT: port {port} on {host} is in use by another program."
    if error.errno == errno.EACCES:
        return f"CURSORPIPE_PORT: port {port} may not be used by this user; take one above 1023."
    return f"CURSORPIPE_HOST, CURSORPIPE_PORT: cannot listen on {host} port {port}: {error.strerror}."


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("what is served could not be told", exc_info=error)
