"""Finding processes again, and ending them: with real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import psutil
import pytest

from cursorpipe_core.orphans import MARK, end_all, is_child, marked, start_time, started_at

#: Tells that it is there, and stays; SIGTERM is refused on demand.
STAY = "print(flush=True); import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAY}"
#: Starts a process of its own group's, tells its id, and ends.
LEAVE_ONE = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
left.stdout.readline()
print(left.pid, flush=True)
sys.stdin.read()
"""

Run = Callable[..., psutil.Process]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start Python with some code, as the leader of a group, and return it once it has said a line."""
    with ExitStack() as stack:

        def start(code: str, *arguments: str, mark: str = "") -> psutil.Process:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={MARK: mark} if mark else {},
                start_new_session=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return psutil.Process(process.pid)

        yield start


def test_a_process_is_found_by_its_id_and_start_with_its_whole_group(run: Run) -> None:
    leader = run(LEAVE_ONE, STAY)
    (member,) = leader.children()
    found = set(started_at(leader.pid, start_time(leader.pid) or ""))
    assert found == {leader, member}
    assert end_all(lambda: found) == 2


def test_a_process_that_got_the_id_of_a_dead_one_is_a_stranger(run: Run) -> None:
    stranger = run(STAY)
    assert list(started_at(stranger.pid, "1700000000.00")) == []
    assert start_time(2**22 + 1) is None


def test_a_child_is_ours_until_it_is_reaped(run: Run) -> None:
    leader = run(LEAVE_ONE, STAY)
    (member,) = leader.children()
    assert is_child(leader.pid)
    assert not is_child(member.pid)
    member.kill()
    leader.kill()
    leader.wait()
    assert not is_child(leader.pid)


def test_only_what_bears_our_mark_is_found(run: Run) -> None:
    ours, _other, _none = run(STAY, mark="us.1"), run(STAY, mark="them.1"), run(STAY)
    assert list(marked("us.1".__eq__)) == [ours]


def test_a_mark_is_inherited_by_what_has_left_the_group(run: Run) -> None:
    detach = LEAVE_ONE.replace("stdout=subprocess.PIPE", "stdout=subprocess.PIPE, start_new_session=True")
    leader = run(detach, STAY, mark="us.1")
    (left,) = leader.children()
    assert set(marked("us.1".__eq__)) == {leader, left}
    assert end_all(partial(marked, "us.1".__eq__)) == 2
    assert not left.is_running()


def test_what_refuses_sigterm_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cursorpipe_core.orphans.SIGTERM_GRACE_S", 0.1)
    stubborn = run(STUBBORN, mark="us.1")
    assert end_all(partial(marked, "us.1".__eq__)) == 1
    assert not stubborn.is_running() or stubborn.status() == psutil.STATUS_ZOMBIE


def test_what_comes_late_is_ended_too(run: Run) -> None:
    first, late = run(STAY), run(STAY)
    found = iter([{first}, {late}, set[psutil.Process]()])
    assert end_all(lambda: next(found, set())) == 2
    assert not late.is_running() or late.status() == psutil.STATUS_ZOMBIE
