"""What the agent side counts, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from cursorpipe_core import (
    AUTO_MODEL,
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AuthenticationError,
    Backend,
    History,
    NetworkError,
    SessionError,
    SlotState,
    Snapshot,
    ToolsSnapshot,
    ToolWay,
    UnknownModelError,
    WorkerSnapshot,
)
from cursorpipe_server.errors import code_of
from cursorpipe_server.families import Labels, counter, counters, gauge, gauges, histograms

#: Why workers end, for the most part: these are told before they happen, as nothing grows from nothing.
_ENDS = (
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AuthenticationError,
    NetworkError,
    SessionError,
    UnknownModelError,
)


def agent_metrics(snapshot: Snapshot, model_label: Callable[[str], str]) -> Iterator[Metric]:
    """Yield what a snapshot tells; ``model_label`` bounds the names of models."""
    yield gauge("cursorpipe_ready", "1 if a request made now would be served.", snapshot.ready)
    yield from _backends(snapshot)
    yield from _workers(snapshot, model_label)
    yield from _sessions(snapshot)
    yield from _tools(snapshot.tools)


def _backends(snapshot: Snapshot) -> Iterator[Metric]:
    acp, subprocess, history = (Backend.ACP.value,), (Backend.SUBPROCESS.value,), snapshot.history
    label = ["backend"]
    yield gauges(
        "cursorpipe_queue_length",
        "Requests that wait for a place.",
        label,
        {acp: snapshot.waiting_acp, subprocess: snapshot.waiting - snapshot.waiting_acp},
    )
    yield histograms(
        "cursorpipe_queue_wait_seconds",
        "Time in the queue of requests that had to wait and got a place.",
        label,
        {acp: history.acp.waits, subprocess: history.subprocess.waits},
    )
    yield gauge(
        "cursorpipe_subprocesses", "Agents that run for one request each, now.", snapshot.subprocesses
    )
    yield counters(
        "cursorpipe_agent_starts_total",
        "Agent processes started to serve: workers (acp), and one a request (subprocess).",
        label,
        {acp: history.acp.started, subprocess: history.subprocess.started},
    )
    yield counters(
        "cursorpipe_turns_cancelled_total",
        "Turns stopped before the agent had ended them: the client left, a time ran out, a limit was met.",
        label,
        {acp: history.acp.cancelled, subprocess: history.subprocess.cancelled},
    )
    yield counter(
        "cursorpipe_permissions_refused_total",
        "Permission requests of agents that were refused.",
        history.permissions_refused,
    )


def _workers(snapshot: Snapshot, model_label: Callable[[str], str]) -> Iterator[Metric]:
    def label(worker: WorkerSnapshot) -> Labels:
        return str(worker.slot), AUTO_MODEL if worker.model is None else model_label(worker.model)

    states = Counter(worker.state for worker in snapshot.workers)
    # Several models may share a label: their workers are told together.
    in_flight: Counter[Labels] = Counter()
    memory: Counter[Labels] = Counter()
    for worker in snapshot.workers:
        in_flight[label(worker)] += worker.in_flight
        if worker.rss_bytes:
            memory[label(worker)] += worker.rss_bytes
    yield gauges(
        "cursorpipe_workers",
        "Workers by where they are in their lives.",
        ["state"],
        {(state.value,): states[state] for state in SlotState},
    )
    yield gauge(
        "cursorpipe_workers_draining", "Replaced workers that finish what they have.", snapshot.draining
    )
    of_worker = ["worker", "model"]
    yield gauges("cursorpipe_worker_turns", "Turns that a worker has open.", of_worker, in_flight)
    yield gauges(
        "cursorpipe_worker_resident_memory_bytes",
        "Resident memory of a worker with its children, looked at every 5 s.",
        of_worker,
        memory,
    )
    yield _restarts(snapshot.history)
    yield counter(
        "cursorpipe_worker_recycles_total",
        "Workers replaced because of their sessions, age or memory.",
        snapshot.history.recycled,
    )


def _restarts(history: History) -> Metric:
    reasons: Counter[Labels] = Counter({(code_of(end),): 0 for end in _ENDS})
    for end, count in history.restarts.items():
        reasons[code_of(end),] += count
    return counters(
        "cursorpipe_worker_restarts_total",
        "Workers started again, by the code of the error that ended them.",
        ["reason"],
        reasons,
    )


def _sessions(snapshot: Snapshot) -> Iterator[Metric]:
    history = snapshot.history
    yield gauge(
        "cursorpipe_sessions_ready",
        "Unused sessions in stock.",
        sum(worker.sessions_ready for worker in snapshot.workers),
    )
    yield counter("cursorpipe_sessions_made_total", "Sessions opened.", history.sessions_made)
    yield counter(
        "cursorpipe_sessions_found_total", "Turns that found a session in stock.", history.sessions_found
    )
    yield counter(
        "cursorpipe_sessions_missed_total",
        "Turns that found none and waited for their own.",
        history.sessions_missed,
    )


def _tools(tools: ToolsSnapshot) -> Iterator[Metric]:
    yield counter("cursorpipe_tool_calls_total", "Calls of clients' tools by agents.", tools.calls)
    yield counter("cursorpipe_tool_groups_total", "Answers that ended with calls.", tools.groups)
    yield counters(
        "cursorpipe_tool_turns_total",
        "Answers of turns with tools, by how they came to be.",
        ["way"],
        {
            (ToolWay.NEW.value,): tools.new,
            (ToolWay.RESUMED.value,): tools.resumed,
            (ToolWay.REBUILT.value,): tools.rebuilt,
        },
    )
    yield gauge("cursorpipe_tool_turns_parked", "Turns that wait for the results of calls.", tools.parked)
    yield counters(
        "cursorpipe_tool_turns_lost_total",
        "Parked turns that were ended: their results came too late, or their agent died.",
        ["cause"],
        {("expired",): tools.expired, ("died",): tools.died},
    )
    yield counter(
        "cursorpipe_tool_requests_refused_total",
        "Requests refused because too many turns were parked.",
        tools.refused,
    )
