"""What doctor finds of agents that are broken in one way each."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cursorpipe_core import AgentSettings, Finding, Status, Strategy, SupervisorSettings, ToolsMode, examine
from cursorpipe_core.doctor import CHECKS
from cursorpipe_server.bridge import Bridge
from tests.demo import DemoAgent

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = f'exec env PYTHONPATH={ROOT} {sys.executable} -m cursorpipe_core.demo_agent "$@"'
#: Longer than any test waits.
FOR_EVER_MS = 600_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a home in which nobody has ever signed in."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "CURSOR_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge() as bridge:
        yield bridge


@pytest.fixture
def wrap(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Give the fields that make a shell script the agent: its first lines, and then the stand-in."""

    def write(first_lines: str) -> dict[str, Any]:
        path = tmp_path / "wrapped"
        path.write_text(f"#!/bin/sh\n{first_lines}\n{DEMO}\n")
        path.chmod(0o755)
        return {"stand_in": (), "agent_bin": str(path)}

    return write


async def look(
    settings: AgentSettings, bridge: Bridge, *, until: str = "", **supervision: Any
) -> dict[str, Finding]:
    """Return what is found up to a check; tools are left out unless they are asked for."""
    found = {}
    limits = SupervisorSettings(**{"tools": ToolsMode.OFF, **supervision})
    async with aclosing(examine(settings, limits, bridge)) as findings:
        async for finding in findings:
            assert finding.name not in found
            found[finding.name] = finding
            if finding.name == until:
                break
    return found


def cause_of(found: dict[str, Finding], name: str, status: Status = Status.FAILED) -> str:
    finding = found[name]
    assert finding.status is status, finding
    assert finding.remedy is not None
    return finding.remedy.cause


async def test_all_is_fine_and_each_check_has_its_finding(agent: DemoAgent, bridge: Bridge) -> None:
    found = await look(agent.settings(), bridge, tools=ToolsMode.AUTO)
    assert tuple(found) == CHECKS
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert not [finding for finding in found.values() if finding.remedy]
    assert list(found["session"].stages) == ["process", "initialize", "session/new", "mode"]
    assert "http" in found["tools"].detail
    for turn in ("acp-turn", "print-turn"):
        assert "Hello" in found[turn].detail
        assert found[turn].stages["first text"] <= (found[turn].seconds or 0)
    assert not list(agent.state_dir.glob("[!.]*"))


#: The switches of the stand-in, fields of the settings, and what is to be found, where.
BROKEN: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"stand_in": (), "agent_bin": "no-such-agent"}, "agent", "agent_not_found"),
    ({"SCENARIO": "crash-at-start"}, {}, "version", "version_crashes"),
    ({"SCENARIO": "invalid-key"}, {}, "models", "invalid_key"),
    ({"SCENARIO": "not-logged-in"}, {}, "models", "key_not_taken"),
    ({"SCENARIO": "keychain-locked"}, {}, "models", "keychain_locked"),
    ({"OLD_BUILD": "no-acp"}, {}, "session", "no_acp"),
    ({"SCENARIO": "other-protocol"}, {}, "session", "acp_version"),
    ({"SCENARIO": "crash-before-initialize"}, {}, "session", "acp_crashes"),
    ({"SCENARIO": "silent-initialize"}, {"startup_timeout_s": 0.5}, "session", "acp_silent"),
    ({"SCENARIO": "session-fails-once times=9"}, {}, "session", "session_fails"),
    ({"SCENARIO": "dns-failure"}, {}, "acp-turn", "network_down"),
    ({"SCENARIO": "usage-limit"}, {}, "acp-turn", "rate_limited"),
    ({"SCENARIO": "model-blocked"}, {}, "acp-turn", "model_refused"),
    ({"SCENARIO": "silent-prompt"}, {"first_event_timeout_s": 0.5}, "acp-turn", "turn_silent"),
    ({"SCENARIO": "empty"}, {}, "acp-turn", "empty_answer"),
    ({"SCENARIO": "crash-before-first-chunk"}, {}, "acp-turn", "acp_turn_fails"),
    ({"SCENARIO": "trust-required"}, {}, "print-turn", "print_fails"),
]


@pytest.mark.parametrize(("switches", "fields", "name", "cause"), BROKEN, ids=str)
async def test_a_broken_agent_is_told_by_its_cause(
    agent: DemoAgent, bridge: Bridge, switches: dict[str, Any], fields: dict[str, Any], name: str, cause: str
) -> None:
    agent.set(**switches)
    found = await look(agent.settings(**fields), bridge, until=name)
    assert cause_of(found, name) == cause
    earlier = [finding.name for finding in found.values() if finding.failed]
    assert earlier == [name], "the cause comes first"


async def test_an_agent_that_died_of_its_turn_is_asked_for_no_tools(agent: DemoAgent, bridge: Bridge) -> None:
    agent.set(SCENARIO="crash-before-first-chunk")
    found = await look(agent.settings(), bridge, until="tools", tools=ToolsMode.AUTO)
    assert cause_of(found, "acp-turn") == "acp_turn_fails"
    assert (found["tools"].status, found["tools"].detail) == (
        Status.SKIPPED,
        "not tried, because of: acp-turn",
    )


def test_they_are_told_apart() -> None:
    assert len({cause for *_, cause in BROKEN}) == len(BROKEN) >= 10


async def test_a_cli_that_may_not_be_run(agent: DemoAgent, bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    path.write_text("#!/bin/sh\n")
    found = await look(agent.settings(stand_in=(), agent_bin=str(path)), bridge)
    assert cause_of(found, "agent") == "not_executable"
    assert found["print-turn"].status is Status.SKIPPED
    assert "agent" in found["print-turn"].detail


async def test_a_file_that_is_no_program(agent: DemoAgent, bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    path.write_bytes(b"\x7fnothing")
    path.chmod(0o755)
    found = await look(agent.settings(stand_in=(), agent_bin=str(path)), bridge, until="version")
    assert cause_of(found, "version") == "cannot_start"


async def test_a_cli_that_hangs_at_once(
    agent: DemoAgent, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.description.COMMAND_TIMEOUT_S", 0.5)
    agent.set(SCENARIO=f"slow-start ms={FOR_EVER_MS}")
    found = await look(agent.settings(), bridge)
    assert cause_of(found, "version") == "version_hangs"
    skipped = [name for name, finding in found.items() if finding.status is Status.SKIPPED]
    assert skipped == ["login", "models", "session", "acp-turn", "tools", "print-turn"]


async def test_an_agent_of_somebody_elses(
    agent: DemoAgent, bridge: Bridge, wrap: Callable[[str], dict[str, Any]]
) -> None:
    wrapped = wrap('[ "$1" = --version ] && echo "agent 1.2.3" && exit')
    found = await look(agent.settings(**wrapped), bridge, until="version")
    assert cause_of(found, "version", Status.WARNING) == "another_program"


async def test_nobody_is_signed_in(agent: DemoAgent, bridge: Bridge, home: Path) -> None:
    found = await look(agent.settings(api_key=""), bridge)
    assert cause_of(found, "login") == "login_missing"
    assert str(home / ".cursor") in found["config"].detail
    assert found["session"].status is Status.SKIPPED


async def test_a_stored_login_is_used(
    agent: DemoAgent, bridge: Bridge, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "auth.json").write_text('{"accessToken": "x"}')
    monkeypatch.setenv("CURSOR_CONFIG_DIR", str(home))
    found = await look(agent.settings(api_key=""), bridge, until="session")
    assert "demo@example.com" in found["login"].detail
    assert list(found["session"].stages) == ["process", "initialize", "authenticate", "session/new", "mode"]


async def test_a_stored_login_that_wants_a_browser(
    agent: DemoAgent, bridge: Bridge, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "auth.json").write_text('{"accessToken": "x"}')
    monkeypatch.setenv("CURSOR_CONFIG_DIR", str(home))
    agent.set(LOGIN="browser")
    found = await look(agent.settings(api_key=""), bridge, until="session")
    assert cause_of(found, "session") == "login_unusable"
    assert "authenticate" in found["session"].detail


async def test_an_account_without_models(agent: DemoAgent, bridge: Bridge) -> None:
    agent.set(SCENARIO="no-models")
    found = await look(agent.settings(), bridge, until="models")
    assert cause_of(found, "models", Status.WARNING) == "no_models"


async def test_a_session_that_is_never_opened(
    agent: DemoAgent, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cursorpipe_core.acp.SESSION_TIMEOUT_S", 0.5)
    agent.set(SCENARIO="silent-session")
    found = await look(agent.settings(), bridge, until="session")
    assert cause_of(found, "session") == "session_silent"


async def test_an_agent_without_modes(agent: DemoAgent, bridge: Bridge) -> None:
    agent.set(SCENARIO="no-modes")
    found = await look(agent.settings(), bridge, until="session")
    assert cause_of(found, "session", Status.WARNING) == "mode_missing"


@pytest.mark.parametrize(
    ("tools", "status", "cause"),
    [
        (ToolsMode.AUTO, Status.WARNING, "tools_by_prompt"),
        (ToolsMode.MCP, Status.FAILED, "tools_unavailable"),
    ],
)
async def test_an_agent_that_takes_no_tools(
    agent: DemoAgent,
    bridge: Bridge,
    monkeypatch: pytest.MonkeyPatch,
    tools: ToolsMode,
    status: Status,
    cause: str,
) -> None:
    monkeypatch.setattr("cursorpipe_core.channel_probe.PROBE_S", 0.2)
    agent.set(MCP="transport=none")
    found = await look(agent.settings(), bridge, until="tools", tools=tools)
    assert cause_of(found, "tools", status) == cause
    assert not len(bridge)


async def test_a_state_directory_that_cannot_be(agent: DemoAgent, bridge: Bridge, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = await look(agent.settings(state_dir=str(tmp_path / "file" / "state")), bridge)
    assert cause_of(found, "state") == "state_not_writable"
    assert tuple(found) == ("agent", "state", *(name for name in CHECKS if name not in {"agent", "state"}))
    assert "state" in found["version"].detail


async def test_a_temporary_directory_that_cannot_be(
    agent: DemoAgent, bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    found = await look(agent.settings(), bridge)
    assert cause_of(found, "state") == "temporary_not_writable"


async def test_a_disk_that_is_nearly_full(
    agent: DemoAgent, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 1024 * 1024))
    found = await look(agent.settings(), bridge, until="state")
    assert cause_of(found, "state", Status.WARNING) == "disk_full"
    assert "3 MiB free" in found["state"].detail


async def test_a_configuration_that_cannot_be_written(
    agent: DemoAgent, bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CURSOR_CONFIG_DIR", str(tmp_path / "file" / "config"))
    found = await look(agent.settings(api_key=""), bridge, until="config")
    assert cause_of(found, "config") == "config_not_writable"


async def test_what_the_strategy_has_no_use_for_is_no_failure(agent: DemoAgent, bridge: Bridge) -> None:
    agent.set(OLD_BUILD="no-acp")
    found = await look(agent.settings(), bridge, strategy=Strategy.SUBPROCESS)
    assert cause_of(found, "session", Status.WARNING) == "no_acp"
    assert found["acp-turn"].status is Status.SKIPPED
    assert found["print-turn"].status is Status.OK
    assert not [finding for finding in found.values() if finding.failed]


async def test_no_secret_is_told_whatever_the_agent_repeats(
    agent: DemoAgent, bridge: Bridge, wrap: Callable[[str], dict[str, Any]]
) -> None:
    wrapped = wrap(
        'case "$1" in --version) echo "$CURSOR_API_KEY";; *) echo "no: $CURSOR_API_KEY" >&2; exit 3;; esac'
    )
    found = await look(agent.settings(**wrapped, api_key="crsr_hush"), bridge)
    told = "".join(f"{finding}" for finding in found.values())
    assert "no: ***" in told
    assert "hush" not in told


async def test_one_that_stops_looking_leaves_no_process(agent: DemoAgent, bridge: Bridge) -> None:
    await look(agent.settings(), bridge, until="session")
    pids = agent.pids()
    assert pids
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
