"""The wait for the end of what is open, beside what can go wrong with it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from cursorpipe_server.serve import _drain
from cursorpipe_server.site import Site


class BrokenSite:
    owed = 0

    async def close(self) -> None:
        raise RuntimeError("no site")


async def test_a_failure_to_close_the_port_is_not_taken_for_its_end() -> None:
    with pytest.raises(RuntimeError, match="no site"):
        await _drain(cast("Site", BrokenSite()), asyncio.Event(), 5)
