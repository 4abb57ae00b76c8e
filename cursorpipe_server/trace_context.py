"""The trace that a request is part of, as its caller says it (W3C Trace Context, level 1)."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import NamedTuple

TRACEPARENT = "traceparent"

#: Version, id of the trace, id of the caller's span, flags. Later versions may have more behind it.
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Where a request belongs: ids in hexadecimal, and whether its caller keeps a record of the trace."""

    trace_id: str
    span_id: str
    sampled: bool


#: The trace of the request that the running code serves.
TRACE: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def read_traceparent(header: str) -> TraceContext | None:
    """Return what a `traceparent` header says; None for one that is none (section 3.2)."""
    found = _FORM.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not (int(trace_id, 16) and int(span_id, 16)):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
