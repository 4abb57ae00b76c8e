"""The agent that the servers under test drive: fast, and made where it is needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

#: What an agent reads of its environment; a server under test must pass these on.
VARIABLES = ("BENCH_CHUNKS", "BENCH_BYTES", "BENCH_PACE", "BENCH_START_MS", "BENCH_SESSION_MS")


def compiled_agent(folder: Path) -> Path | None:
    """Compile `agent.c` into ``folder``; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "agent"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "agent.c"], check=True)
    return program


def interpreted_agent(folder: Path) -> Path:
    """Put a starter of `slow_agent.py` into ``folder``."""
    program = folder / "agent"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE / "slow_agent.py"}" "$@"\n')
    program.chmod(0o755)
    return program


def make_agent(folder: Path) -> Path:
    """Return the fastest agent that this machine can have."""
    return compiled_agent(folder) or interpreted_agent(folder)
