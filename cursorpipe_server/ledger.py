"""Who is told of a request that is over: the metrics, the status, the log, a collector of traces."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from cursorpipe_server.access import log_access
from cursorpipe_server.errors import FAILURES
from cursorpipe_server.keys import CHOICES, CODE, MODEL, STARTED, WORDS
from cursorpipe_server.log import REQUEST_ID
from cursorpipe_server.measures import Measures
from cursorpipe_server.outcomes import CLIENT_LEFT, OK
from cursorpipe_server.recent import Recent
from cursorpipe_server.routes import OWN_ROUTES, template_of
from cursorpipe_server.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Ledger:
    """Tells each of them what a request has come to; ``tracing`` is None if nobody collects."""

    measures: Measures
    recent: Recent = field(default_factory=Recent)
    tracing: Tracing | None = None

    def enter(self, request: web.Request, status: int | None, took_s: float) -> None:
        """Tell of a request that is over; ``status`` is None if its client left before it was answered."""
        code, route = request[CODE], template_of(request)
        outcome = f"http_{status}" if code is OK and (status is None or status >= 400) else code
        self._measure(request, route, outcome, took_s)
        if route not in OWN_ROUTES:
            self._keep(request, route, outcome, status, took_s)
        log_access(request, status, outcome, took_s)
        if self.tracing is not None:
            self.tracing.tell(request, status, outcome, took_s)

    def _measure(self, request: web.Request, route: str, outcome: str, took_s: float) -> None:
        model = request.get(MODEL)
        # Of the whole answer, its head and what frames its chunks included.
        sent_bytes = request.writer.output_size
        if model is None:
            self.measures.count(route, outcome, sent_bytes)
        else:
            self.measures.count_answer(
                route,
                outcome,
                sent_bytes,
                model,
                request[CHOICES],
                started=request[STARTED],
                took_s=took_s,
            )

    def _keep(
        self, request: web.Request, route: str, outcome: str, status: int | None, took_s: float
    ) -> None:
        started = request[STARTED]
        first_text_at = request[CHOICES].first_text_at if CHOICES in request else None
        first_text_s = None if first_text_at is None else first_text_at - started
        failed = outcome in FAILURES
        self.recent.count(started + took_s, failed=failed, first_text_s=first_text_s)
        if outcome not in {OK, CLIENT_LEFT}:
            words = request.get(WORDS, f"The answer had the status {status}.")
            self.recent.note_failure(route, outcome, words, REQUEST_ID.get())
