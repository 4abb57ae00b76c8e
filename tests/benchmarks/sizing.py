"""How long requests wait for an agent, simulated: `python -m tests.benchmarks.sizing`."""

from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from cursorpipe_core import SupervisorSettings

#: Seconds from a prompt to the first text of a warm agent: most of what people report, and the outlier.
FIRST_TEXT_S = (1.5, 3.4)
OUTLIER_S, OUTLIER_SHARE = 14.0, 0.01
#: Mean seconds of the text after that. Assumed: nobody has published any.
TEXT_S = 15.0

SLOTS = (8, 64, 512)
BUSY = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1)


@dataclass(frozen=True, slots=True)
class Waits:
    """What became of the requests: seconds until a turn began, and the shares that had none."""

    median_s: float
    p95_s: float
    p99_s: float
    refused: float
    gave_up: float


def turn_s(dice: random.Random) -> float:
    """Return how long a turn keeps its slot."""
    first = OUTLIER_S if dice.random() < OUTLIER_SHARE else dice.uniform(*FIRST_TEXT_S)
    return first + dice.expovariate(1 / TEXT_S)


def mean_turn_s() -> float:
    """Return the mean of `turn_s`."""
    return OUTLIER_SHARE * OUTLIER_S + (1 - OUTLIER_SHARE) * sum(FIRST_TEXT_S) / 2 + TEXT_S


def simulate(*, slots: int, busy: float, requests: int, seed: int) -> Waits:
    """Have requests arrive at random, as many as keep that share of the slots busy.

    They wait in arrival order as in the server's line, which takes so many and lets each wait so long.
    """
    settings = SupervisorSettings()
    dice = random.Random(seed)
    free_at = [0.0] * slots
    leaves: deque[float] = deque()  # when those that wait leave the line, for a turn or without one
    waits: list[float] = []
    now, refused, gave_up = 0.0, 0, 0
    for _ in range(requests):
        now += dice.expovariate(busy * slots / mean_turn_s())
        while leaves and leaves[0] <= now:
            leaves.popleft()
        begin = max(now, free_at[0])
        if begin > now:
            if len(leaves) >= settings.max_queue:
                refused += 1
                continue
            leaves.append(min(begin, now + settings.queue_timeout_s))
        if begin - now > settings.queue_timeout_s:
            gave_up += 1
        else:
            heapq.heapreplace(free_at, begin + turn_s(dice))
            waits.append(begin - now)
    # What came while the slots were still filling is not what a busy day looks like.
    cuts = quantiles(waits[len(waits) // 10 :], n=100)
    return Waits(cuts[49], cuts[94], cuts[98], refused / requests, gave_up / requests)


def table(requests: int, seed: int) -> str:
    """Return the curve as the rows of a table."""
    rows = [
        "| turns at once | busy | median wait | 95 % | 99 % | line full | waited 60 s |",
        "|---|---|---|---|---|---|---|",
    ]
    for slots in SLOTS:
        for busy in BUSY:
            found = simulate(slots=slots, busy=busy, requests=requests, seed=seed)
            rows.append(
                f"| {slots} | {busy:.0%} | {found.median_s:.1f} s | {found.p95_s:.1f} s | {found.p99_s:.1f} s"
                f" | {found.refused:.1%} | {found.gave_up:.1%} |"
            )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sizing", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000, help="requests for each row (50000)")
    parser.add_argument("--seed", type=int, default=1, help="what the times are drawn from (1)")
    options = parser.parse_args(arguments)
    print(table(options.requests, options.seed))


if __name__ == "__main__":
    main()
