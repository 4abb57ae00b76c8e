"""The README keeps its word."""

from __future__ import annotations

import re
from pathlib import Path

from cursorpipe_core.doctor import CHECKS
from cursorpipe_server.config import settings_table
from cursorpipe_server.errors import HTTP_ERRORS, INTERNAL
from cursorpipe_server.routes import ROUTES

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_settings_table_is_the_codes() -> None:
    rows = [line for line in section("Settings").splitlines() if line.startswith("| `")]
    expected = []
    for row in settings_table():
        names = ", ".join(f"`{name}`" for name in row.names)
        default = f"`{row.default}`" if row.default else ""
        mark = " ↻" if row.reload else ""
        expected.append(f"| {names} | {default} | {row.doc}{mark} |")
    assert rows == expected


def test_every_variable_that_is_mentioned_is_a_setting() -> None:
    known = {name for row in settings_table() for name in row.names}
    mentioned = set(re.findall(r"\bCURSOR(?:PIPE)?_[A-Z_]+[A-Z]", README))
    assert {name.removesuffix("_FILE") for name in mentioned} <= known


def test_every_error_is_in_the_table() -> None:
    table = section("Errors")
    for error in {*HTTP_ERRORS.values(), INTERNAL}:
        row = next(line for line in table.splitlines() if f"`{error.code}`" in line)
        assert str(error.status) in row.split("|")[1]
        assert f"`{error.type}`" in row


def test_every_route_is_in_the_table() -> None:
    table = section("Endpoints")
    for route in ROUTES:
        if not route.path.startswith("/docs/assets"):
            assert route.path.replace(":.+", "") in table


def test_the_sample_of_doctor_has_what_it_looks_at() -> None:
    shown = re.findall(r"^  [✓!✗-] (\S+) ", section("Operations"), re.MULTILINE)
    assert shown == [*CHECKS, "port", "token", "files"]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (Path(__file__).parent.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- command: test -->" in script
    assert "<!-- command: test -->\n```sh\n" in README
