"""The numbers of the server and of the agent side, as Prometheus reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cursorpipe_core import Durations, DurationsSnapshot, __version__
from cursorpipe_server.agent_metrics import agent_metrics
from cursorpipe_server.errors import CODES, FAILURES
from cursorpipe_server.families import Labels, counters, gauge, histograms
from cursorpipe_server.keys import IN_FLIGHT, MEASURES
from cursorpipe_server.measures import Kind, Tally
from cursorpipe_server.ops import current_snapshot
from cursorpipe_server.outcomes import CLIENT_LEFT, OK
from cursorpipe_server.routes import ANSWER_ROUTES

_Tallies = Mapping[Kind, Tally]


class AppCollector(Collector):
    """Collects what an application and its agents have counted, when it is asked."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as of now."""
        measures = self._app[MEASURES]
        yield InfoMetricFamily("cursorpipe_build", "The program.", value={"version": __version__})
        yield gauge(
            "cursorpipe_requests_in_flight",
            "Requests that are being served, but this one.",
            self._app[IN_FLIGHT].others,
        )
        yield from _requests(measures.tallies)
        yield from _answers(measures.tallies)
        yield from agent_metrics(current_snapshot(self._app), measures.label_of)


def exposition(app: web.Application, *, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that ``accept`` asks for, and the format's content type."""
    registry = CollectorRegistry()
    registry.register(AppCollector(app))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _requests(tallies: _Tallies) -> Iterator[Metric]:
    yield counters(
        "cursorpipe_requests_total",
        "Requests that are over. Outcome: ok, client_left or the code of the error.",
        Kind._fields,
        {kind: tally.requests for kind, tally in tallies.items()},
    )
    # Each outcome from the start: of a series that is born with its first failure, nothing has grown.
    answers = Counter(dict.fromkeys((OK, CLIENT_LEFT, *CODES), 0))
    for kind, tally in tallies.items():
        if kind.route in ANSWER_ROUTES:
            answers[kind.outcome] += tally.requests
    yield counters(
        "cursorpipe_answers_total",
        "Requests for an answer that are over; failed: and by no mistake of their clients.",
        ["outcome", "failed"],
        {(code, "true" if code in FAILURES else "false"): count for code, count in answers.items()},
    )
    sent: Counter[Labels] = Counter()
    for kind, tally in tallies.items():
        sent[kind.route,] += tally.sent_bytes
    yield counters("cursorpipe_response_bytes_total", "Bytes sent, headers included.", ["route"], sent)


def _answers(tallies: _Tallies) -> Iterator[Metric]:
    labels = ["route", "backend"]
    yield histograms(
        "cursorpipe_first_text_seconds",
        "Time from a request to the first text of its answer.",
        labels,
        _by_backend(tallies, lambda tally: tally.first_text),
    )
    yield histograms(
        "cursorpipe_answer_seconds",
        "Time from a request to the end of an answer that ended well.",
        labels,
        _by_backend(
            {kind: tally for kind, tally in tallies.items() if kind.outcome == OK}, lambda tally: tally.total
        ),
    )
    pieces: Counter[Labels] = Counter()
    tokens: Counter[Labels] = Counter()
    for kind, tally in tallies.items():
        if not kind.backend:
            continue
        pieces[kind.backend,] += tally.pieces
        tokens[kind.model, "input", "reported"] += tally.reported_in
        tokens[kind.model, "output", "reported"] += tally.reported_out
        tokens[kind.model, "input", "estimated"] += tally.estimated_in
        tokens[kind.model, "output", "estimated"] += tally.estimated_out
    yield counters(
        "cursorpipe_answer_chunks_total", "Pieces in which agents sent their text.", ["backend"], pieces
    )
    yield counters(
        "cursorpipe_tokens_total",
        "Tokens of whole answers, as the agent reported them or estimated from the text.",
        ["model", "direction", "source"],
        {kind: count for kind, count in tokens.items() if count},
    )


def _by_backend(
    tallies: _Tallies, durations: Callable[[Tally], Durations]
) -> dict[Labels, DurationsSnapshot]:
    """Return the durations of what agents have answered, over all models and outcomes."""
    found: dict[Labels, DurationsSnapshot] = {}
    for kind, tally in tallies.items():
        if kind.backend:
            labels, more = (kind.route, kind.backend), durations(tally).snapshot()
            found[labels] = found[labels] + more if labels in found else more
    return found
