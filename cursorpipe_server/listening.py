"""The sockets that the server listens on: its own, or those that a service manager holds for it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cursorpipe_server.config import ServerSettings, Settings

#: Connections that wait to be accepted.
BACKLOG = 1024
#: The first descriptor of those that are handed over.
FIRST_FD = 3


class ListenError(Exception):
    """The server cannot listen where it should; the message says so to the operator."""


@contextlib.contextmanager
def own_sockets(server: ServerSettings) -> Iterator[list[socket.socket]]:
    """Listen on every address of the host; raises ListenError unless all of them can be had."""
    host, port = server.host, server.port
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


@contextlib.contextmanager
def handed_over(environ: Mapping[str, str]) -> Iterator[list[socket.socket]]:
    """Take the sockets that are held for this process, none if there are none; raises ListenError.

    Whoever holds them keeps them open when this process ends, so that a connection made during a restart
    waits for the next one and is not refused.
    """
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        # Of a parent that was meant, and not of this process, they are not ours to take.
        if environ.get("LISTEN_PID") == str(os.getpid()):
            fds = range(FIRST_FD, FIRST_FD + int(environ.get("LISTEN_FDS", "0")))
            listeners.extend(stack.enter_context(_taken(fd)) for fd in fds)
        yield listeners


def where(listeners: Sequence[socket.socket], settings: Settings) -> Settings:
    """Return the settings with the address of sockets that were handed over.

    Of several it is the one that the most can reach: by it is told whether the server is open to others.
    """
    addresses = [listener.getsockname()[:2] for listener in listeners]
    host, port = min(addresses, key=lambda address: ipaddress.ip_address(address[0]).is_loopback)
    return replace(settings, server=replace(settings.server, host=host, port=port))


def _taken(fd: int) -> socket.socket:
    try:
        # The agents have no business with it.
        os.set_inheritable(fd, False)
        listener = socket.socket(fileno=fd)
    except OSError as exc:
        raise ListenError(f"LISTEN_FDS: descriptor {fd} is no socket ({exc.strerror}).") from exc
    over_tcp = listener.family in {socket.AF_INET, socket.AF_INET6} and listener.type == socket.SOCK_STREAM
    if not (over_tcp and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        listener.close()
        raise ListenError(f"LISTEN_FDS: descriptor {fd} does not listen on a TCP port.")
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"CURSORPIPE_HOST: '{host}' is no address of this machine."
    if error.errno == errno.EADDRINUSE:
        return f"CURSORPIPE_PORT: port {port} on {host} is in use by another program."
    if error.errno == errno.EACCES:
        return f"CURSORPIPE_PORT: port {port} may not be used by this user; take one above 1023."
    return f"CURSORPIPE_HOST, CURSORPIPE_PORT: cannot listen on {host} port {port}: {error.strerror}."
