"""A child process with its own process group, a drained stderr and a bounded stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import psutil

from cursorpipe_core.errors import AgentCrashError, AgentNotFoundError, CursorpipeError

logger = logging.getLogger(__name__)

#: Bytes that a child's output may hold unread, and that are asked of it at once; a Linux pipe holds 64 KiB
#: unless it is enlarged, and each read wakes the readers of all turns that are in it.
PIPE_SIZE = 512 * 1024
READ_SIZE = PIPE_SIZE
#: The last bytes of stderr that are kept for the judge and the crash report.
STDERR_TAIL_BYTES = 16 * 1024
#: How often a child is looked at where the system has no pidfd to wait on.
EXIT_POLL_INTERVAL_S = 0.05
#: In the place of a pipe that is no longer ours.
CLOSED = -1
#: SIGKILL cannot be refused, but a child stuck in the kernel outlives it, and nobody can end that one.
KILL_WAIT_S = 5.0
#: Pieces of input at most that are written at once; the system takes 1,024.
MAX_WRITTEN = 256
#: Reads at most made of a dead child's pipe: what it wrote is there; a grandchild may write for ever.
FINAL_READS = 64

#: ANSI sequences and zero-width characters, which the CLI mixes into its texts (CLI contract §3, §5.4).
_TERMINAL_NOISE = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|[\u200b-\u200d\u2060\ufeff]")


def plain_text(raw: bytes) -> str:
    """Decode what a program printed, without ANSI sequences and zero-width characters."""
    return _TERMINAL_NOISE.sub("", raw.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "\n")


def describe_exit(returncode: int) -> str:
    """Put an exit status into words: ``exit status 1``, ``killed by SIGKILL (out of memory?)``."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hint = " (out of memory?)" if returncode == -signal.SIGKILL else ""
    return f"killed by {name}{hint}"


class ChildProcess:
    """One running program: bytes of stdout go to ``on_stdout``, ``write`` feeds stdin without waiting.

    The child leads its own process group and is reached through true pipes: an event loop's own spawn
    is slower, and uvloop's gives the child a socket pair, which costs the child. Must be made inside a
    running event loop. ``on_stdout`` is called from the loop, in order; with ``b""`` once, at the end of
    the output: when the pipe is at its end or the child is dead, whichever is first, because a
    grandchild that inherited the pipe keeps it open.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        on_stdout: Callable[[bytes], None],
    ) -> None:
        """Start the program; raises AgentNotFoundError or AgentCrashError if the system cannot."""
        self._loop = asyncio.get_running_loop()
        self._on_stdout = on_stdout
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._stderr_tail = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._waits_for_room = False
        self._ends_input = False
        self._output_ended = False
        self._process, (self._stdin, self._stdout, self._stderr) = _start(command, env, cwd)
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe, False)
        _enlarge(self._stdout)
        self._loop.add_reader(self._stdout, self._read_stdout)
        self._loop.add_reader(self._stderr, self._read_stderr)
        self._pidfd = _pidfd(self._process.pid)
        if self._pidfd is not None:
            self._loop.add_reader(self._pidfd, self._reap)
        else:
            self._loop.call_soon(self._poll)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of the child's process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status once the child is dead; negative: the signal that ended it."""
        return self._exited.result() if self._exited.done() else None

    def stderr_tail(self) -> str:
        """Return the last of what the child wrote to stderr, plain."""
        return plain_text(bytes(self._stderr_tail)).strip()

    async def wait_exited(self) -> int:
        """Wait until the child is dead, whoever still holds its pipes; returns the exit status."""
        return await asyncio.shield(self._exited)

    def write(self, data: bytes) -> None:
        """Send to stdin, when this turn of the event loop ends; what the pipe does not take, as it is read.

        All that comes in one turn goes out together, as each write wakes the child. Never waits and never
        raises for a dead child: its end is reported by ``on_stdout``.
        """
        if self._stdin == CLOSED:
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(memoryview(data))

    def close_stdin(self) -> None:
        """End the child's input once everything written has been sent."""
        self._ends_input = True
        if not self._unsent:
            self._close_stdin()

    async def stop(self, *, polite: float, grace: float) -> None:
        """Close stdin, then SIGTERM, then SIGKILL the whole group.

        ``polite`` seconds are given to the end of input, ``grace`` to SIGTERM. Idempotent; leaves no
        process of the group behind and every pipe closed. Cancelled, it goes straight to SIGKILL.
        """
        self._close_stdin()
        try:
            for patience, signum in ((polite, signal.SIGTERM), (grace, signal.SIGKILL)):
                if await self._exits_within(patience):
                    break
                self._signal_group(signum)
            if not await self._exits_within(KILL_WAIT_S):
                logger.error("process %d does not die of SIGKILL; it is left to the system", self.pid)
        except asyncio.CancelledError:
            self._signal_group(signal.SIGKILL)
            raise
        finally:
            self._end_output()
            self._end_stderr()

    async def _exits_within(self, seconds: float) -> bool:
        if seconds > 0 and not self._exited.done():
            await asyncio.wait((self._exited,), timeout=seconds)
        return self._exited.done()

    def _signal_group(self, signum: signal.Signals) -> None:
        # Not getpgid(): it fails once the leader is reaped, while its descendants live on.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signum)

    def _reap(self) -> None:
        if self._exited.done():
            return
        if self._pidfd is not None:
            # The leader is dead but not yet reaped, so the group's id cannot have been given to anybody
            # else: the one moment at which its descendants can be ended without a doubt.
            self._signal_group(signal.SIGKILL)
        returncode = self._process.poll()
        if returncode is None:
            return
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        else:
            self._signal_group(signal.SIGKILL)
        self._read_stderr()
        self._exited.set_result(returncode)
        self._drain_stdout()

    def _poll(self) -> None:
        self._reap()
        if not self._exited.done():
            self._loop.call_later(EXIT_POLL_INTERVAL_S, self._poll)

    def _read_stdout(self) -> None:
        try:
            data = os.read(self._stdout, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._on_stdout(data)
        else:
            self._end_output()

    def _drain_stdout(self) -> None:
        for _ in range(FINAL_READS):
            if self._output_ended:
                return
            try:
                data = os.read(self._stdout, READ_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            if not data:
                break
            self._on_stdout(data)
        self._end_output()

    def _end_output(self) -> None:
        if self._output_ended:
            return
        self._output_ended = True
        self._loop.remove_reader(self._stdout)
        os.close(self._stdout)
        self._close_stdin()
        self._on_stdout(b"")

    def _read_stderr(self) -> None:
        if self._stderr == CLOSED:
            return
        try:
            data = os.read(self._stderr, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._end_stderr()
            return
        self._stderr_tail += data
        del self._stderr_tail[:-STDERR_TAIL_BYTES]

    def _end_stderr(self) -> None:
        if self._stderr != CLOSED:
            self._loop.remove_reader(self._stderr)
            os.close(self._stderr)
            self._stderr = CLOSED

    def _flush(self) -> None:
        if not self._unsent:
            return  # closed since
        try:
            self._send()
        except (BlockingIOError, InterruptedError):
            if not self._waits_for_room:
                self._waits_for_room = True
                self._loop.add_writer(self._stdin, self._flush)
            return
        except OSError:
            # The child closed its end. Its death, or its silence, is noticed elsewhere.
            self._unsent.clear()
        self._stop_waiting_for_room()
        if self._ends_input:
            self._close_stdin()

    def _send(self) -> None:
        """Write all there is; raises BlockingIOError when the pipe is full before."""
        while self._unsent:
            sent = os.writev(self._stdin, list(islice(self._unsent, MAX_WRITTEN)))
            while self._unsent and sent >= len(self._unsent[0]):
                sent -= len(self._unsent.popleft())
            if sent:
                self._unsent[0] = self._unsent[0][sent:]

    def _stop_waiting_for_room(self) -> None:
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._stdin)

    def _close_stdin(self) -> None:
        if self._stdin != CLOSED:
            self._unsent.clear()
            self._stop_waiting_for_room()
            os.close(self._stdin)
            self._stdin = CLOSED


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; 0 if there is no such process."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        with contextlib.suppress(psutil.Error):  # it has left in the meantime
            total += process.memory_info().rss
    return total


def _start(
    command: Sequence[str], env: Mapping[str, str], cwd: str
) -> tuple[subprocess.Popen[bytes], tuple[int, int, int]]:
    """Start a program; returns it with our ends of its stdin, stdout and stderr.

    Bare pipes, because the file objects that Popen makes of its own cost a tenth of the whole start.
    """
    ends: list[int] = []
    try:
        for _ in range(3):
            ends += os.pipe()
        its_in, stdin, stdout, its_out, stderr, its_err = ends
        process = subprocess.Popen(  # noqa: S603 — the command is the operator's
            command,
            stdin=its_in,
            stdout=its_out,
            stderr=its_err,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except BaseException as exc:
        for end in ends:
            os.close(end)
        if isinstance(exc, OSError):
            raise _why_not_started(exc, command[0], cwd) from exc
        raise
    for end in (its_in, its_out, its_err):
        os.close(end)
    return process, (stdin, stdout, stderr)


def _why_not_started(error: OSError, program: str, cwd: str) -> CursorpipeError:
    # Popen names the working directory, not the program, when that is what is missing.
    if isinstance(error, FileNotFoundError | PermissionError):
        if error.filename == cwd:
            return AgentCrashError(f"The agent's working directory cannot be used: {error.strerror}.")
        return AgentNotFoundError(program)
    return AgentCrashError(f"The agent could not be started: {error.strerror}.")


def _enlarge(pipe: int) -> None:
    """Let a pipe hold more, where the system lets us: what comes at once is read at once."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # a user may only have so much
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids the call
        return None
