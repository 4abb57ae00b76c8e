"""What the environment tells the demo agent beyond what the real CLI reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cursorpipe_core.demo_agent.habits import Habits, read_habits


class Knobs(NamedTuple):
    """The switches of ``DEMO_AGENT_*``; a variable that is not set leaves the default.

    SCENARIO    what to do instead of answering; see ``scenarios``
    STATE       directory that counts ``times=`` across processes (default: in the config directory)
    RECORD      file to which everything that happens is appended; see ``record``
    LOGIN       how ACP signs in: ``key``, ``stored``, ``browser``, ``hang``; see ``account``
    OLD_BUILD   faults of older builds: ``set-model-ignored``, ``load-fails``, ``config-race``; ``no-acp``:
                `acp` is a prompt like any other word (CLI contract §3)
    MCP         what the agent does as an MCP client; see ``habits``
    ANSI        mixes terminal sequences and zero-width characters into the list of models
    START_MS, SESSION_MS, FIRST_MS, CHUNK_MS
                delays before anything, in session/new and session/load, before the first text of a turn,
                before each further one (CLI contract §6)
    """

    scenario: str = ""
    state: Path | None = None
    record: Path | None = None
    login: str = ""
    old_build: frozenset[str] = frozenset()
    ansi: bool = False
    start_ms: float = 0.0
    session_ms: float = 0.0
    first_ms: float = 0.0
    chunk_ms: float = 0.0
    habits: Habits = Habits()


def read_knobs(environ: Mapping[str, str]) -> Knobs:
    """Read the switches; raises ValueError with a sentence about the one that is wrong."""

    def path(name: str) -> Path | None:
        value = environ.get(f"DEMO_AGENT_{name}")
        return Path(value) if value else None

    def number(name: str) -> float:
        value = environ.get(f"DEMO_AGENT_{name}") or "0"
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"DEMO_AGENT_{name} is not a number: {value}") from None

    login = environ.get("DEMO_AGENT_LOGIN", "")
    if login not in {"", "key", "stored", "browser", "hang"}:
        raise ValueError(f"DEMO_AGENT_LOGIN is none of key, stored, browser, hang: {login}")
    old_build = frozenset(filter(None, environ.get("DEMO_AGENT_OLD_BUILD", "").split(",")))
    if unknown := old_build - {"set-model-ignored", "load-fails", "config-race", "no-acp"}:
        raise ValueError(f"DEMO_AGENT_OLD_BUILD has an unknown switch: {', '.join(sorted(unknown))}")
    return Knobs(
        scenario=environ.get("DEMO_AGENT_SCENARIO", ""),
        state=path("STATE"),
        record=path("RECORD"),
        login=login,
        old_build=old_build,
        ansi=environ.get("DEMO_AGENT_ANSI", "") not in {"", "0"},
        start_ms=number("START_MS"),
        session_ms=number("SESSION_MS"),
        first_ms=number("FIRST_MS"),
        chunk_ms=number("CHUNK_MS"),
        habits=read_habits(environ.get("DEMO_AGENT_MCP", "")),
    )
