"""Findings as people read them, and as programs do."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from cursorpipe_core import Finding, Status, __version__

#: The version of the JSON: members may be added to it, and none is taken away or means something else.
SCHEMA = 1

#: Columns for a name, and before what belongs to a line above.
NAME_WIDTH = 11
INDENT = " " * (2 + NAME_WIDTH)
#: Columns of a terminal at most, as long lines are hard to read.
MOST_COLUMNS = 110

_MARKS: Mapping[Status, str] = {
    Status.OK: "✓",
    Status.WARNING: "!",
    Status.FAILED: "✗",
    Status.SKIPPED: "-",
}
_COLOURS: Mapping[Status, str] = {
    Status.OK: "32",
    Status.WARNING: "33",
    Status.FAILED: "31",
    Status.SKIPPED: "2",
}
_FAINT = "2"


def short_line(finding: Finding) -> str:
    """Return a finding on one line, with what to do."""
    words = finding.detail
    if finding.remedy is not None:
        words = f"{words.removesuffix('.')}. {finding.remedy.fix}"
    return f"{_MARKS[finding.status]} {finding.name}: {words}"


class Report:
    """Writes findings as they come; with colours on a terminal, if nobody minds them (no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = (
            stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def add(self, finding: Finding) -> None:
        """Write one: what was found, how long that took, and what to do."""
        mark = self._paint(_COLOURS[finding.status], _MARKS[finding.status])
        took = "" if finding.seconds is None else self._paint(_FAINT, f"  ({shown_seconds(finding.seconds)})")
        lines = [f"{mark} {finding.name:<{NAME_WIDTH}}{finding.detail}{took}"]
        if finding.stages:
            parts = (f"{stage} {shown_seconds(seconds)}" for stage, seconds in finding.stages.items())
            lines.append(self._paint(_FAINT, INDENT + " · ".join(parts)))
        if finding.remedy is not None:
            lines += textwrap.wrap(
                finding.remedy.fix,
                MOST_COLUMNS,
                initial_indent=f"{INDENT}→ ",
                subsequent_indent=f"{INDENT}  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        self._write("\n".join(lines))

    def close(self, findings: Sequence[Finding]) -> None:
        """Write how many of what there are."""
        counts = [
            f"{count} {word if count == 1 else word + 's'}"
            for status, word in ((Status.FAILED, "failure"), (Status.WARNING, "warning"))
            if (count := sum(finding.status is status for finding in findings))
        ]
        self._write(f"\n{', '.join(counts) or 'all is fine'}")

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def overall(findings: Sequence[Finding]) -> Status:
    """Return the worst that was found."""
    found = {finding.status for finding in findings}
    return next((status for status in (Status.FAILED, Status.WARNING) if status in found), Status.OK)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return everything for programs: every member is always there."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "status": overall(findings),
        "findings": [
            {
                "name": finding.name,
                "status": finding.status,
                "detail": finding.detail,
                "cause": finding.remedy.cause if finding.remedy else None,
                "fix": finding.remedy.fix if finding.remedy else None,
                "seconds": None if finding.seconds is None else round(finding.seconds, 3),
                "stages": {stage: round(seconds, 3) for stage, seconds in finding.stages.items()},
            }
            for finding in findings
        ],
    }


def shown_seconds(seconds: float) -> str:
    """Return a time to two digits or so."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
