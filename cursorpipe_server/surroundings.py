"""What the server needs of the machine it is on: its port, its token, and enough open files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
from pathlib import Path

import aiohttp
import psutil
from yarl import URL

from cursorpipe_core import Finding, Remedy, Strategy, SupervisorSettings, ToolsMode, broken, doubtful, fine
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.greeting import is_open
from cursorpipe_server.listening import ListenError, own_sockets

PORT_TAKEN = Remedy("port_taken", "End that program, or take another port with CURSORPIPE_PORT.")
ALREADY_SERVED = Remedy(
    "already_served", "That is this server, running already: do not start another one on the same port."
)
PORT_HELD = Remedy(
    "port_held",
    "If that is systemd with cursorpipe.socket, the service takes the port over when it starts. Else take "
    "another with CURSORPIPE_PORT.",
)
PORT_FORBIDDEN = Remedy(
    "port_forbidden", "Take a port above 1023 with CURSORPIPE_PORT, and put a proxy in front for a lower one."
)
HOST_FOREIGN = Remedy(
    "host_foreign", "Set CURSORPIPE_HOST to an address of this machine, or to 0.0.0.0 for all of them."
)
CANNOT_LISTEN = Remedy("cannot_listen", "See CURSORPIPE_HOST and CURSORPIPE_PORT, and the firewall.")
OPEN_TO_ALL = Remedy(
    "open_to_all",
    "Everybody who reaches the port can use the account: set CURSORPIPE_BEARER_TOKEN, or "
    "CURSORPIPE_HOST=127.0.0.1.",
)
WEAK_TOKEN = Remedy("weak_token", "Take one that nobody guesses, such as `openssl rand -hex 32` prints.")
FEW_FILES = Remedy(
    "few_files",
    "Raise it by `ulimit -n` where the server is started, LimitNOFILE= in a systemd unit or `ulimits` in a "
    "compose file; or lower CURSORPIPE_MAX_QUEUE and CURSORPIPE_WORKER_CONCURRENCY.",
)

#: Files that are open whatever is served: the program, its log, its state.
FILES_AT_REST = 64
#: Files of an agent process: its three pipes, and what tells of its end.
FILES_OF_AN_AGENT = 4
#: Seconds that what has the port may take to say what it is.
ANSWER_WITHIN_S = 2.0
#: What the server's answer to `GET /ready` has, whatever else it may have.
_OUR_MEMBERS = frozenset({"version", "ready", "strategy", "workers"})
#: What stands for every address.
_ALL = frozenset({str(ipaddress.IPv4Address(0)), str(ipaddress.IPv6Address(0))})
#: What the program is called on a command line.
_OUR_NAMES = frozenset({"cursorpipe-server", "cursorpipe_server"})


async def check_port(server: ServerSettings) -> Finding:
    """Listen as the server would, for a moment; if it cannot, see what does."""
    finding = await asyncio.to_thread(_look_at_port, server)
    # The service's own user is not told of it either: the unit gives it a user namespace of its own.
    if finding.failed and finding.remedy is PORT_HELD and await _is_served(server):
        return doubtful("port", f"{server.port} is in use by a cursorpipe.", ALREADY_SERVED)
    return finding


def _look_at_port(server: ServerSettings) -> Finding:
    host, port = server.host, server.port
    if port == 0:
        return fine("port", f"any free one on {host}")
    try:
        with own_sockets(server):
            return fine("port", f"{port} on {host} is free")
    except ListenError as exc:
        return _no_port(exc, host, port)


def check_token(settings: Settings) -> Finding:
    """See who could use the server."""
    tokens, host = settings.server.tokens(), settings.server.host
    if not tokens:
        if is_open(settings):
            return doubtful("token", f"None is set, and {host} can be reached from elsewhere.", OPEN_TO_ALL)
        return fine("token", f"none, and only this machine reaches {host}")
    if tokens.weak:
        which = "the only one" if len(tokens) == 1 else ", ".join(tokens.weak)
        return doubtful("token", f"Easily guessed: {which}.", WEAK_TOKEN)
    return fine("token", "one is set" if len(tokens) == 1 else f"{len(tokens)} are set")


def check_open_files(supervision: SupervisorSettings) -> Finding:
    """Compare the limit of open files with what the other limits let the server have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return fine("files", "no limit of open files")
    needed = files_needed(supervision)
    detail = f"{limit} may be open, {needed} are needed under full load"
    if limit >= needed:
        return fine("files", detail)
    starts = limit >= FILES_AT_REST + supervision.workers * FILES_OF_AN_AGENT
    return (doubtful if starts else broken)("files", f"{detail}.", FEW_FILES)


def files_needed(supervision: SupervisorSettings) -> int:
    """Return how many files are open when everything that may be going on is.

    Each request has its connection, and may have one to its tools; those that wait have theirs.
    """
    worker = FILES_OF_AN_AGENT + 2 * supervision.worker_concurrency
    workers = 0
    if supervision.strategy is not Strategy.SUBPROCESS:
        # A named model with tools gets a worker, whether it is to be kept warm or not.
        warms = supervision.warm_models or supervision.tools is not ToolsMode.OFF
        warm = supervision.warm_models_max if warms else 0
        workers = (supervision.workers + warm) * worker
    processes = supervision.max_subprocesses * (FILES_OF_AN_AGENT + 1)
    return FILES_AT_REST + workers + processes + 2 * supervision.max_queue


def _no_port(error: ListenError, host: str, port: int) -> Finding:
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if isinstance(cause, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return broken("port", f"'{host}' is no address of this machine.", HOST_FOREIGN)
    if number == errno.EADDRINUSE:
        return _taken(host, port)
    if number == errno.EACCES:
        return broken("port", f"{port} may not be used by this user.", PORT_FORBIDDEN)
    return broken("port", str(error), CANNOT_LISTEN)


def _taken(host: str, port: int) -> Finding:
    holder = _holder(host, port)
    if holder is None:
        return broken("port", f"{port} is in use by a program that this user may not see.", PORT_HELD)
    name, pid, ours = holder
    detail = f"{port} is in use by {name}, process {pid}."
    if ours:
        return doubtful("port", detail, ALREADY_SERVED)
    return doubtful("port", detail, PORT_HELD) if pid == 1 else broken("port", detail, PORT_TAKEN)


async def _is_served(server: ServerSettings) -> bool:
    """Whether what listens there answers as this server does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 — to connect
    url = URL.build(scheme="http", host=host, port=server.port, path="/ready")
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            answer = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False
    return isinstance(answer, dict) and answer.keys() >= _OUR_MEMBERS


def _holder(host: str, port: int) -> tuple[str, int, bool] | None:
    """Return name and id of the process that keeps a port from us, and whether it is such a server.

    None where the system does not tell: whose processes those of other users are, only root is told.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = {address[0] for *_, address in found}
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            held = connection.laddr
            if connection.status != psutil.CONN_LISTEN or not held or held.port != port:
                continue
            # Whoever listens on all addresses is in the way of each, and each of all.
            in_the_way = held.ip in addresses or (addresses | {held.ip}) & _ALL
            if in_the_way and connection.pid:
                process = psutil.Process(connection.pid)
                # The interpreter, perhaps an option, and the program: no argument of somebody else's.
                ours = any(Path(word).name in _OUR_NAMES for word in process.cmdline()[:3])
                return process.name(), connection.pid, ours
    return None
