"""The servers under test, each a process of its own, and what it costs."""

from __future__ import annotations

import http.client
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tests.benchmarks.agent import VARIABLES
from tests.benchmarks.jobs import PATH, ask

ROOT = Path(__file__).parent.parent.parent

#: Where agents get their directories, if there is such a place: in memory. A disk's file system slows down by
#: as much as the rest of a request costs where directories come and go by the thousand.
IN_MEMORY = Path("/dev/shm")

#: Seconds a server may take to serve, and to leave.
PATIENCE_S = 60.0

#: What every scenario gets unless it says otherwise: one agent, as the floor has; places for all clients;
#: and sessions without end, or an agent that answers in microseconds would be replaced many times a minute.
COMMON = {
    "CURSORPIPE_HOST": "127.0.0.1",
    "CURSORPIPE_PORT": "0",
    "CURSORPIPE_WORKERS": "1",
    "CURSORPIPE_POOL_SIZE": "64",
    "CURSORPIPE_WORKER_CONCURRENCY": "1024",
    "CURSORPIPE_WORKER_MAX_SESSIONS": "0",
    "CURSORPIPE_MAX_SUBPROCESSES": "32",
    "CURSORPIPE_MAX_QUEUE": "2000",
    "CURSOR_API_KEY": "key-of-the-benchmark",
}


@dataclass(frozen=True, slots=True)
class Setup:
    """How a server and its agent are set up; variables and their values."""

    server: Mapping[str, str]
    agent: Mapping[str, str]


class NoServerError(Exception):
    """A server did not start, or does not answer."""


class Server:
    """A server that listens on ``host`` and ``port``; what it costs is known if its process is."""

    def __init__(
        self, host: str, port: int, process: subprocess.Popen[str] | None = None, listening_s: float = 0
    ) -> None:
        self.host, self.port = host, port
        self.listening_s = listening_s
        self._process = process
        self._about = psutil.Process(process.pid) if process is not None else None

    def cpu_s(self) -> float:
        """Return the CPU time that the server itself has used so far, without its agents."""
        if self._about is None:
            return math.nan
        used = 0.0
        # The usual counters tick a hundred times a second, which is coarse for a short round.
        with suppress(OSError):
            for thread in Path(f"/proc/{self._about.pid}/task").iterdir():
                used += int((thread / "schedstat").read_text().split()[0]) / 1e9
        if not used:
            times = self._about.cpu_times()
            used = times.user + times.system
        return used

    def rss_mb(self) -> float:
        """Return the server's own resident memory."""
        return self._about.memory_info().rss / 1e6 if self._about is not None else math.nan

    def kill_agents(self) -> None:
        """End every agent of the server as the system does when memory is short."""
        for child in self._about.children() if self._about is not None else ():
            child.kill()

    def answer_s(self, patience_s: float = PATIENCE_S) -> float:
        """Ask until an answer is a good one; return how long that took."""
        body, began = ask().body, time.perf_counter()
        while time.perf_counter() - began < patience_s:
            if self._answers(body, patience_s):
                return time.perf_counter() - began
            time.sleep(0.002)
        raise NoServerError(f"no answer from port {self.port} within {patience_s:.0f}s")

    def _answers(self, body: str, patience_s: float) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=patience_s)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            return response.status == 200
        return False

    def stop(self) -> None:
        """End the process, if it is ours."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def start_cursorpipe(folder: Path, agent: Path, setup: Setup) -> Server:
    """Start the server as its users do; its log goes to a file in ``folder``, which has its state too."""
    settings = {
        **COMMON,
        "CURSORPIPE_AGENT_BIN": str(agent),
        "CURSORPIPE_AGENT_ENV": ",".join(VARIABLES),
        "CURSORPIPE_STATE_DIR": str(folder / "state"),
        **setup.server,
        **setup.agent,
    }
    with (folder / "cursorpipe.log").open("ab") as log:
        return _start(["-m", "cursorpipe_server"], folder, settings, log)


def start_floor(folder: Path, agent: Path, setup: Setup) -> Server:
    """Start the floor."""
    with (folder / "floor.log").open("ab") as log:
        return _start(["-m", "tests.benchmarks.floor", str(agent)], folder, setup.agent, log)


def start_canned(folder: Path, setup: Setup) -> Server:
    """Start the server whose answers are ready made."""
    with (folder / "canned.log").open("ab") as log:
        return _start(["-m", "tests.benchmarks.canned"], folder, setup.agent, log)


def _start(words: list[str], folder: Path, variables: Mapping[str, str], log: IO[bytes]) -> Server:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CURSORPIPE_", "CURSOR_", "BENCH_"))
    }
    if os.access(IN_MEMORY, os.W_OK):
        inherited["TMPDIR"] = str(IN_MEMORY)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**inherited, "PYTHONPATH": str(ROOT), **variables},
        cwd=folder,  # no settings file is found there
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://([^/:]+):(\d+)", line)
    if found is None:
        process.kill()
        process.wait()
        raise NoServerError(f"{' '.join(words)} said {line!r}")
    listening_s = time.perf_counter() - began
    return Server("127.0.0.1", int(found[2]), process, listening_s)


def running_server(url: str) -> Server:
    """Return a server that runs already, whose process is not ours."""
    found = re.fullmatch(r"https?://([^/:]+):(\d+).*", url)
    if found is None:
        raise NoServerError(f"'{url}' is not of the form http://host:port")
    return Server(found[1], int(found[2]))
