from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import psutil
import pytest

from cursorpipe_core.command import run_command
from cursorpipe_core.errors import AgentCrashError, AgentNotFoundError, AgentTimeoutError
from cursorpipe_core.process import ChildProcess, describe_exit, plain_text

PATIENCE_S = 10


class Watched:
    """A child with what it said."""

    def __init__(self, code: str) -> None:
        self.output = bytearray()
        self.said = asyncio.Event()
        self.ended = asyncio.Event()
        self.child = ChildProcess(
            [sys.executable, "-c", code], env=dict(os.environ), cwd="/", on_stdout=self._hear
        )

    def _hear(self, data: bytes) -> None:
        assert not self.ended.is_set(), "the end came before the end"
        self.output += data
        (self.said if data else self.ended).set()


Start = Callable[[str], Watched]


@pytest.fixture(params=["pidfd", "polling"])
async def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start children, and look after them in both ways that systems offer."""
    if request.param == "polling":
        monkeypatch.setattr("cursorpipe_core.process._pidfd", lambda _: None)
    async with AsyncExitStack() as stack, asyncio.timeout(30):

        def begin(code: str) -> Watched:
            watched = Watched(code)
            stack.push_async_callback(watched.child.stop, polite=0, grace=1)
            return watched

        yield begin


async def test_a_child_is_fed_and_heard(start: Start) -> None:
    echo = start("import sys; sys.stdout.write(sys.stdin.read().upper())")
    echo.child.write(b"hello")
    echo.child.close_stdin()
    assert await echo.child.wait_exited() == 0
    assert bytes(echo.output) == b"HELLO"
    assert echo.ended.is_set()


async def test_input_larger_than_any_pipe_arrives_whole_and_the_loop_goes_on(start: Start) -> None:
    reader = start(
        "import sys, time, hashlib; time.sleep(0.2); print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())"
    )
    data = os.urandom(5_000_000)
    reader.child.write(data[:4_000_000])
    reader.child.write(data[4_000_000:])
    reader.child.close_stdin()
    await reader.child.wait_exited()
    assert reader.output.decode().strip() == hashlib.md5(data).hexdigest()


async def test_what_is_written_in_one_turn_of_the_loop_arrives_together(start: Start) -> None:
    reader = start("import os; print(len(os.read(0, 65536)))")
    for _ in range(200):
        reader.child.write(b"x")
    await reader.child.wait_exited()
    assert reader.output == b"200\n"


async def test_very_many_pieces_arrive_in_order(start: Start) -> None:
    reader = start("import sys; print(sys.stdin.read() == ''.join(map(str, range(5000))))")
    for number in range(5000):
        reader.child.write(b"%d" % number)
    reader.child.close_stdin()
    await reader.child.wait_exited()
    assert reader.output == b"True\n"


async def test_two_megabytes_on_stderr_do_not_block_the_child_and_the_tail_is_kept(start: Start) -> None:
    noisy = start("import sys; sys.stderr.write('x' * 2_000_000 + 'THE END'); print('done')")
    assert await noisy.child.wait_exited() == 0
    assert bytes(noisy.output) == b"done\n"
    assert noisy.child.stderr_tail().endswith("THE END")
    assert len(noisy.child.stderr_tail()) < 20_000


async def test_a_dead_child_is_dead_although_a_grandchild_holds_its_pipes(start: Start) -> None:
    parent = start(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "sys.exit(3)"
    )
    assert await parent.child.wait_exited() == 3
    await asyncio.wait_for(parent.ended.wait(), PATIENCE_S)
    grandchild = int(parent.output)
    await asyncio.to_thread(_wait_gone, grandchild)


async def test_a_child_that_ignores_sigterm_is_killed_within_the_grace(start: Start) -> None:
    stubborn = start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    await stubborn.said.wait()
    await stubborn.child.stop(polite=0, grace=0.1)
    assert stubborn.child.returncode == -signal.SIGKILL


async def test_a_child_that_leaves_at_the_end_of_its_input_is_not_signalled(start: Start) -> None:
    polite = start("import sys; sys.stdin.read(); sys.exit(7)")
    await polite.child.stop(polite=PATIENCE_S, grace=1)
    assert polite.child.returncode == 7


async def test_stopping_ends_the_whole_group(start: Start) -> None:
    parent = start(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    await parent.said.wait()
    grandchild = int(parent.output)
    await parent.child.stop(polite=0, grace=PATIENCE_S)
    await parent.child.stop(polite=0, grace=PATIENCE_S)
    await asyncio.to_thread(_wait_gone, grandchild)


async def test_a_stop_that_is_cancelled_kills_at_once(start: Start) -> None:
    stubborn = start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    await stubborn.said.wait()
    stopping = asyncio.create_task(stubborn.child.stop(polite=60, grace=60))
    await asyncio.sleep(0)
    stopping.cancel()
    assert await stubborn.child.wait_exited() == -signal.SIGKILL
    with pytest.raises(asyncio.CancelledError):
        await stopping


async def test_writing_to_a_dead_child_is_no_error(start: Start) -> None:
    dead = start("")
    await dead.child.wait_exited()
    dead.child.write(b"x" * 100_000)
    dead.child.close_stdin()


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(AgentNotFoundError, match="no-such-program"):
        ChildProcess(["no-such-program"], env={}, cwd="/", on_stdout=lambda _: None)


async def test_a_working_directory_that_is_not_there_is_not_taken_for_a_missing_program() -> None:
    with pytest.raises(AgentCrashError, match="working directory"):
        ChildProcess([sys.executable], env={}, cwd="/no/such/place", on_stdout=lambda _: None)


async def test_a_short_command_returns_what_it_printed() -> None:
    code = "import sys; print('\\x1b[2Kout'); print('err', file=sys.stderr); sys.exit(4)"
    result = await run_command(
        [sys.executable, "-c", code], env=dict(os.environ), cwd="/", timeout=PATIENCE_S, what="test"
    )
    assert (result.returncode, result.stdout, result.stderr) == (4, "out\n", "err")


async def test_a_short_command_that_hangs_is_ended() -> None:
    with pytest.raises(AgentTimeoutError, match="list of models"):
        await run_command(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env=dict(os.environ),
            cwd="/",
            timeout=0.2,
            what="list of models",
        )


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (-9, "killed by SIGKILL (out of memory?)"), (-15, "killed by SIGTERM")],
)
def test_an_exit_status_is_put_into_words(status: int, words: str) -> None:
    assert describe_exit(status) == words


def test_terminal_noise_is_taken_out_of_texts() -> None:
    assert plain_text(b"\x1b[2K\x1b[Gauto\xe2\x80\x8b - Auto\x1b[0m\r\n") == "auto - Auto\n"


def _wait_gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait(PATIENCE_S)
    except psutil.NoSuchProcess:
        return
