"""What is measured of requests, as plain numbers; `metrics` tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cursorpipe_core import AUTO_MODEL, Backend, Durations
from cursorpipe_server.choices import Choices
from cursorpipe_server.model_labels import ModelLabels
from cursorpipe_server.outcomes import NO_MODEL

#: The bounds of the buckets in seconds. Agents take from a third of a second to minutes; what is below that
#: is the stand-in, a limit met at once, or a failure.
FIRST_TEXT_BOUNDS_S = (0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 120)
TOTAL_BOUNDS_S = (0.01, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)

#: The route of a request that goes to none.
NO_ROUTE = "other"


class Kind(NamedTuple):
    """What requests are told apart by: those for an answer by all of it, others have no model.

    ``backend`` is the one that a request was led to, empty if it was led to none.
    """

    route: str
    model: str
    backend: str
    outcome: str


@dataclass(slots=True)
class Tally:
    """The requests of one kind.

    ``pieces`` are those in which agents sent their text; tokens are reported by the agent or estimated.
    """

    requests: int = 0
    sent_bytes: int = 0
    pieces: int = 0
    reported_in: int = 0
    reported_out: int = 0
    estimated_in: int = 0
    estimated_out: int = 0
    first_text: Durations = field(default_factory=lambda: Durations(FIRST_TEXT_BOUNDS_S))
    total: Durations = field(default_factory=lambda: Durations(TOTAL_BOUNDS_S))

    def add(self, choices: Choices, started: float, took_s: float) -> None:
        """Count what agents have answered to one request."""
        self.total.add(took_s)
        if choices.first_text_at is not None:
            self.first_text.add(choices.first_text_at - started)
            self.pieces += choices.pieces
        usage = choices.usage
        if usage is None:
            return
        if usage.estimated:
            self.estimated_in += usage.input_tokens
            self.estimated_out += usage.output_tokens
        else:
            self.reported_in += usage.input_tokens
            self.reported_out += usage.output_tokens


class Measures:
    """The requests of this server's life, by their kinds.

    ``known_model`` returns the model that a name stands for if it is in the list of models, else None.
    """

    def __init__(self, known_model: Callable[[str], str | None]) -> None:
        self.models = ModelLabels()
        self._known_model = known_model
        self._tallies: dict[tuple[str, str, str, str], Tally] = {}

    @property
    def tallies(self) -> Mapping[Kind, Tally]:
        """Every kind of request that there was."""
        return {Kind(*kind): tally for kind, tally in self._tallies.items()}

    def count(self, route: str, outcome: str, sent_bytes: int) -> None:
        """Count a request that asked no agent."""
        self._tally(route, "", "", outcome, sent_bytes)

    def count_answer(
        self,
        route: str,
        outcome: str,
        sent_bytes: int,
        asked_for: str,
        choices: Choices,
        *,
        started: float,
        took_s: float,
    ) -> None:
        """Count a request for an answer; ``asked_for`` is the model of one that was led to no backend."""
        course = choices.course
        if choices.backend is None:
            model, backend = self.label_of(asked_for), ""
        else:
            name, backend = course.model or AUTO_MODEL, choices.backend.value
            # A worker has started with its model; a process may be ended before it has looked at it.
            warm = choices.backend is Backend.ACP and course.prompted_s is not None
            taken = (warm and outcome != NO_MODEL) or choices.began is not None
            model = self.models.real(name) if taken else self.label_of(name)
        self._tally(route, model, backend, outcome, sent_bytes).add(choices, started, took_s)

    def label_of(self, name: str) -> str:
        """Return the label of a model of which it is not known whether it exists."""
        if name == AUTO_MODEL:
            return self.models.real(name)
        known = self._known_model(name)
        return self.models.claimed(name) if known is None else self.models.real(known)

    def _tally(self, route: str, model: str, backend: str, outcome: str, sent_bytes: int) -> Tally:
        kind = route, model, backend, outcome
        tally = self._tallies.get(kind)
        if tally is None:
            tally = self._tallies[kind] = Tally()
        tally.requests += 1
        tally.sent_bytes += sent_bytes
        return tally
