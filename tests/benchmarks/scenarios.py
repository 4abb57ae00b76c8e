"""The scenarios, by letter."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.benchmarks.cases import (
    OURS,
    OVER_HTTP,
    WITH_AGENT,
    WITH_PROCESS,
    Case,
    Figures,
    Goal,
    Group,
    Scenario,
    figures_of,
)
from tests.benchmarks.jobs import Job, ask, quantile
from tests.benchmarks.servers import Setup
from tests.benchmarks.sides import HttpSide, Side
from tests.benchmarks.tool_trips import STAND_IN, measure_trips

PINNED = "bench-1"
#: Whether streams that began together go on together.
_STEPS = ("in step", "apart")


def _http(side: Side) -> HttpSide:
    assert isinstance(side, HttpSide)
    return side


def _short(concurrency: int, count: int, cpu: float, p50: float | None = None) -> Case:
    goals = {"CPU µs/req": Goal(most=cpu, of="floor")}
    if p50:
        goals["p50 µs"] = Goal(most=p50, of="floor")
    show = ["p50 µs", "p99 µs", "req/s", "CPU µs/req"]
    return Case(f"c={concurrency}", Job([ask()], count, concurrency), show, goals)


def _burst(concurrency: int, count: int) -> Case:
    show = ["first p50 ms", "first p99 ms", "kchunks/s", "CPU µs/chunk"]
    goals = {"kchunks/s": Goal(least=0.7, of="floor"), "CPU µs/chunk": Goal(most=1.7, of="floor")}
    return Case(f"c={concurrency}", Job([ask(chunks=200, stream=True)], count, concurrency), show, goals)


def _pinned(concurrency: int, count: int) -> Case:
    job = Job([ask(model=PINNED)], count, concurrency)
    goals = {"CPU ms/req": Goal(most=0.6)}
    if concurrency == 1:
        goals["p50 ms"] = Goal(most=1.6, of="pipe")
    return Case(f"c={concurrency}", job, ["p50 ms", "p99 ms", "req/s", "CPU ms/req"], goals, WITH_AGENT)


def _many_streams(streams: int, *, apart: bool = False) -> Case:
    job = Job([ask(chunks=80, pace_us=50_000, apart=apart, stream=True)], streams, streams)
    # In step is how the goal was found; apart, the wake-ups alone cost the floor more than that.
    goals = {"CPU %": Goal(most=25), "RSS MB": Goal(most=80)} if streams == 200 and not apart else {}
    show = ["CPU %", "CPU µs/chunk", "RSS MB", "late p50 ms", "late p99 ms"]
    label = f"{streams} × 20/s, {_STEPS[apart]}"
    return Case(label, job, show, goals, WITH_AGENT, rounds=4 if streams == 200 else 2)


def _paced(*, apart: bool) -> Case:
    job = Job([ask(chunks=300, pace_us=10_000, apart=apart, stream=True)], 32, 32)
    show = ["late p50 ms", "late p99 ms", "CPU µs/chunk", "CPU %"]
    # In step, how late a piece is depends on how many others its stream happened to begin with.
    goals = {"late p50 ms": Goal(most=1.3, of="floor")} if apart else {}
    return Case(f"32 × 100/s, {_STEPS[apart]}", job, show, goals, WITH_AGENT)


def _long_prompt(size: int, count: int) -> Case:
    goals = {"p50 ms": Goal(most=1.5, of="floor")} if size >= 10_000_000 else {}
    show = ["p50 ms", "p99 ms", "CPU ms/req"]
    return Case(f"{size / 1e6:g} MB", Job([ask(padding=size)], count), show, goals)


def _conversation(messages: int, count: int) -> Case:
    return Case(
        f"{messages} messages", Job([ask(messages=messages)], count), ["p50 ms", "p99 ms", "CPU ms/req"]
    )


def _kill(side: Side, job: Job) -> Figures:
    """Kill the agent under load; a request that was under way may fail, the next must not wait long."""
    http, again_s = _http(side), [0.0]

    def kill() -> None:
        time.sleep(0.8)
        http.server.kill_agents()
        again_s[0] = http.server.answer_s()

    outcome = http.run_with(job, kill)
    return {**figures_of(outcome), "failed requests": outcome.all.failed, "next success s": again_s[0]}


def _start(side: Side, job: Job) -> Figures:
    del job
    http = _http(side)
    http.restart()
    listening_s = http.server.listening_s
    return {"listening s": listening_s, "first answer s": listening_s + http.answered_s}


def _drop(side: Side, job: Job) -> Figures:
    """Hang up in the middle of every stream, and ask the agent what it was told of it."""
    before = _cancels(side)
    outcome = side.run(job)
    time.sleep(0.5)
    cancelled = _cancels(side) - before
    return {**figures_of(outcome), "dropped": float(job.count), "cancelled": float(cancelled)}


def _cancels(side: Side) -> int:
    said = side.run(Job([ask(tell=True)], 1)).said
    found = re.search(r"cancels=(\d+)", said)
    return int(found[1]) if found else 0


def _stock(side: Side, job: Job) -> Figures:
    """Tell who found a session in stock by the time of the first text, which making one would exceed."""
    time.sleep(SETTLE_S)
    outcome = side.run(job)
    first_s = outcome.all.first_s
    ready = sum(seconds < SESSION_MS / 2000 for seconds in first_s)
    return {**figures_of(outcome), "in stock %": 100 * ready / max(1, job.count)}


#: What session/new takes in J, and the seconds that a stock gets to be filled before a round.
SESSION_MS = 300
SETTLE_S = 2.0

_J_SHOW = ["in stock %", "first p50 ms", "first p99 ms"]


def _mixed(side: Side, job: Job) -> Figures:
    """Tell the short answers over ACP apart from those of a process each."""
    outcome = side.run(job)
    auto, pinned = outcome.found
    return {
        **figures_of(outcome),
        "auto p50 ms": quantile(auto.took_s, 0.5) * 1e3,
        "auto p99 ms": quantile(auto.took_s, 0.99) * 1e3,
        "pinned p50 ms": quantile(pinned.took_s, 0.5) * 1e3,
    }


def _workers(count: int) -> Group:
    setup = Setup({"CURSORPIPE_WORKERS": str(count)}, {})
    plural = "s" if count > 1 else ""
    cases = [
        replace(case, label=f"{count} worker{plural}, {name}", sides=OVER_HTTP, goals={})
        for name, case in (("A c=32", _short(32, 3000, 0)), ("B c=32", _burst(32, 160)))
    ]
    return Group(cases, setup)


_DROPS = Job([ask(chunks=2000, pace_us=5000, stream=True)], 500, 32, drop_after=3)
_KILLED = Job([ask(chunks=20, pace_us=10_000, stream=True)], 100, 8)
_SESSIONS = Setup(
    {"CURSORPIPE_WORKERS": "2", "CURSORPIPE_POOL_SIZE": "64"}, {"BENCH_SESSION_MS": str(SESSION_MS)}
)

SCENARIOS: Sequence[Scenario] = (
    Scenario(
        "A",
        "a short answer",
        [Group([_short(1, 1000, 1.5, p50=1.5), _short(32, 3000, 1.6)])],
    ),
    Scenario("B", "200 chunks in a burst", [Group([_burst(1, 40), _burst(8, 80), _burst(32, 160)])]),
    Scenario(
        "C",
        "a pinned model, a process each, or a warm worker",
        [
            Group([_pinned(1, 150), _pinned(8, 400)]),
            Group(
                [
                    # What comes before the first round waits for the start.
                    Case(
                        "warm, the agent starts in 500 ms",
                        Job([ask(model=PINNED)], 300),
                        ["p50 ms", "p99 ms", "CPU ms/req"],
                        {"p50 ms": Goal(most=5)},
                        sides=OURS,
                    )
                ],
                Setup({"CURSORPIPE_WARM_MODELS": "*"}, {"BENCH_START_MS": "500"}),
            ),
        ],
    ),
    Scenario(
        "D",
        "many paced streams",
        [Group([_many_streams(200), _many_streams(200, apart=True), _many_streams(500)])],
    ),
    Scenario(
        "E",
        "the agent is killed under load",
        [
            Group(
                [
                    Case(
                        "kill -9",
                        _KILLED,
                        ["failed requests", "next success s"],
                        sides=OURS,
                        measure=_kill,
                        rounds=3,
                    )
                ]
            )
        ],
    ),
    Scenario(
        "F",
        "a long prompt",
        [Group([_long_prompt(100_000, 100), _long_prompt(1_000_000, 40), _long_prompt(10_000_000, 8)])],
    ),
    Scenario(
        "G",
        "from the start to the first answer",
        [
            Group(
                [
                    Case(
                        label,
                        Job([ask()], 1),
                        ["listening s", "first answer s"],
                        {"listening s": Goal(most=0.5), "first answer s": Goal(most=delay_ms / 1000 + 0.3)},
                        sides=WITH_PROCESS,
                        measure=_start,
                        rounds=4,
                    )
                ],
                Setup({}, {"BENCH_START_MS": str(delay_ms)}),
            )
            for label, delay_ms in (("instant agent", 0), ("agent starts in 1 s", 1000))
        ],
    ),
    Scenario(
        "H",
        "a conversation",
        [Group([_conversation(10, 200), _conversation(100, 200), _conversation(1000, 60)])],
    ),
    Scenario(
        "I",
        "clients that hang up in mid-stream",
        [
            Group(
                [
                    Case(
                        "500 streams",
                        _DROPS,
                        ["dropped", "cancelled"],
                        sides=OVER_HTTP,
                        measure=_drop,
                        rounds=2,
                    )
                ]
            )
        ],
    ),
    Scenario(
        "J",
        f"session/new takes {SESSION_MS} ms",
        [
            Group(
                [
                    Case(
                        "64 at once",
                        Job([ask(chunks=10, stream=True)], 64, 64),
                        _J_SHOW,
                        sides=OVER_HTTP,
                        measure=_stock,
                        rounds=4,
                    ),
                    Case(
                        "40 each second",
                        Job([ask(chunks=10, pace_us=50_000, stream=True)], 400, rate=40),
                        _J_SHOW,
                        {"in stock %": Goal(least=95)},
                        sides=OVER_HTTP,
                        measure=_stock,
                        rounds=3,
                    ),
                ],
                _SESSIONS,
            )
        ],
    ),
    Scenario(
        "K",
        "paced streams",
        [Group([_paced(apart=False), _paced(apart=True)])],
    ),
    Scenario(
        "L",
        "a conversation that grows",
        [Group([_conversation(n, count) for n, count in ((10, 200), (100, 200), (1000, 60), (5000, 15))])],
    ),
    Scenario(
        "M",
        "an answer of 2 MB, whole",
        [Group([Case("2 MB", Job([ask(chunks=2000, size=1000)], 30), ["p50 ms", "p99 ms", "CPU ms/req"])])],
    ),
    Scenario("N", "more workers", [_workers(count) for count in (1, 2, 4)]),
    Scenario(
        "O",
        "auto and pinned together",
        [
            Group(
                [
                    Case(
                        "c=8",
                        Job([ask(), ask(model=PINNED)], 800, 8),
                        ["auto p50 ms", "auto p99 ms", "pinned p50 ms", "CPU ms/req"],
                        sides=OVER_HTTP,
                        measure=_mixed,
                    )
                ]
            )
        ],
    ),
    Scenario(
        "P",
        "a caller's tool, there and back",
        [
            Group(
                [
                    Case(
                        f"c={concurrency}",
                        Job([ask()], count, concurrency),
                        ["plain p50 ms", "call p50 ms", "result p50 ms", "call p99 ms", "CPU ms/trip"],
                        sides=OURS,
                        measure=measure_trips,
                        rounds=4,
                    )
                    for concurrency, count in ((1, 40), (16, 160))
                ],
                STAND_IN,
            )
        ],
    ),
)
