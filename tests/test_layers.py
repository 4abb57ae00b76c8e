"""The layers of the house: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cursorpipe_core

ROOT = Path(__file__).parent.parent
CORE = ROOT / "cursorpipe_core"
SERVER = ROOT / "cursorpipe_server"
STAND_IN = CORE / "demo_agent"

#: The modules of the core by level; each may import from lower ones, and from its own if that makes no ring.
LEVELS = [
    {"errors", "completion", "config", "snapshot", "spec", "version", "orphans", "records", "waits"}
    | {"tools", "call_ids", "schema_check", "durations", "counts", "finding", "stages"},
    {"bounds", "process", "jsonrpc", "prompt", "outcome", "sessions", "turn", "restarts", "line", "limits"}
    | {"structured", "state", "instance", "habitat", "places", "stream_json", "worker_session"}
    | {"endpoint", "gathered", "arguments", "approvals", "grouping", "channels", "parked", "offers"}
    | {"tool_room", "remedies", "directories", "liveness"},
    {"acp", "runner", "command", "catalogue", "description"},
    {"tool_rooms"},
    {"worker"},
    {"supervisor", "warm", "preflight", "attempt", "tool_turn", "tool_sessions", "tool_notes", "trial"},
    {"retries", "formatted", "tool_prompt", "channel_probe"},
    {"tool_turns", "doctor"},
    {"router"},
]

#: What the core must not know of.
HTTP_WORDS = {"aiohttp", "aiohttp_sse", "pydantic", "environs", "http", "prometheus_client"}
HTTP_WORDS |= {"cursorpipe_server"}


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what a file imports: the module, and the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module or "", [alias.name for alias in node.names]


def core_modules() -> dict[str, Path]:
    return {path.stem: path for path in CORE.glob("*.py") if path.stem != "__init__"}


def level_of(module: str) -> int:
    return next(level for level, modules in enumerate(LEVELS) if module in modules)


def test_every_module_of_the_core_has_its_level() -> None:
    assert set(core_modules()) == set().union(*LEVELS)


@pytest.mark.parametrize("module", sorted(core_modules()))
def test_a_module_of_the_core_imports_from_no_higher_level(module: str) -> None:
    for imported, _ in imports(core_modules()[module]):
        package, _, name = imported.partition(".")
        assert package not in HTTP_WORDS
        if package == "cursorpipe_core":
            assert name, "a module takes nothing from the package's face"
            assert level_of(name) <= level_of(module), f"{module} imports {name}"


def test_the_modules_of_the_core_import_in_no_ring() -> None:
    needs = {
        module: {
            name.removeprefix("cursorpipe_core.")
            for name, _ in imports(path)
            if name.startswith("cursorpipe_core.")
        }
        for module, path in core_modules().items()
    }
    placed: set[str] = set()
    while len(placed) < len(needs):
        free = {module for module, wanted in needs.items() if wanted <= placed} - placed
        assert free, f"a ring among {set(needs) - placed}"
        placed |= free


@pytest.mark.parametrize("path", sorted(SERVER.rglob("*.py")), ids=lambda path: str(path.relative_to(SERVER)))
def test_the_server_uses_only_the_public_names_of_the_core(path: Path) -> None:
    for module, names in imports(path):
        assert not module.startswith("cursorpipe_core.")
        if module == "cursorpipe_core":
            assert set(names) <= set(cursorpipe_core.__all__)


@pytest.mark.parametrize("path", sorted(STAND_IN.rglob("*.py")), ids=lambda path: path.name)
def test_the_stand_in_is_a_program_of_its_own(path: Path) -> None:
    for module, _ in imports(path):
        assert not module.startswith(("cursorpipe_core", "cursorpipe_server")) or module.startswith(
            "cursorpipe_core.demo_agent"
        )


def test_nobody_imports_the_stand_in() -> None:
    for path in [*core_modules().values(), *SERVER.rglob("*.py")]:
        assert not [module for module, _ in imports(path) if "demo_agent" in module]


def imported_by(module: str) -> set[str]:
    """Return what a fresh interpreter has read once it has read a module."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_agents_are_started_before_the_half_that_serves_is_read() -> None:
    """What the program needs to begin with must not read what takes longer than an agent's first words."""
    assert not {"aiohttp", "pydantic", "jsonschema"} & imported_by("cursorpipe_server.__main__")


def test_what_only_some_requests_need_is_read_when_they_come() -> None:
    assert not {"jsonschema", "prometheus_client"} & imported_by("cursorpipe_server.site")
