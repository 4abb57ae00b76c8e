"""The table at the end: medians, their spread, ratios, and the goals that were met or missed."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from tests.benchmarks.cases import Case, Figures, Goal, Scenario

#: Percent of a core above which the load generator may be what was measured.
LOAD_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one case, by side."""

    scenario: Scenario
    case: Case
    rounds: Mapping[str, Sequence[Figures]]

    def values(self, side: str, figure: str) -> list[float]:
        """Return a figure of every round in which it was found."""
        found = [figures[figure] for figures in self.rounds.get(side, ()) if figure in figures]
        return [value for value in found if not math.isnan(value)]

    def median(self, side: str, figure: str) -> float:
        """Return the median of a figure; NaN if there is none."""
        values = self.values(side, figure)
        return statistics.median(values) if values else math.nan

    def ratio(self, side: str, figure: str) -> float:
        """Return how our median stands to that of another side."""
        other = self.median(side, figure)
        return self.median("ours", figure) / other if other else math.nan


def as_json(measured: Sequence[Measured]) -> list[dict[str, object]]:
    """Return everything that was measured, for a file."""
    return [
        {"scenario": item.scenario.letter, "case": item.case.label, "rounds": item.rounds}
        for item in measured
    ]


def table(measured: Sequence[Measured], others: Sequence[str]) -> str:
    """Return the table: a figure on each line, our median with its spread, and each other side's."""
    rows = [["", "figure", "cursorpipe", *(cell for other in others for cell in (other, "ratio")), "goal"]]
    for item in measured:
        rows.append([f"{item.scenario.letter} {item.case.label}"])
        for figure in item.case.show:
            row = ["", figure, _spread(item.values("ours", figure))]
            for other in others:
                row += [_spread(item.values(other, figure)), _number(item.ratio(other, figure), "×")]
            row.append(_verdict(item, figure))
            rows.append(row)
        for side in item.rounds:
            busy = item.median(side, "load busy %")
            if busy > LOAD_LIMIT and side not in {"pipe", "canned"}:
                rows.append(["", f"!! the load generator was busy for {busy:.0f} %: {side} may be faster"])
            failed = sum(item.values(side, "failed"))
            # Where requests fail by design, a figure of its own says how many.
            if failed and "failed requests" not in item.case.show:
                rows.append(["", f"!! {failed:.0f} requests of {side} failed or were cut"])
    return _aligned(rows)


def machine() -> str:
    """Describe what it was measured on."""
    return (
        f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, Python "
        f"{platform.python_version()}; load average {', '.join(f'{n:.1f}' for n in psutil.getloadavg())}"
    )


def _verdict(item: Measured, figure: str) -> str:
    goal = item.case.goals.get(figure)
    if goal is None:
        return ""
    value = item.ratio(goal.of, figure) if goal.of else item.median("ours", figure)
    bound = f"≤ {goal.most:g}" if goal.most is not None else f"≥ {goal.least:g}"
    unit = f"× {goal.of}" if goal.of else ""
    if math.isnan(value):
        return f"{bound}{unit}"
    return f"{bound}{unit} {'met' if _met(goal, value) else 'MISSED'}"


def _met(goal: Goal, value: float) -> bool:
    if goal.most is not None and value > goal.most:
        return False
    return goal.least is None or value >= goal.least


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    middle = _number(statistics.median(values))
    return f"{middle} [{_number(min(values))}…{_number(max(values))}]"


def _number(value: float, unit: str = "") -> str:
    if math.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}{unit}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    columns = max(len(row) for row in rows)
    # A line that is a heading or a warning does not widen the columns.
    full = [row for row in rows if len(row) == columns]
    widths = [max(len(row[n]) for row in full) for n in range(columns)]
    lines = []
    for row in rows:
        if len(row) == columns:
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        else:
            lines.append("  ".join(row))
    return "\n".join(line.rstrip() for line in lines)
