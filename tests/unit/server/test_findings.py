from __future__ import annotations

import io
import re

import pytest

from cursorpipe_core import Finding, Remedy, Status, broken, doubtful, fine, remedies
from cursorpipe_server import doctor, litellm, surroundings
from cursorpipe_server.config import settings_table
from cursorpipe_server.findings import INDENT, Report, as_json, overall, short_line

BROKEN = broken("models", "It fails.", Remedy("it_fails", "Make it work. " * 20), seconds=2.345)
FINE = fine("session", "opened", seconds=0.5, stages={"process": 0.004, "initialize": 0.4})
DOUBTFUL = doubtful("token", "None.", Remedy("none", "Set one."))
SKIPPED = Finding("tools", Status.SKIPPED, "not tried")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def remedies_of(*modules: object) -> list[Remedy]:
    return [value for module in modules for value in vars(module).values() if isinstance(value, Remedy)]


REMEDIES = remedies_of(remedies, surroundings, litellm, doctor)


def test_each_cause_has_a_fix_of_its_own() -> None:
    assert len({remedy.cause for remedy in REMEDIES}) == len(REMEDIES)
    assert len({remedy.fix for remedy in REMEDIES}) == len(REMEDIES)


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.cause)
def test_a_fix_is_a_sentence_about_what_there_is(remedy: Remedy) -> None:
    assert re.fullmatch(r"[A-Z].*\.", remedy.fix)
    assert re.fullmatch(r"[a-z_]+", remedy.cause)
    known = {name for row in settings_table() for name in row.names}
    assert set(re.findall(r"\bCURSOR(?:PIPE)?_[A-Z_]+", remedy.fix)) <= known


def test_a_report_has_the_fix_below_what_is_wrong() -> None:
    stream = io.StringIO()
    report = Report(stream)
    for finding in (FINE, BROKEN, DOUBTFUL, SKIPPED):
        report.add(finding)
    report.close([FINE, BROKEN, DOUBTFUL, SKIPPED])
    lines = stream.getvalue().splitlines()
    assert lines[0] == "✓ session    opened  (500 ms)"
    assert lines[1] == f"{INDENT}process 4 ms · initialize 400 ms"
    assert lines[2] == "✗ models     It fails.  (2.3 s)"
    assert lines[3].startswith(f"{INDENT}→ Make it work.")
    assert all(len(line) <= 110 for line in lines)
    assert "! token      None." in lines
    assert "- tools      not tried" in lines
    assert lines[-1] == "1 failure, 1 warning"
    assert "\x1b" not in stream.getvalue()


def test_it_has_colours_on_a_terminal_unless_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    Report(stream).add(BROKEN)
    assert "\x1b[31m✗\x1b[0m" in stream.getvalue()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as only:
            only.setenv(name, value)
            stream = Terminal()
            Report(stream).add(BROKEN)
            assert "\x1b" not in stream.getvalue()


def test_the_short_form_is_one_line() -> None:
    assert short_line(DOUBTFUL) == "! token: None. Set one."
    assert short_line(SKIPPED) == "- tools: not tried"


def test_programs_find_every_member_always() -> None:
    told = as_json([FINE, BROKEN, SKIPPED])
    assert told["schema"] == 1
    assert told["status"] == "failed"
    members = ["name", "status", "detail", "cause", "fix", "seconds", "stages"]
    assert [list(finding) for finding in told["findings"]] == [members] * 3
    assert told["findings"][0]["stages"] == {"process": 0.004, "initialize": 0.4}
    assert told["findings"][1]["cause"] == "it_fails"
    assert told["findings"][2]["seconds"] is None


def test_the_worst_counts() -> None:
    assert overall([FINE, SKIPPED]) == "ok"
    assert overall([FINE, DOUBTFUL]) == "warning"
    assert overall([DOUBTFUL, BROKEN, FINE]) == "failed"
