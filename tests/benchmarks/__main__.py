"""Measure what the server adds to every request, side by side with what could be had at most.

Both sides are measured in turn, round by round, so that what else the machine does hits both; the table has
medians, their spread and ratios. Only ratios compare: not figures of two runs, nor of two machines.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import orjson

from tests.benchmarks.agent import make_agent
from tests.benchmarks.cases import Case, Figures, Group, Scenario
from tests.benchmarks.report import Measured, as_json, machine, table
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.servers import NoServerError
from tests.benchmarks.sides import KINDS, Side, Worker, make_side

#: The share of a round that goes before the first, uncounted.
WARM_UP = 0.1
#: Characters of a server's log that are shown where it fails; it goes with the run's other files.
LOG_SHOWN = 4000


class Benchmark:
    """One run: the scenarios, one after the other, on all sides."""

    def __init__(self, others: Sequence[str], *, rounds: int, scale: float, quiet: bool = False) -> None:
        self._others = others
        self._rounds = rounds
        self._scale = scale
        self._quiet = quiet

    def run(self, scenarios: Sequence[Scenario]) -> list[Measured]:
        """Measure; the servers' logs are shown if one of them does not start or answer."""
        measured: list[Measured] = []
        with tempfile.TemporaryDirectory(prefix="cursorpipe-bench-") as name:
            folder = Path(name)
            agent = make_agent(folder)
            with ExitStack() as stack:
                load = Worker(["tests.benchmarks.load"])
                stack.callback(load.stop)
                try:
                    for scenario in scenarios:
                        for group in scenario.groups:
                            measured += self._group(scenario, group, folder, agent, load)
                except NoServerError:
                    _show_logs(folder)
                    raise
        return measured

    def _group(
        self, scenario: Scenario, group: Group, folder: Path, agent: Path, load: Worker
    ) -> list[Measured]:
        with ExitStack() as stack:
            sides: dict[str, Side] = {}
            for target in ("ours", *self._others):
                kind = target if target in KINDS else "url"
                if not any(kind in case.sides for case in group.cases):
                    self._say(f"{scenario.letter}: not on {target}, where it cannot be measured")
                    continue
                sides[target] = make_side(target, folder, agent, group.setup, load)
                stack.callback(sides[target].stop)
            return [Measured(scenario, case, self._case(scenario, case, sides)) for case in group.cases]

    def _case(self, scenario: Scenario, case: Case, sides: dict[str, Side]) -> dict[str, list[Figures]]:
        able = {target: side for target, side in sides.items() if side.kind in case.sides}
        if case.measure is None:
            for side in able.values():
                case.run(side, self._scale * WARM_UP)
        found: dict[str, list[Figures]] = {target: [] for target in able}
        for n in range(min(self._rounds, case.rounds)):
            # The first of a round changes, in case the second profits from it.
            for target, side in (list(able.items()), list(able.items())[::-1])[n % 2]:
                found[target].append(case.run(side, self._scale))
            told = "  ".join(f"{target} {_brief(case, rounds[-1])}" for target, rounds in found.items())
            self._say(f"{scenario.letter} {case.label} {n + 1}: {told}")
        return found

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        told = log.read_text(encoding="utf-8", errors="replace")[-LOG_SHOWN:]
        print(f"{log.name} ends:\n{told}", file=sys.stderr)


def _brief(case: Case, figures: Figures) -> str:
    parts = [f"{figures.get(name, math.nan):.4g} {name}" for name in case.show]
    return f"({', '.join(parts)}; load {figures.get('load busy %', 0):.0f}%)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios that were asked for; returns the exit status."""
    options = _parser().parse_args(arguments)
    letters = [word.upper() for word in options.scenario]
    known = {scenario.letter for scenario in SCENARIOS}
    if unknown := set(letters) - known:
        print(f"no such scenario: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = [scenario for scenario in SCENARIOS if not letters or scenario.letter in letters]
    benchmark = Benchmark(options.compare, rounds=options.rounds, scale=options.scale)
    about = machine()
    try:
        measured = benchmark.run(chosen)
    except NoServerError as exc:
        print(f"tests.benchmarks: {exc}", file=sys.stderr)
        return 1
    print(f"{about}; median of {options.rounds} rounds at most [least…most]\n")
    print(table(measured, options.compare))
    if options.json is not None:
        options.json.write_bytes(orjson.dumps({"machine": about, "measured": as_json(measured)}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog="scenarios: " + "; ".join(f"{scenario.letter} {scenario.title}" for scenario in SCENARIOS),
    )
    parser.add_argument("scenario", nargs="*", help="letters; all of them if none is given")
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="TARGET",
        help="`floor`, `pipe`, `canned` (what the load generator can do), or the URL of another server that "
        "runs; may be given more than once",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of all rounds to a file")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of each case at most (8)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of a round, 0.1 for a quick look (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
