"""The state directory: whose entries are whose, and what becomes of a dead server's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cursorpipe_core.errors import SettingsError
from cursorpipe_core.orphans import MARK
from cursorpipe_core.state import StateEntry, clear_dead_entries, state_directory

#: Makes an entry, starts a process that is on record and one that only bears the mark, and waits.
SERVER = f"""
import os, subprocess, sys
from pathlib import Path
from cursorpipe_core.state import StateEntry
entry = StateEntry(Path(sys.argv[1]))
(entry.places / "1" / "work").mkdir(parents=True)
def start(env):
    return subprocess.Popen(["sleep", "60"], env=env, start_new_session=True).pid
recorded = start({{"PATH": os.environ["PATH"]}})
entry.record(recorded)
marked = start({{"PATH": os.environ["PATH"], "{MARK}": f"{{entry.id}}.1"}})
print(entry.places, recorded, marked, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state directory to be made; the temporary directory is one of the test's as well."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    return tmp_path / "state"


class Server:
    """A process that has an entry and two children."""

    def __init__(self, state: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        places, *pids = self._process.stdout.readline().decode().split()
        self.places = Path(places)
        self.children = [psutil.Process(int(pid)) for pid in pids]

    def kill(self) -> None:
        with self._process:
            self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        self.kill()
        for child in self.children:
            with contextlib.suppress(psutil.Error):
                child.kill()


@pytest.fixture
def server(state: Path) -> Iterator[Server]:
    server = Server(state)
    yield server
    server.end()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_an_entry_is_private_and_leaves_nothing(state: Path) -> None:
    entry = StateEntry(state)
    (entry.places / "1").mkdir()
    entry.record(os.getpid())
    for made in (state, state / entry.id, entry.places):
        assert made.stat().st_mode & 0o777 == 0o700
    entry.close()
    assert not entry.places.exists()
    assert list(state.iterdir()) == []


def test_a_killed_servers_processes_are_ended_and_its_directories_removed(
    state: Path, server: Server
) -> None:
    server.kill()
    assert not any(map(gone, server.children))
    clear_dead_entries(state)
    assert all(map(gone, server.children))
    assert not server.places.exists()
    assert list(state.iterdir()) == []


def test_a_living_server_keeps_everything(state: Path, server: Server) -> None:
    own = StateEntry(state)
    clear_dead_entries(state)
    assert not any(map(gone, server.children))
    assert server.places.exists()
    assert own.places.exists()
    own.close()


def test_a_record_of_a_dead_process_does_not_cost_the_one_that_got_its_id(state: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        dead = state / "0123456789ab"
        dead.mkdir(parents=True)
        (dead / "lock").touch()
        (dead / "places").write_text(str(state.parent / "tmp" / "cursorpipe-0123456789ab"))
        (dead / "processes").write_text(f"{stranger.pid} 1700000000.00\n")
        clear_dead_entries(state)
        assert not dead.exists()
        assert stranger.poll() is None
        stranger.kill()


def test_only_the_directory_of_an_entrys_own_agents_is_removed_with_it(state: Path) -> None:
    precious = state.parent / "precious"
    precious.mkdir()
    dead = state / "0123456789ab"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "places").write_text(str(precious))
    clear_dead_entries(state)
    assert not dead.exists()
    assert precious.exists()


def test_what_is_no_entry_is_left_alone(state: Path) -> None:
    (state / "somebody's").mkdir(parents=True)
    (state / "note").touch()
    clear_dead_entries(state)
    assert {path.name for path in state.iterdir()} == {"somebody's", "note"}


@pytest.mark.parametrize(
    "name", [".local", ".cursor", ".config", ".0123456789ab", "0123456789ab", "0123456789ab.d"]
)
def test_a_state_directory_may_be_a_home(state: Path, name: str) -> None:
    """As under the systemd unit, where the CLI and its login are in it as well."""
    theirs = state / name / "bin"
    theirs.mkdir(parents=True)
    (theirs / "agent").touch()
    for path in (theirs, state / name):
        os.utime(path, (0, 0))
    clear_dead_entries(state)
    assert (theirs / "agent").exists()


def test_an_entry_that_was_never_finished_is_removed_once_it_is_old(state: Path) -> None:
    fresh, old = state / ".aaaaaaaaaaaa", state / ".bbbbbbbbbbbb"
    for path in (fresh, old):
        path.mkdir(parents=True)
        (path / "lock").touch()
    os.utime(old, (0, 0))
    clear_dead_entries(state)
    assert list(state.iterdir()) == [fresh]


def test_what_somebody_put_into_a_dead_servers_entry_stays(state: Path, server: Server) -> None:
    (entry,) = state.iterdir()
    (entry / "theirs").touch()
    server.kill()
    clear_dead_entries(state)
    assert all(map(gone, server.children))
    assert [path.name for path in entry.iterdir()] == ["theirs"]


def test_a_state_directory_that_cannot_be_made_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"CURSORPIPE_STATE_DIR: .*file/state.*Not a directory"):
        StateEntry(tmp_path / "file" / "state")


def test_without_a_temporary_directory_nothing_half_made_is_left(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(state.parent / "nowhere"))
    with pytest.raises(SettingsError, match=r"TMPDIR: nothing can be made in .*nowhere"):
        StateEntry(state)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("configured", "environment", "expected"),
    [
        ("/set", {"STATE_DIRECTORY": "/run/a"}, "/set"),
        ("", {"STATE_DIRECTORY": "/run/a:/run/b", "XDG_STATE_HOME": "/xdg"}, "/run/a"),
        ("", {"XDG_STATE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/cursorpipe"),
        ("", {"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/cursorpipe"),
        ("", {"HOME": "/home/me"}, "/home/me/.local/state/cursorpipe"),
    ],
)
def test_the_state_is_where_it_is_set_or_where_the_system_wants_it(
    monkeypatch: pytest.MonkeyPatch, configured: str, environment: dict[str, str], expected: str
) -> None:
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert state_directory(configured) == Path(expected)
