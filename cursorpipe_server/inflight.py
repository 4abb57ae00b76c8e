"""The requests that are being served."""

from __future__ import annotations

from types import TracebackType


class InFlight:
    """Counts requests, each of which enters it while it is served.

    ``closing`` is set once the server takes no new connections, ``cut`` once it waits no longer for the end
    of those that there are.
    """

    def __init__(self) -> None:
        self.closing = False
        self.cut = False
        self._count = 0

    @property
    def count(self) -> int:
        """How many requests are being served."""
        return self._count

    @property
    def others(self) -> int:
        """How many are being served beside the one that asks."""
        return max(0, self._count - 1)

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._count -= 1
