"""The directories that the server and its agents write to: are they ours, and is there room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cursorpipe_core.config import AgentSettings
from cursorpipe_core.finding import Finding, broken, doubtful, fine
from cursorpipe_core.remedies import CONFIG_NOT_WRITABLE, DISK_FULL
from cursorpipe_core.state import state_directory

#: Bytes that should be free: an agent writes logs and chats, and its updates are some 200 MB.
LEAST_FREE_BYTES = 512 * 1024 * 1024


def check_state(settings: AgentSettings) -> Finding:
    """See how much room there is for the state and the agents; that both can be made is known. Blocks."""
    places = {"state": state_directory(settings.state_dir), "agents": Path(tempfile.gettempdir())}
    free = {what: shutil.disk_usage(path).free for what, path in places.items()}
    detail = "; ".join(f"{what} in {path}, {_size(free[what])} free" for what, path in places.items())
    if min(free.values()) < LEAST_FREE_BYTES:
        return doubtful("state", detail, DISK_FULL)
    return fine("state", detail)


def check_config(settings: AgentSettings) -> Finding:
    """See whether the CLI can write its configuration, without which it opens no session. Blocks.

    (CLI contract §2.)
    """
    if settings.private_config:
        return fine("config", "a directory of its own for each agent")
    path = _config_directory({**os.environ, **settings.stand_in_env})
    # One that is not there yet is made by the CLI: whatever it is in has to let it.
    existing = next(place for place in (path, *path.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as exc:
        return broken("config", f"{path} cannot be written: {exc.strerror}.", CONFIG_NOT_WRITABLE)
    return fine("config", f"{path}, shared by all agents")


def _config_directory(environ: Mapping[str, str]) -> Path:
    if configured := environ.get("CURSOR_CONFIG_DIR"):
        return Path(configured).absolute()
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base, "cursor").absolute()
    return Path(environ.get("HOME") or "/", ".cursor").absolute()


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
