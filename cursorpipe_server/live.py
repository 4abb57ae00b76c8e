"""The settings as they are now."""

from __future__ import annotations

from cursorpipe_server.config import Settings


class LiveSettings:
    """The settings that hold now, and who may use the server by them.

    Whoever serves a request asks here each time: nobody else keeps what a reload may change.
    """

    def __init__(self, settings: Settings) -> None:
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Let other settings hold from now on; raises ValueError, with nothing changed."""
        server = settings.server
        tokens, origins, hosts = server.tokens(), server.origins(), server.hosts()
        self.settings = settings
        self.tokens = tokens
        self.origins = origins
        self.hosts = hosts

    @property
    def max_body(self) -> int:
        """The largest body of a request, in bytes."""
        return self.settings.server.max_body_mb * 1024 * 1024
