"""States, times and sizes in words."""

from __future__ import annotations

from cursorpipe_core import SlotState, Strategy, WorkerSnapshot
from cursorpipe_core import ToolsSnapshot as Tools

_STRATEGIES = {
    Strategy.AUTO: "warm agents, and a process of its own for a pinned model",
    Strategy.ACP: "warm agents only",
    Strategy.SUBPROCESS: "a process of its own for each request",
}


def strategy(value: Strategy) -> str:
    """Return what a strategy means."""
    return f"{value.value}: {_STRATEGIES[value]}"


def tools(state: Tools) -> str:
    """Return how agents come to their callers' tools."""
    if state.channel is None:
        return "none"
    if state.channel == "prompt":
        return "described in the prompt"
    return f"MCP over {state.channel}{'' if state.proven else ', not proven yet'}"


def worker(snapshot: WorkerSnapshot) -> str:
    """Return what a worker does, beside the reason for its state."""
    match snapshot.state:
        case SlotState.READY:
            doing = count(snapshot.in_flight, "request") if snapshot.in_flight else "idle"
            return f"{doing}, {count(snapshot.sessions_ready, 'session')} in stock"
        case SlotState.STARTING:
            return "starts its agent"
        case SlotState.BACKOFF:
            return "its agent has ended; another is started shortly"
        case SlotState.TRIPPED:
            return "given up for now; tried again every half minute"
        case SlotState.STOPPED:
            return "has no agent"


def count(number: int, thing: str, things: str | None = None) -> str:
    """Return a number of things, called ``things`` where an `s` does not do."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def duration(seconds: float) -> str:
    """Return a short time as people say it: `4.5 ms`, `1.2 s`, `12 s`, `3 min`."""
    if seconds < 0.995:
        return f"{seconds * 1000:.2g} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 119.5 else span(seconds)


def span(seconds: float) -> str:
    """Return a long time in its two largest units."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def size(amount: int) -> str:
    """Return an amount of memory."""
    return f"{amount / 2**20:,.0f} MiB"
