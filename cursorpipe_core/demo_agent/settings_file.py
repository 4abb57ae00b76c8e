"""The CLI's configuration directory and its ``cli-config.json`` (CLI contract §2)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NAME = "cli-config.json"
_FRESH: dict[str, Any] = {
    "version": 1,
    "editor": {"vimMode": False},
    "permissions": {"allow": [], "deny": []},
}


def config_directory(environ: Mapping[str, str]) -> Path:
    """Return where the CLI keeps its configuration, sessions and chats."""
    if environ.get("CURSOR_CONFIG_DIR"):
        return Path(environ["CURSOR_CONFIG_DIR"])
    if environ.get("XDG_CONFIG_HOME"):
        return Path(environ["XDG_CONFIG_HOME"]) / "cursor"
    return Path.home() / ".cursor"


class SettingsFile:
    """``cli-config.json``: replaced as a whole, so that readers never see half of it; last writer wins.

    With ``races`` it behaves as before 6 July 2026: processes share one temporary file, and a start that
    reads or renames at the wrong moment fails.
    """

    def __init__(self, directory: Path, *, races: bool = False) -> None:
        self.directory = directory
        self._path = directory / _NAME
        self._races = races

    def read(self) -> dict[str, Any]:
        """Return the settings; a broken file is put aside as ``.bad`` and counts as none.

        Raises ValueError with the CLI's text if this build does not do that yet.
        """
        try:
            settings = json.loads(self._path.read_bytes())
        except OSError:
            return {}
        except ValueError:
            if self._races:
                raise ValueError("Unexpected end of JSON input") from None
            self._path.rename(self._path.with_name(f"{_NAME}.bad"))
            return {}
        return settings if isinstance(settings, dict) else {}

    def update(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Read, change and replace the settings; raises OSError with the CLI's text if that fails."""
        settings = {**_FRESH, **self.read()}
        change(settings)
        suffix = "tmp" if self._races else f"{os.getpid()}.{time.monotonic_ns()}.tmp"
        temporary = self._path.with_name(f"{_NAME}.{suffix}")
        shown = self._path.with_name(f"{_NAME}.tmp")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(settings, indent=2))
        except OSError as exc:
            raise OSError(f"EPERM: operation not permitted, open '{shown}'") from exc
        try:
            temporary.rename(self._path)
        except OSError as exc:
            raise OSError(f"ENOENT: no such file or directory, rename '{shown}' -> '{self._path}'") from exc

    def ensure(self) -> None:
        """Write the file if there is none; the older build writes it at every start."""
        if self._races or not self._path.exists():
            self.update(lambda settings: None)
