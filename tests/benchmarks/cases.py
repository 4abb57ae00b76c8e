"""What a case of a scenario is, and the figures that come of one round of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.benchmarks.jobs import Job, Outcome, quantile
from tests.benchmarks.servers import Setup
from tests.benchmarks.sides import Side

Figures = dict[str, float]

#: Sides that a case can be measured on.
EVERYWHERE = frozenset({"ours", "floor", "pipe", "canned", "url"})
WITH_AGENT = EVERYWHERE - {"canned"}
OVER_HTTP = WITH_AGENT - {"pipe"}
WITH_PROCESS = frozenset({"ours", "floor"})
OURS = frozenset({"ours"})


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to reach: a bound on the value, or with ``of`` on its ratio to that side's."""

    most: float | None = None
    least: float | None = None
    of: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure, round by round: a job and the figures to show of it, or a way of its own.

    ``count`` of the job is scaled down for a quick look; ``sides`` says where it makes sense.
    """

    label: str
    job: Job
    show: Sequence[str]
    goals: Mapping[str, Goal] = field(default_factory=dict)
    sides: frozenset[str] = EVERYWHERE
    measure: Callable[[Side, Job], Figures] | None = None
    #: Rounds at most: what is slow to measure, or does not vary, needs fewer.
    rounds: int = 100

    def run(self, side: Side, scale: float) -> Figures:
        """Measure one round."""
        job = self.job
        job = replace(job, count=max(job.concurrency, 2, round(job.count * scale)))
        figures = self.measure(side, job) if self.measure else figures_of(side.run(job))
        return {name: figures[name] for name in (*self.show, "failed", "load busy %") if name in figures}


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that share a setup, and so the processes that are started for it."""

    cases: Sequence[Case]
    setup: Setup = field(default_factory=lambda: Setup({}, {}))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Cases under one letter."""

    letter: str
    title: str
    groups: Sequence[Group]


def figures_of(outcome: Outcome) -> Figures:
    """Return everything that can be said of an outcome; a case shows some of it."""
    found = outcome.all
    requests, pieces = max(1, len(found.took_s)), max(1, found.pieces)
    return {
        "p50 ms": quantile(found.took_s, 0.5) * 1e3,
        "p99 ms": quantile(found.took_s, 0.99) * 1e3,
        "p50 µs": quantile(found.took_s, 0.5) * 1e6,
        "p99 µs": quantile(found.took_s, 0.99) * 1e6,
        "req/s": requests / outcome.wall_s,
        "CPU µs/req": outcome.cpu_s / requests * 1e6,
        "CPU ms/req": outcome.cpu_s / requests * 1e3,
        "first p50 ms": quantile(found.first_s, 0.5) * 1e3,
        "first p99 ms": quantile(found.first_s, 0.99) * 1e3,
        "kchunks/s": pieces / outcome.wall_s / 1e3,
        "CPU µs/chunk": outcome.cpu_s / pieces * 1e6,
        "late p50 ms": quantile(outcome.late_s, 0.5) * 1e3,
        "late p99 ms": quantile(outcome.late_s, 0.99) * 1e3,
        "CPU %": outcome.cpu_s / outcome.wall_s * 100,
        "RSS MB": outcome.rss_mb,
        "failed": float(found.failed),
        "load busy %": outcome.load_cpu_s / outcome.wall_s * 100,
    }
