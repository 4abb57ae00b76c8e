"""The rooms of one process's sessions that have their callers' tools."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Awaitable, Callable, Sequence
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

    async def open(self, offer: Offer, open_session: Callable[[ToolRoom], Awaitable[str]]) -> str:
        """Open a session in a room of its own, by ``open_session``; returns its id.

        Raises AgentCrashError where no room can be had, and what `mcp enable` or the session fails with.
        """
        room = await asyncio.to_thread(furnish, self._place, next(self._numbers), offer)
        try:
            if offer.by_file:
                await self._enable(offer, room)
            session_id = await open_session(room)
        except BaseException:
            self._remove(room.cwd)
            raise
        self._directories[session_id] = room.cwd
        return session_id

    def leave(self, session_id: str) -> None:
        """Remove the directory of a session that is closed, if it had one."""
        if (directory := self._directories.pop(session_id, None)) is not None:
            self._remove(directory)

    async def _enable(self, offer: Offer, room: ToolRoom) -> None:
        await run_command(
            (*self._command, "mcp", "enable", offer.address.name),
            env=self._place.env,
            cwd=room.cwd,
            timeout=ENABLE_TIMEOUT_S,
            what="approval of a server",
        )

    def _remove(self, directory: str) -> None:
        # Never a workspace, which is the user's.
        if directory.startswith(f"{self._place.own}/tools-"):
            remove = partial(shutil.rmtree, directory, ignore_errors=True)
            asyncio.get_running_loop().run_in_executor(None, remove)
