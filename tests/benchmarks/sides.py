"""The sides of a comparison: who does the work that is measured."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.jobs import Job, Outcome, decode_outcome, encode
from tests.benchmarks.servers import (
    ROOT,
    NoServerError,
    Server,
    Setup,
    running_server,
    start_canned,
    start_cursorpipe,
    start_floor,
)

#: What a side can be but the URL of a server.
KINDS = frozenset({"ours", "floor", "pipe", "canned"})

#: Seconds that a process gets to leave once it has nothing to do.
_PATIENCE_S = 5.0
#: Seconds after which the memory of a server under load is looked at.
_LOOK_AFTER_S = 1.0


class Worker:
    """A process that takes jobs on its input: a load generator, or the pipe."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def begin(self, job: Job) -> None:
        """Hand it a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(encode(job))
        self._process.stdin.flush()

    def outcome(self) -> Outcome:
        """Wait for what it found."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NoServerError("the load generator has died")
        return decode_outcome(line)

    def stop(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Side(ABC):
    """One side. ``kind`` is `ours`, `floor`, `pipe`, `canned` or `url`."""

    kind: str

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Do a job; the outcome says what it cost this side."""

    @abstractmethod
    def stop(self) -> None:
        """End what was started for it."""


class HttpSide(Side):
    """A server, and the load generator that all servers share."""

    def __init__(self, kind: str, start: Callable[[], Server], load: Worker) -> None:
        self.kind = kind
        self._start = start
        self._load = load
        self.server = start()
        try:
            self.answered_s = self.server.answer_s()
        except BaseException:
            self.server.stop()
            raise

    def restart(self) -> None:
        """Start the server anew, from nothing."""
        self.server.stop()
        self.server = self._start()
        self.answered_s = self.server.answer_s()

    def run(self, job: Job) -> Outcome:
        return self.run_with(job, lambda: None)

    def run_with(self, job: Job, meanwhile: Callable[[], None]) -> Outcome:
        """Do a job, and something else while it is done."""
        server, seen_mb = self.server, list[float]()
        look = threading.Timer(_LOOK_AFTER_S, lambda: seen_mb.append(server.rss_mb()))
        look.start()
        try:
            before = server.cpu_s()
            self._load.begin(replace(job, host=server.host, port=server.port))
            meanwhile()
            outcome = self._load.outcome()
            outcome.cpu_s = server.cpu_s() - before
        finally:
            look.cancel()
            look.join()
        outcome.rss_mb = max([*seen_mb, server.rss_mb()])
        return outcome

    def stop(self) -> None:
        self.server.stop()


class PipeSide(Side):
    """The agent's pipes without a server."""

    kind = "pipe"

    def __init__(self, agent: Path) -> None:
        self._worker = Worker(["tests.benchmarks.pipe", str(agent)])

    def run(self, job: Job) -> Outcome:
        self._worker.begin(job)
        outcome = self._worker.outcome()
        outcome.cpu_s, outcome.rss_mb = outcome.load_cpu_s, math.nan
        return outcome

    def stop(self) -> None:
        self._worker.stop()


def make_side(target: str, folder: Path, agent: Path, setup: Setup, load: Worker) -> Side:
    """Start a side: one of KINDS, or the URL of a server that runs."""
    if target == "pipe":
        return PipeSide(agent)
    if target == "ours":
        return HttpSide("ours", lambda: start_cursorpipe(folder, agent, setup), load)
    if target == "floor":
        return HttpSide("floor", lambda: start_floor(folder, agent, setup), load)
    if target == "canned":
        return HttpSide("canned", lambda: start_canned(folder, setup), load)
    return HttpSide("url", lambda: running_server(target), load)
