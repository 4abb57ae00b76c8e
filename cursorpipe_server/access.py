"""Logs a request that is over."""

from __future__ import annotations

import logging

from aiohttp import web

from cursorpipe_server.access_line import AccessLine
from cursorpipe_server.keys import CHOICES, CLIENT, MODEL, STARTED

logger = logging.getLogger("cursorpipe_server.access")


def log_access(request: web.Request, status: int | None, outcome: str, took_s: float) -> None:
    """Log the line of a request that is over."""
    if not logger.isEnabledFor(logging.INFO):
        return
    choices = request.get(CHOICES)
    usage = choices.usage if choices is not None else None
    began = choices.began if choices is not None else None
    first_at = choices.first_text_at if choices is not None else None
    line = AccessLine(
        method=request.method,
        # As it was sent: decoded, a line break in it would forge lines of the log.
        path=request.rel_url.raw_path,
        status=status,
        took_s=took_s,
        client=request[CLIENT],
        model=request.get(MODEL),
        backend=choices.backend if choices is not None else None,
        first_s=None if first_at is None else first_at - request[STARTED],
        tokens=None if usage is None else (usage.input_tokens, usage.output_tokens),
        estimated=usage is not None and usage.estimated,
        tools=began.tools if began is not None else None,
        outcome=outcome,
    )
    # Not by `info`, which looks for the line of code that called it.
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, line, (), None))
