"""The small commands that print something and end (CLI contract §3)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from typing import NoReturn

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.account import forget_login, remember_login
from cursorpipe_core.demo_agent.approvals import enable
from cursorpipe_core.demo_agent.chats import chats_directory
from cursorpipe_core.demo_agent.context import Context
from cursorpipe_core.demo_agent.models import models_text
from cursorpipe_core.demo_agent.output import print_text
from cursorpipe_core.demo_agent.startup import VERSION
from cursorpipe_core.demo_agent.store import Conversation, new_id, stored

#: What a terminal makes invisible: a line that was overwritten, and characters without width.
_ANSI_HEAD = "\x1b[2K\x1b[GLoading models…\x1b[2K\x1b[G\u200b"


def run_command(name: str, context: Context) -> NoReturn:
    """Run a command by its name; does not return."""
    command = _COMMANDS.get(name)
    if command is None:
        context.process.fail(f"The demo agent does not have the command '{name}'.")
    command(context)
    context.process.leave(0)


def _models(context: Context) -> None:
    if context.faults.uncounted("no-models"):
        print_text("No models available for this account.")
        return
    text = models_text(context.selection)
    print_text(_ANSI_HEAD + text if context.knobs.ansi else text)


def _status(context: Context) -> None:
    account = context.account
    # A key alone looks signed out (CLI contract §2).
    if context.invocation.get("format") == "json":
        known = {
            "status": "authenticated" if account.has_login else "unauthenticated",
            "isAuthenticated": account.has_login,
            "hasAccessToken": account.has_login,
            "userInfo": {"email": account.email} if account.has_login else None,
        }
        print_text(json.dumps(known, indent=2))
    else:
        print_text(f"✓ Logged in as {account.email}" if account.has_login else "Not logged in")


def _about(context: Context) -> None:
    account, model = context.account, context.selection.slug.name
    tier = "Pro" if account.signed_in else None
    system, terminal, shell = platform.system().lower(), os.environ.get("TERM"), os.environ.get("SHELL")
    if context.invocation.get("format") == "json":
        known = {
            "cliVersion": VERSION,
            "model": model,
            "subscriptionTier": tier,
            "os": system,
            "terminal": terminal,
            "shell": shell,
            "userEmail": account.email,
        }
        print_text(json.dumps(known, indent=2))
        return
    rows = (
        ("CLI Version", VERSION),
        ("Model", model),
        ("Subscription Tier", tier or "Unknown"),
        ("OS", system),
        ("Terminal", terminal or "unknown"),
        ("Shell", shell or "unknown"),
        ("User Email", account.email or "Not logged in"),
    )
    print_text("\n".join(["About Cursor CLI", "", *(f"{name:<20}{value}" for name, value in rows)]))


def _login(context: Context) -> None:
    # There is no browser to wait for: whoever asks is signed in.
    print_text(texts.LOGIN_URL)
    remember_login(os.environ)
    del context


def _logout(context: Context) -> None:
    forget_login(context.settings, os.environ)
    print_text("Logged out")


def _create_chat(context: Context) -> None:
    conversation = Conversation(chats_directory(context) / new_id(), str(context.cwd))
    conversation.create()
    print_text(conversation.id)


def _mcp(context: Context) -> None:
    match context.invocation.words:
        case ["enable", name]:
            if not enable(context.settings.directory, str(context.cwd), name):
                context.process.fail(f"MCP server '{name}' not found")
            print_text(f"✓ Enabled MCP server: {name}")
        case _:
            context.process.fail("The demo agent only has 'mcp enable NAME'.")


def _ls(context: Context) -> None:
    for meta in stored(chats_directory(context)):
        print_text(f"{meta['id']}  {meta['title']}")


_COMMANDS: dict[str, Callable[[Context], None]] = {
    "models": _models,
    "status": _status,
    "about": _about,
    "login": _login,
    "logout": _logout,
    "create-chat": _create_chat,
    "ls": _ls,
    "mcp": _mcp,
}
