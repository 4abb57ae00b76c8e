"""The program: ``python -m cursorpipe_core.demo_agent …`` in place of ``agent …``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from cursorpipe_core.demo_agent.acp import Server
from cursorpipe_core.demo_agent.arguments import Invocation, UsageError, help_text, parse
from cursorpipe_core.demo_agent.commands import run_command
from cursorpipe_core.demo_agent.knobs import Knobs, read_knobs
from cursorpipe_core.demo_agent.output import print_text
from cursorpipe_core.demo_agent.print_mode import run_print
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.record import Record
from cursorpipe_core.demo_agent.request import RequestError
from cursorpipe_core.demo_agent.scenarios import Faults, names
from cursorpipe_core.demo_agent.script import crash
from cursorpipe_core.demo_agent.settings_file import config_directory
from cursorpipe_core.demo_agent.startup import VERSION, check_start, prepare


def main() -> NoReturn:
    """Read the command line and do what it says; does not return."""
    argv = sys.argv[1:]
    record = Record(Path(path) if (path := os.environ.get("DEMO_AGENT_RECORD")) else None)
    process = Process(record)
    process.handle_signals()
    try:
        invocation = parse(argv)
        mistake = None
    except UsageError as exc:
        invocation, mistake = Invocation(), str(exc)
    config = config_directory(os.environ)
    mode = "error" if mistake else _mode(invocation)
    record.add(
        "start",
        ppid=os.getppid(),
        argv=argv,
        cwd=str(Path.cwd()),
        config_dir=str(config),
        env=sorted(os.environ),
        mode=mode,
    )
    try:
        knobs = read_knobs(os.environ)
        faults = Faults(knobs.scenario, knobs.state or config / "demo-agent-state")
    except RequestError as exc:
        process.fail(f"DEMO_AGENT_SCENARIO: {exc}. Scenarios: {names()}", 2)
    except ValueError as exc:
        process.fail(str(exc), 2)
    if mistake is not None:
        process.fail(mistake)
    _run(invocation, mode, knobs, faults, process)


def _mode(invocation: Invocation) -> str:
    """Return what kind of process this is: ``acp``, ``print``, or the name of a small command."""
    for flag, name in (("version", "version"), ("help", "help"), ("list-models", "models")):
        if invocation.has(flag):
            return name
    if invocation.command is not None:
        return "status" if invocation.command == "whoami" else invocation.command
    if invocation.has("print") or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "print"
    return "interactive"


def _run(invocation: Invocation, mode: str, knobs: Knobs, faults: Faults, process: Process) -> NoReturn:
    # What is counted must not be used up by a command that only looks around.
    claim = faults.claim if mode in {"acp", "print"} else faults.uncounted
    slow = claim("slow-start")
    time.sleep((slow.number("ms") if slow else knobs.start_ms) / 1000)
    if request := claim("crash-at-start"):
        crash(process, request)
    if mode == "version":
        print_text(VERSION)
        process.leave(0)
    if mode == "help":
        print_text(help_text())
        process.leave(0)
    if mode == "interactive":
        process.fail("The demo agent has no interactive mode: use --print.")
    context = prepare(invocation, knobs, faults, process, claim)
    if mode == "acp" and "no-acp" in knobs.old_build:
        print_text("You said: acp")
        process.leave(0)
    if mode == "acp":
        check_start(context, mode, claim)
        Server(context).run()
    if mode == "print":
        check_start(context, mode, claim)
        run_print(context)
    if mode == "models":
        check_start(context, mode, claim)
    run_command(mode, context)


if __name__ == "__main__":
    main()
