"""Waiting, bounded, for what tells no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Seconds after which a condition is given up.
PATIENCE_S = 20.0
#: Seconds between two looks.
_INTERVAL_S = 0.01


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Return once ``condition`` holds; raises TimeoutError if it does not within the patience."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 — there is nothing to wait on, which is why this exists
            await asyncio.sleep(_INTERVAL_S)
