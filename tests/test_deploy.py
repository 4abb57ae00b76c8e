"""The files in `deploy`: what they name exists, and what can be run of them runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cursorpipe_server.config import FILE_SUFFIX, ServerSettings, load_settings, settings_table
from cursorpipe_server.listening import BACKLOG
from cursorpipe_server.notify import LEAVE_S, STATUS_EVERY_S

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
STEPS = DEPLOY / "README.md"
UNIT = DEPLOY / "systemd" / "cursorpipe.service"
TEMPLATE = DEPLOY / "systemd" / "cursorpipe@.service"
SOCKET = DEPLOY / "systemd" / "cursorpipe.socket"
UNITS = (UNIT, TEMPLATE)
ENV_EXAMPLE = DEPLOY / "systemd" / "cursorpipe.env.example"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())

#: Files with secrets, which the guide has its reader write.
MADE_BY_THE_READER = {"deploy/docker/.env"}

#: The unit's exposure by `systemd-analyze security`, times ten, that must not be exceeded.
MOST_EXPOSURE = 15

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def unit_values(key: str, unit: Path = UNIT) -> list[str]:
    pairs = (line.partition("=") for line in unit.read_text().splitlines() if not line.startswith("#"))
    return [value for name, _, value in pairs if name == key]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, with a program that exists: `verify` wants that of ExecStart."""
    for path in (*UNITS, SOCKET):
        name = path.name.replace("@.", "@8081.")
        program = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text())
        (tmp_path / name).write_text(program)
    return tmp_path


INSTALLED = ("cursorpipe.service", "cursorpipe@8081.service", "cursorpipe.socket")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(path: Path) -> None:
    known = {name for row in settings_table() for name in row.names}
    named = re.findall(r"\bCURSOR(?:PIPE)?_[A-Z_]+", path.read_text())
    assert {name.removesuffix(FILE_SUFFIX) for name in named} <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"\bdeploy/[\w./@-]+\w", path.read_text())
    assert [name for name in set(named) - MADE_BY_THE_READER if not (ROOT / name).exists()] == []


def test_the_example_of_settings_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in settings_table():
        for name in row.names:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name + FILE_SUFFIX, raising=False)
    assert load_settings(ENV_EXAMPLE).server.host == "127.0.0.1"


def test_the_commented_settings_of_the_example_are_the_defaults() -> None:
    defaults = {name: row.default for row in settings_table() for name in row.names}
    shown = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", ENV_EXAMPLE.read_text()))
    assert shown
    assert shown == {name: defaults[name] for name in shown}


@needs_systemd
@pytest.mark.parametrize("name", INSTALLED)
def test_systemd_finds_no_fault_in_a_unit(units: Path, name: str) -> None:
    assert ANALYZE is not None
    done = subprocess.run([ANALYZE, "verify", units / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", INSTALLED[:2])
def test_a_unit_exposes_little(units: Path, name: str) -> None:
    assert ANALYZE is not None
    usage = subprocess.run([ANALYZE, "--help"], capture_output=True, text=True, check=True).stdout
    if "--offline" not in usage:
        pytest.skip("systemd-analyze is too old to judge a file")
    command = [ANALYZE, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]
    done = subprocess.run([*command, units / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_template_is_the_unit_with_a_port() -> None:
    unit, template = (path.read_text().partition("[Service]")[2] for path in UNITS)
    assert template == re.sub(r"(?m)^(ExecStart=.*)$", r"\1 --port %i", unit)
    assert template != unit


def test_the_socket_is_where_the_example_of_settings_listens() -> None:
    settings = ServerSettings()
    assert unit_values("ListenStream", SOCKET) == [f"127.0.0.1:{settings.port}"]
    assert unit_values("Backlog", SOCKET) == [str(BACKLOG)]


def test_systemd_hears_of_the_server_from_the_server_alone() -> None:
    assert unit_values("Type") == ["notify"]
    assert unit_values("NotifyAccess") == ["main"]
    assert float(*unit_values("WatchdogSec")) > 10 * STATUS_EVERY_S


def test_the_unit_leaves_the_compiler_of_node_alone() -> None:
    assert unit_values("MemoryDenyWriteExecute") == []


def test_the_unit_starts_the_module() -> None:
    (command,) = unit_values("ExecStart")
    assert command.split()[1:3] == ["-m", "cursorpipe_server"]


def test_a_reload_of_the_unit_reads_the_file_that_the_steps_install() -> None:
    # systemd's own EnvironmentFile would come before the file, with the values of the start.
    (command,) = unit_values("ExecStart")
    assert command.split()[3:] == ["--env-file", "/etc/cursorpipe/cursorpipe.env"]
    assert unit_values("EnvironmentFile") == []
    assert unit_values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    (user,) = unit_values("User")
    assert f"install -g {user} -m 0640 {ENV_EXAMPLE.relative_to(ROOT)} /etc/cursorpipe/" in STEPS.read_text()


def test_open_requests_can_end_before_the_unit_is_killed() -> None:
    (seconds,) = unit_values("TimeoutStopSec")
    assert float(seconds) == ServerSettings().drain_timeout_s + LEAVE_S


def test_the_agents_are_stopped_by_the_server_and_not_by_systemd() -> None:
    assert unit_values("KillMode") == ["mixed"]
