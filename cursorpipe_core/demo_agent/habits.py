"""How the demo agent behaves as an MCP client: as Cursor's present builds, or as other agents do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: Instead of a number of milliseconds: when the process gets SIGUSR1.
ON_SIGNAL = "usr1"


class Habits(NamedTuple):
    """The words of ``DEMO_AGENT_MCP``, separated by commas: ``key=value``, or a flag by its name alone.

    transport         ``both``, ``http``, ``stdio``: the servers of session/new and session/load that are
                      honoured; ``file``: only those of ``.cursor/mcp.json``; ``none``: all are passed over
    connect           ``new``, ``prompt`` (the first one), ``never``: when a server is connected to, and
                      waited for; ``background``: at new, and the first prompt waits
    no-wait           (flag) neither the session nor the prompt waits for the server
    fail-new          (flag) session/new and session/load fail with a server that cannot be used
    gate              (flag) a server that ``mcp-approvals.json`` does not have is absent; see ``approvals``
    shape             ``cursor``, ``claude``, ``codex``, ``copilot``, ``gemini``, ``opencode``: how calls are
                      announced and asked for; see ``shapes``
    announce          ``all`` calls of a step beforehand, the ``running`` one, ``none``
    ask               ``always``, ``never``, ``writers`` (tools that are not ``readOnlyHint``)
    calls             ``together``, ``serial``, ``readers`` (together if all are ``readOnlyHint``)
    late-text         milliseconds by which what is said before the calls comes behind them
    ignore-changes    (flag) ``notifications/tools/list_changed`` is not obeyed
    no-token          (flag) calls have no ``progressToken``
    extra-argument    (flag) ``wait_for_previous`` is added to the arguments
    limit             seconds that a call may take
    idle-limit        seconds that a call may take since the last progress
    at-limit          ``cancelled`` (the notification), ``close`` (of the connection), ``silence``
    cancel            the same three: what a server sees of a call whose turn is cancelled
    cancel-answered   (flag) ``notifications/cancelled`` is sent for each call that was answered
    drop, die         milliseconds after which a call loses its connection, or the agent its life; ``usr1``:
                      at that signal
    hang-when-lost    (flag) a turn whose call has lost its connection says nothing more
    discover          (flag) ``server/discover`` is tried before ``initialize``
    append-mcp        (flag) ``/mcp`` is appended to a URL that does not end so
    delete            (flag) connections are ended by DELETE when the process ends
    share-directory   (flag) sessions of one directory see each other's servers, the newest first
    deferred          (flag) tools are looked for, by a tool of the agent's own, before the first call
    by-name           (flag) the model calls only tools whose names the prompt has
    """

    transport: str = "both"
    connect: str = "new"
    no_wait: bool = False
    fail_new: bool = False
    gate: bool = False
    shape: str = "cursor"
    announce: str = "all"
    ask: str = "always"
    calls: str = "together"
    late_text: float | None = None
    ignore_changes: bool = False
    no_token: bool = False
    extra_argument: bool = False
    limit: float | None = None
    idle_limit: float | None = None
    at_limit: str = "cancelled"
    cancel: str = "cancelled"
    cancel_answered: bool = False
    drop: str = ""
    die: str = ""
    hang_when_lost: bool = False
    discover: bool = False
    append_mcp: bool = False
    delete: bool = False
    share_directory: bool = False
    deferred: bool = False
    by_name: bool = False


_FAREWELLS = ("cancelled", "close", "silence")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "transport": ("both", "http", "stdio", "file", "none"),
    "connect": ("new", "background", "prompt", "never"),
    "shape": ("cursor", "claude", "codex", "copilot", "gemini", "opencode"),
    "announce": ("all", "running", "none"),
    "ask": ("always", "never", "writers"),
    "calls": ("together", "serial", "readers"),
    "at_limit": _FAREWELLS,
    "cancel": _FAREWELLS,
}


def read_habits(words: str) -> Habits:
    """Read the words; raises ValueError with a sentence about the one that is wrong."""
    given: dict[str, Any] = {}
    for word in filter(None, map(str.strip, words.split(","))):
        name, equals, value = word.partition("=")
        field = name.replace("-", "_")
        read = _READERS.get(field)
        if read is None or (read is _flag) == bool(equals):
            raise ValueError(f"DEMO_AGENT_MCP has an unknown switch: {word}")
        if field in _CHOICES and value not in _CHOICES[field]:
            raise ValueError(f"DEMO_AGENT_MCP: {name} is none of {', '.join(_CHOICES[field])}: {value}")
        try:
            given[field] = read(value)
        except ValueError:
            raise ValueError(f"DEMO_AGENT_MCP: {name} is not a number: {value}") from None
    return Habits(**given)


def _flag(value: str) -> bool:
    del value
    return True


def _moment(value: str) -> str:
    return value if value == ON_SIGNAL else str(float(value))


_READERS: Mapping[str, Callable[[str], object]] = {
    **{name: _flag for name, default in Habits._field_defaults.items() if default is False},
    **dict.fromkeys(_CHOICES, str),
    **dict.fromkeys(("late_text", "limit", "idle_limit"), float),
    **dict.fromkeys(("drop", "die"), _moment),
}
