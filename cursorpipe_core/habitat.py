"""The directories and the environment that one agent process lives in."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cursorpipe_core.bounds import to_the_end
from cursorpipe_core.config import AgentSettings
from cursorpipe_core.errors import AgentCrashError
from cursorpipe_core.instance import Instance
from cursorpipe_core.orphans import MARK

#: What a child may see of the server's environment: what programs need to run at all, locale, proxy and
#: CA settings, and what finds the CLI's stored login (CLI contract §2). Everything else stays here.
ALLOWED_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_USE_ENV_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
        *("CURSOR_CONFIG_DIR", "CURSOR_DATA_DIR", "AGENT_CLI_CREDENTIAL_STORE", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
ALLOWED_PREFIX = "LC_"

#: Given to every child: no browser on a server, no colours in texts that a program reads.
FIXED_VARIABLES = {"NO_OPEN_BROWSER": "1", "NO_COLOR": "1"}


@dataclass(frozen=True, slots=True)
class Habitat:
    """Where one agent process works (``cwd``), what it sees (``env``), and what only it is given (``own``).

    ``on_started`` is to be called with the process id, so that the process is never lost.
    """

    own: Path
    cwd: str
    env: Mapping[str, str]
    on_started: Callable[[int], None]


@asynccontextmanager
async def habitat(settings: AgentSettings, instance: Instance) -> AsyncIterator[Habitat]:
    """Make the place for one agent process; leaving, once it has ended, removes what was made.

    The work directory is an empty private one unless a workspace is set, because rules found in a
    directory change the answers (CLI contract §1). The configuration directory is private as
    ``settings.private_config`` says, because what one process writes there the next one reads.
    Raises AgentCrashError when the directories cannot be made.
    """
    try:
        base, mark = instance.new_place()
    except OSError as exc:
        raise AgentCrashError(f"The agent's private directory cannot be made: {exc.strerror}.") from exc
    try:
        cwd, env = _furnish(base, settings)
        yield Habitat(base, cwd, {**env, MARK: mark}, partial(instance.record, mark))
    finally:
        instance.agent_ended(mark)
        await to_the_end(lambda: shutil.rmtree(base, ignore_errors=True))


def _furnish(base: Path, settings: AgentSettings) -> tuple[str, dict[str, str]]:
    """Return the work directory and the environment, with what they need made under ``base``."""
    env = {**_inherited(settings), **FIXED_VARIABLES, **settings.stand_in_env}
    if settings.api_key:
        env["CURSOR_API_KEY"] = settings.api_key
    if settings.auth_token:
        env["CURSOR_AUTH_TOKEN"] = settings.auth_token
    work, config = base / "work", base / "config"
    try:
        if settings.private_config:
            config.mkdir()
            env["CURSOR_CONFIG_DIR"] = str(config)
        if settings.workspace:
            return str(Path(settings.workspace).absolute()), env
        work.mkdir()
    except OSError as exc:
        raise AgentCrashError(f"The agent's private directory cannot be made: {exc.strerror}.") from exc
    return str(work), env


def _inherited(settings: AgentSettings) -> dict[str, str]:
    allowed = ALLOWED_VARIABLES.union(settings.agent_env)
    return {
        name: value
        for name, value in os.environ.items()
        if name in allowed or name.startswith(ALLOWED_PREFIX)
    }
