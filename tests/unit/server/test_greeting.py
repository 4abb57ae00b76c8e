"""What the operator is told of how open the server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cursorpipe_core import AgentSettings, Permissions, Router, SupervisorSettings
from cursorpipe_server.config import ServerSettings, Settings
from cursorpipe_server.greeting import greet


@pytest.mark.parametrize(
    ("single", "several", "told"),
    [
        ("", "", "none"),
        ("s3cret", "", "bearer token"),
        ("", "ann=s3cret", "bearer token"),
        ("s3cret", "ann=other,bob=third", "3 bearer tokens"),
    ],
)
async def test_a_server_without_any_token_is_warned_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, single: str, several: str, told: str
) -> None:
    server = ServerSettings(bearer_token=single, bearer_tokens=several)
    agent = AgentSettings(agent_bin="no-such-program", state_dir=str(tmp_path))
    settings = Settings(server=server, agent=agent, supervision=SupervisorSettings())
    async with Router(settings.agent, settings.supervision) as router:
        await greet(settings, router, 8080)
    printed = capsys.readouterr().out
    assert f"  auth       {told}\n" in printed
    assert ("WARNING" in printed) is (told == "none")
    assert "s3cret" not in printed


@pytest.mark.parametrize("permissions", list(Permissions))
@pytest.mark.parametrize("workspace", ["", "/srv/work"])
async def test_an_agent_that_may_do_everything_is_warned_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, permissions: Permissions, workspace: str
) -> None:
    agent = AgentSettings(
        agent_bin="no-such-program", state_dir=str(tmp_path), permissions=permissions, workspace=workspace
    )
    server = ServerSettings(bearer_token="s3cret")
    settings = Settings(server=server, agent=agent, supervision=SupervisorSettings())
    async with Router(settings.agent, settings.supervision) as router:
        await greet(settings, router, 8080)
    _, warning, told = capsys.readouterr().out.partition("WARNING: CURSORPIPE_PERMISSIONS=allow")
    assert bool(warning) is (permissions is Permissions.ALLOW)
    assert (workspace in told) or not warning
