"""The directories and the environment that one agent process lives in."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
AGENT_VARIABLES = frozenset(
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

    ``on_started`` is to be called with the process id, so that the process is never lost, and ``on_ended``
    once it has ended; ``made`` are the directories that are there for it alone, each before the one it is in.
    """

    own: str
    cwd: str
    env: Mapping[str, str]
    made: Sequence[str]
    on_started: Callable[[int], None]
    on_ended: Callable[[], None]

    def remove(self) -> None:
        """Remove the directories with what the process left in them; blocks, never raises."""
        try:
            for directory in self.made:
                os.rmdir(directory)  # noqa: PTH106 — most are empty, and this is a tenth of rmtree
        except OSError:
            shutil.rmtree(self.own, ignore_errors=True)


class Furnishing:
    """What the places of all processes of the same settings are like."""

    def __init__(self, settings: AgentSettings) -> None:
        env = {**_inherited(settings), **FIXED_VARIABLES, **settings.stand_in_env}
        if settings.api_key:
            env["CURSOR_API_KEY"] = settings.api_key
        if settings.auth_token:
            env["CURSOR_AUTH_TOKEN"] = settings.auth_token
        self._env = env
        self._private_config = settings.private_config
        self._workspace = str(Path(settings.workspace).absolute()) if settings.workspace else ""

    def make(self, instance: Instance) -> Habitat:
        """Make a place; raises AgentCrashError when the directories cannot be made. Blocks.

        The work directory is an empty private one unless a workspace is set, because rules found in a
        directory change the answers (CLI contract §1). The configuration directory is private as
        ``AgentSettings.private_config`` says, because what one process writes there the next one reads.
        """
        own, mark = instance.name_place()
        env = {**self._env, MARK: mark}
        wanted = [own]
        if self._private_config:
            # Not a third directory: on a disk each costs as much as the rest of a start does.
            env["CURSOR_CONFIG_DIR"] = own
        cwd = self._workspace
        if not cwd:
            cwd = f"{own}/work"
            wanted.append(cwd)
        place = Habitat(
            own, cwd, env, wanted[::-1], partial(instance.record, mark), partial(instance.agent_ended, mark)
        )
        try:
            for directory in wanted:
                os.mkdir(directory, 0o700)  # noqa: PTH102 — a path object costs a third of it again
        except OSError as exc:
            place.remove()
            raise AgentCrashError(f"The agent's private directory cannot be made: {exc.strerror}.") from exc
        return place


@asynccontextmanager
async def habitat(settings: AgentSettings, instance: Instance) -> AsyncIterator[Habitat]:
    """Make the place for one agent process; leaving, once it has ended, removes what was made.

    Raises AgentCrashError when the directories cannot be made.
    """
    place = Furnishing(settings).make(instance)
    try:
        yield place
    finally:
        place.on_ended()
        await to_the_end(place.remove)


def _inherited(settings: AgentSettings) -> dict[str, str]:
    allowed = AGENT_VARIABLES.union(settings.agent_env)
    return {
        name: value
        for name, value in os.environ.items()
        if name in allowed or name.startswith(ALLOWED_PREFIX)
    }
