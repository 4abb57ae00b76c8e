"""The command line: `python -m cursorpipe_server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cursorpipe_core import SettingsError, __version__, demo_agent_settings
from cursorpipe_server.config import LogLevel, Settings, load_settings, settings_table
from cursorpipe_server.env_file import default_env_file
from cursorpipe_server.hangup import outlive_hangups
from cursorpipe_server.listening import ListenError
from cursorpipe_server.log import configure_logging, set_log_level
from cursorpipe_server.serve import serve

#: The exit status of a command line or a setting that stays wrong until somebody changes it.
USAGE_ERROR = 2
#: That of a port or a directory that cannot be used now, and may be by the next start.
UNAVAILABLE = 1
#: New objects between two looks for cycles among them. Python's 700 are what a few dozen requests at a time
#: come to, none of which leaves a cycle: looking for them there took a tenth of a request.
NEW_OBJECTS = 10_000
#: The command that serves nothing.
DOCTOR = "doctor"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal's encoding lacks must not cost the line: it may be the warning of an open port.
            stream.reconfigure(errors="backslashreplace")
    options = _options(arguments)
    examines = options.check or options.command == DOCTOR
    try:
        read = _settings_reader(options)
        settings = read()
        configure_logging(settings.server.log_level, settings.server.log_format)
        with contextlib.suppress(KeyboardInterrupt):
            return _examine(settings, options) if examines else _serve(settings, read)
    except SettingsError as exc:
        if options.json:
            from cursorpipe_server.doctor import report_wrong_settings  # noqa: PLC0415 — as below

            report_wrong_settings(exc)
        print("cursorpipe: the settings are wrong:", *str(exc).splitlines(), sep="\n  ", file=sys.stderr)
        return USAGE_ERROR
    return 130


def _serve(settings: Settings, read: Callable[[], Settings]) -> int:
    attended = outlive_hangups()
    gc.set_threshold(NEW_OBJECTS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings, read, attended=attended))
    except (ListenError, SettingsError) as exc:
        print(f"cursorpipe: {exc}", file=sys.stderr)
        return UNAVAILABLE
    return 0


def _examine(settings: Settings, options: argparse.Namespace) -> int:
    # Here and not above: it reads what a server that starts agents is not to wait for.
    from cursorpipe_server.doctor import report  # noqa: PLC0415

    if settings.server.log_level is not LogLevel.DEBUG:
        # What goes wrong is told by what is printed.
        set_log_level(LogLevel.ERROR)
    short = options.command != DOCTOR
    try:
        return asyncio.run(report(settings, short=short, as_data=options.json, litellm=options.litellm))
    except BrokenPipeError:
        # Whoever reads has seen enough; what is still to be written at the exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _settings_reader(options: argparse.Namespace) -> Callable[[], Settings]:
    """Return what reads the settings: at the start, and again for a reload."""
    server: dict[str, Any] = {
        name: value for name in ("host", "port") if (value := getattr(options, name)) is not None
    }
    agent = demo_agent_settings() if options.demo else {}
    # Once there, it must stay: without it, a reload would take the tokens for given up.
    env_file = options.env_file or default_env_file()
    return lambda: load_settings(env_file, server=server, agent=agent)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check and options.command == DOCTOR:
        parser.error("--check is the short form of doctor: one of them, not both")
    if options.litellm is not None and options.command != DOCTOR:
        parser.error("--litellm is for doctor")
    if options.json and not (options.check or options.command == DOCTOR):
        parser.error("--json is for doctor and --check")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cursorpipe-server",
        description="An OpenAI-compatible HTTP server in front of the Cursor Agent CLI.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=[DOCTOR],
        help="look at everything that serving needs, with two short turns of the account, and exit: status 0 "
        "if it works, 1 if something does not, 2 if a setting is wrong",
    )
    parser.add_argument(
        "--demo", action="store_true", help="serve the bundled demo agent, not the Cursor CLI"
    )
    parser.add_argument("--host", help="address to listen on (CURSORPIPE_HOST)")
    parser.add_argument("--port", type=_port, help="port to listen on, 0 for any (CURSORPIPE_PORT)")
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="settings file instead of ./.env")
    parser.add_argument(
        "--check", action="store_true", help="check the agent and exit: the short form of doctor"
    )
    parser.add_argument("--json", action="store_true", help="with doctor or --check: print JSON")
    parser.add_argument(
        "--litellm",
        type=_url,
        metavar="URL",
        help="with doctor: see whether this LiteLLM proxy is there",
    )
    parser.add_argument("--version", action="version", version=f"cursorpipe {__version__}")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"'{text}' is not a port (CURSORPIPE_PORT): 0 to 65535")
    return int(text)


def _url(text: str) -> str:
    from yarl import URL  # noqa: PLC0415 — for this alone

    try:
        usable = URL(text).host and text.startswith(("http://", "https://"))
    except ValueError:  # a port that is none, a name that cannot be one
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError("not a URL such as http://localhost:4000")
    return text


def _settings_help() -> str:
    lines = ["settings, by environment or .env (*: SIGHUP takes over another value from the file):"]
    for row in settings_table():
        lines.append(f"  {', '.join(row.names)} [{row.default}]{' *' if row.reload else ''}")
        lines.append(f"      {row.doc.replace('`', '')}")
    return "\n".join(lines)


def _loop_factory() -> Any:
    """Return what makes the event loop: uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 — there is none on some systems
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
