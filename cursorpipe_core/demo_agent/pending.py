"""A request to an MCP server that waits for its reply."""

from __future__ import annotations

import threading
import time
from typing import Any

Json = dict[str, Any]


class Pending:
    """What becomes of a request: ``reply`` is the server's, ``lost`` says why there will be none.

    ``settled`` is set when either is known, and when nobody waits any more.
    """

    def __init__(self, request_id: int) -> None:
        self.id = request_id
        self.settled = threading.Event()
        self.reply: Json | None = None
        self.lost = ""
        self.began = self._heard = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the server can say no more about it."""
        return self.reply is not None or bool(self.lost)

    def hear(self) -> None:
        """Note that the server is still at it."""
        self._heard = time.monotonic()

    def end(self, reply: Json | None, lost: str = "") -> None:
        """Note what became of it."""
        self.reply, self.lost = reply, lost
        self.settled.set()

    def wait(self, limit: float | None = None, idle_limit: float | None = None) -> bool:
        """Wait until it is settled; False: it took too long, in all or without progress."""
        while not self.settled.is_set():
            ends = [
                since + seconds
                for since, seconds in ((self.began, limit), (self._heard, idle_limit))
                if seconds is not None
            ]
            left = min(ends) - time.monotonic() if ends else None
            if left is not None and left <= 0:
                return False
            self.settled.wait(left)
        return True
