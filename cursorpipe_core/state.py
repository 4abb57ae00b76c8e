"""The state directory: a directory for each server that runs, or that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from cursorpipe_core.errors import SettingsError
from cursorpipe_core.orphans import end_all, marked, start_time, started_at
from cursorpipe_core.records import Records, recorded

logger = logging.getLogger(__name__)

LOCK = "lock"
#: Holds the path of the directory in which the agents have theirs.
PLACES = "places"
#: Holds the ids of the processes that run, each with its start time.
PROCESSES = "processes"
#: What the name of a directory begins with that is being made and not yet locked; an hour later nobody
#: is making it any more.
UNFINISHED = "."
UNFINISHED_FOR_S = 3600.0
#: What an entry is called. The directory may be somebody's home: whatever has another name is not ours.
_ENTRY = re.compile(rf"{re.escape(UNFINISHED)}?[0-9a-f]{{12}}")


def state_directory(configured: str) -> Path:
    """Return where the state is: as set, else as systemd or the XDG base directories say.

    Raises SettingsError if there is no home to put it in.
    """
    if configured:
        return Path(configured).absolute()
    if by_systemd := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(by_systemd)
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        base = base if base.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as exc:
        raise SettingsError("CURSORPIPE_STATE_DIR: has to be set, as this user has no home.") from exc
    return base / "cursorpipe"


class StateEntry:
    """One server's own directory in the state directory, locked for as long as the server lives.

    It has records of the processes that the server runs, and names the one directory, in the
    temporary one, that holds the private directories of its agents. Neither says anything of requests.
    """

    def __init__(self, state: Path) -> None:
        """Make the entry; raises SettingsError if that cannot be."""
        self.id = secrets.token_hex(6)
        self._path = state / self.id
        self.places = Path(tempfile.gettempdir()) / _places_name(self.id)
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            try:
                self._make(state, undo)
            except OSError as exc:
                raise SettingsError(f"CURSORPIPE_STATE_DIR: {state} cannot be used: {exc.strerror}.") from exc
            try:
                self._make_places(undo)
            except OSError as exc:
                where = self.places.parent
                raise SettingsError(f"TMPDIR: nothing can be made in {where}: {exc.strerror}.") from exc
            self._undo = undo.pop_all()

    def record(self, pid: int) -> int:
        """Write down a process that leads a group; returns what strikes it out. Raises OSError."""
        return self._records.add(f"{pid} {start_time(pid)}")

    def strike_out(self, record: int) -> None:
        """Forget a process, which has ended."""
        self._records.remove(record)

    def close(self) -> None:
        """Remove the entry and the directories of the agents."""
        self._undo.close()

    def _make(self, state: Path, undo: contextlib.ExitStack) -> None:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = state / f"{UNFINISHED}{self.id}"
        unfinished.mkdir(mode=0o700)
        undo.callback(shutil.rmtree, unfinished, ignore_errors=True)
        undo.enter_context(_locked(unfinished / LOCK, os.O_RDWR | os.O_CREAT))
        (unfinished / PLACES).write_text(str(self.places), encoding="utf-8")
        self._records = undo.enter_context(Records(unfinished / PROCESSES))
        # Its name comes last: one that has its name and no lock is taken for a dead server's.
        unfinished.rename(self._path)
        undo.callback(shutil.rmtree, self._path, ignore_errors=True)

    def _make_places(self, undo: contextlib.ExitStack) -> None:
        self.places.mkdir(mode=0o700)
        undo.callback(shutil.rmtree, self.places, ignore_errors=True)
        # systemd-tmpfiles removes what has grown old, but no directory that somebody has locked.
        undo.enter_context(_locked(self.places, os.O_RDONLY))


def clear_dead_entries(state: Path) -> None:
    """End the processes and remove the directories of the servers that were killed."""
    for path in state.iterdir():
        with contextlib.suppress(OSError):  # its server lives, or it is no entry
            if not _ENTRY.fullmatch(path.name) or path.lstat().st_uid != os.getuid():
                continue
            if path.name.startswith(UNFINISHED):
                if time.time() - path.stat().st_mtime > UNFINISHED_FOR_S:
                    _remove(path)
            else:
                with _locked(path / LOCK, os.O_RDWR):
                    _clear(path)


def _clear(path: Path) -> None:
    places = Path((path / PLACES).read_text(encoding="utf-8"))
    ended = end_all(lambda: _left_of(path))
    if places.name == _places_name(path.name):
        shutil.rmtree(places, ignore_errors=True)
    logger.warning("a server was killed; what it left is removed, and %d processes are ended", ended)
    _remove(path)


def _remove(entry: Path) -> None:
    """Remove an entry, and nothing that is none of it; raises OSError if it has more."""
    for name in (PLACES, PROCESSES, LOCK):
        (entry / name).unlink(missing_ok=True)
    entry.rmdir()


def _left_of(path: Path) -> Iterator[psutil.Process]:
    """Yield the processes of a dead server: those on record, and those that bear its mark."""
    for record in recorded(path / PROCESSES):
        pid, _, time_ = record.partition(" ")
        if pid.isdigit():
            yield from started_at(int(pid), time_)
    yield from marked(lambda mark: mark.partition(".")[0] == path.name)


def _places_name(entry: str) -> str:
    return f"cursorpipe-{entry}"


@contextlib.contextmanager
def _locked(path: Path, flags: int) -> Iterator[None]:
    """Hold a lock that the system gives back when the process dies; raises OSError if another has it."""
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(f"{path} was removed while it was waited for")
        yield
    finally:
        os.close(descriptor)
