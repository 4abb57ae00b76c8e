"""The rooms of one process's sessions that have their callers' tools."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from functools import partial

from cursorpipe_core.command import run_command
from cursorpipe_core.habitat import Habitat
from cursorpipe_core.offers import Offer
from cursorpipe_core.tool_room import ToolRoom, furnish

#: Seconds the CLI may take to approve a server.
ENABLE_TIMEOUT_S = 10.0


class ToolRooms:
    """Makes a room for each session, and takes its directory away with it."""

    def __init__(self, place: Habitat, command: Sequence[str]) -> None:
        self._place = place
        self._command = tuple(command)
        self._numbers = itertools.count(1)
        #: The directories of sessions that have one of their own.
        self._directories: dict[str, str] = {}

    async def make(self, offer: Offer) -> ToolRoom:
        """Make a room; raises AgentCrashError where none can be had, and what `mcp enable` fails with."""
        room = await asyncio.to_thread(furnish, self._place, next(self._numbers), offer)
        if offer.by_file:
            await run_command(
                (*self._command, "mcp", "enable", offer.address.name),
                env=self._place.env,
                cwd=room.cwd,
                timeout=ENABLE_TIMEOUT_S,
                what="approval of a server",
            )
        return room

    def move_in(self, session_id: str, room: ToolRoom) -> None:
        """Take note of the session that a room was made for."""
        if room.cwd != self._place.cwd:
            self._directories[session_id] = room.cwd

    def move_out(self, session_id: str) -> None:
        """Remove the directory of a session that is closed, if it had one."""
        if (directory := self._directories.pop(session_id, None)) is not None:
            remove = partial(shutil.rmtree, directory, ignore_errors=True)
            asyncio.get_running_loop().run_in_executor(None, remove)
