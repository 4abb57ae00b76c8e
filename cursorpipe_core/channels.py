"""The ways in which an agent may come to its caller's tools, and which of them works."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cursorpipe_core.endpoint import Transport
from cursorpipe_core.errors import ToolsUnavailableError

logger = logging.getLogger(__name__)

#: The file in the state directory that says which way worked for which build.
CACHE = "tool-channels.json"
#: Builds that are remembered.
MAX_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Channel:
    """One way: how the agent connects, and whether Cursor's list of approvals is written before.

    ``by_file``: the server is not named to the session, but stands in the `mcp.json` of its directory.
    """

    transport: Transport
    approve: bool = False
    by_file: bool = False

    def __str__(self) -> str:
        more = ", by file" if self.by_file else ", approved" if self.approve else ""
        return f"{self.transport}{more}"


class Channels:
    """Which way works for the agent's build: tried in order, until one is seen to work.

    A way is *proven* once an agent has asked for the tools of a session by it. What is proven is kept on
    disk, by the build's version.
    """

    def __init__(self, *, may_approve: bool, may_write: bool) -> None:
        """List the ways.

        ``may_approve``: the agents' configuration directories are the server's own, and ``may_write``:
        so are the directories they work in.
        """
        self._ways = [
            Channel(transport, approve)
            for transport in Transport
            for approve in (False, True)
            if may_approve or not approve
        ]
        if may_approve and may_write:
            self._ways.append(Channel(Transport.HTTP, by_file=True))
        self._at = 0
        self._cache: Path | None = None
        self._version = ""
        self.proven = False

    @property
    def current(self) -> Channel:
        """The way to take now; raises ToolsUnavailableError once all have failed."""
        if self._at == len(self._ways):
            raise ToolsUnavailableError("; ".join(str(way) for way in self._ways))
        return self._ways[self._at]

    @property
    def exhausted(self) -> bool:
        """Whether no way is left."""
        return self._at == len(self._ways)

    def ways(self) -> Sequence[Channel]:
        """Return the ways that are left, the current one first."""
        return self._ways[self._at :]

    def load(self, state: Path, version: str) -> None:
        """Begin with what was proven for this version before. Blocks."""
        self._cache, self._version = state / CACHE, version
        known = _read(self._cache).get(version)
        for at, way in enumerate(self._ways):
            if str(way) == known:
                self._at, self.proven = at, True

    def prove(self, channel: Channel) -> None:
        """Take note that a way works."""
        if self.proven and not self.exhausted and channel == self.current:
            return
        self._at, self.proven = self._ways.index(channel), True
        logger.info("agents reach their callers' tools by %s", channel)
        if self._cache is not None:
            known = _read(self._cache)
            known.pop(self._version, None)  # what is proven last is the last to be forgotten
            known[self._version] = str(channel)
            try:
                self._cache.write_text(
                    json.dumps(dict(list(known.items())[-MAX_REMEMBERED:])), encoding="utf-8"
                )
            except OSError as exc:
                logger.warning("what works for this build is not remembered: %s", exc.strerror)

    def fail(self, channel: Channel) -> None:
        """Take note that a way does not work; the next is taken from now on."""
        if not self.exhausted and channel == self.current:
            logger.warning("the agent does not take its caller's tools by %s", channel)
            self._at += 1
            self.proven = False


def _read(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
