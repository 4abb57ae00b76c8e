"""From the command line to a process that can work, or the words with which the CLI refuses to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.account import Account, read_account
from cursorpipe_core.demo_agent.arguments import Invocation
from cursorpipe_core.demo_agent.context import Context
from cursorpipe_core.demo_agent.knobs import Knobs
from cursorpipe_core.demo_agent.models import SLUGS, ModelValueError, Selection
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.request import Request
from cursorpipe_core.demo_agent.scenarios import Faults
from cursorpipe_core.demo_agent.script import leave_grandchild, refusal
from cursorpipe_core.demo_agent.settings_file import SettingsFile, config_directory

#: The newest build that the contract describes.
VERSION = "2026.09.23-86fc751"

#: How a start finds out whether a scenario of the environment applies to it.
Claim = Callable[..., Request | None]


def prepare(invocation: Invocation, knobs: Knobs, faults: Faults, process: Process, claim: Claim) -> Context:
    """Read configuration and credentials; ends the process where the CLI cannot start with them."""
    if workspace := invocation.get("workspace"):
        try:
            os.chdir(workspace)
        except OSError as exc:
            process.fail(f"Error: {exc.strerror}: {workspace}")
    settings = SettingsFile(config_directory(os.environ), races="config-race" in knobs.old_build)
    try:
        content = settings.read()
        selection = Selection(settings, ignores_changes="set-model-ignored" in knobs.old_build)
    except (OSError, ValueError) as exc:
        process.fail(f"Error: {exc}")
    if claim("not-logged-in"):
        account = Account(None)
    elif claim("invalid-key"):
        account = Account("env", invalid_key=True)
    else:
        account = read_account(invocation, os.environ, content)
        if knobs.login == "stored":
            account = account._replace(source=account.source or "login", has_login=True)
    return Context(invocation, knobs, faults, process, settings, account, selection, Path.cwd())


def check_start(context: Context, mode: str, claim: Claim) -> None:
    """End the process if the CLI would (CLI contract §4.9, §5.4), in the order of what it needs first."""
    process, account = context.process, context.account
    if request := claim("keychain-locked"):
        process.fail(refusal(request, account))
    if account.invalid_key:
        process.fail(texts.invalid_key(account))
    # ACP answers initialize even when nobody is signed in (CLI contract §4.2).
    if mode != "acp" and not account.signed_in:
        process.fail(texts.NOT_SIGNED_IN)
    if mode == "models":
        return
    if _has_broken_permissions(context.cwd):
        process.fail(texts.BAD_CONFIG)
    try:
        if "config-race" in context.knobs.old_build:
            context.settings.ensure()
        _choose_model(context, claim)
    except (OSError, ValueError) as exc:
        process.fail(f"Error: {exc}")
    if claim("ignore-sigterm"):
        process.ignore_sigterm()
    if request := claim("grandchild"):
        leave_grandchild(process, request)


def _choose_model(context: Context, claim: Claim) -> None:
    slug = context.invocation.get("model")
    request = claim("unknown-model")
    if request is not None:
        context.process.fail(texts.unknown_model(slug or request.text("model"), list(SLUGS)))
    if slug:
        try:
            context.selection.choose_slug(slug)
        except ModelValueError:
            context.process.fail(texts.unknown_model(slug, list(SLUGS)))


def _has_broken_permissions(cwd: Path) -> bool:
    """Whether the project's configuration lacks its ``deny`` (CLI contract §2)."""
    try:
        content = json.loads((cwd / ".cursor" / "cli.json").read_bytes())
    except OSError:
        return False
    except ValueError:
        return True
    permissions = content.get("permissions") if isinstance(content, dict) else None
    return not isinstance(permissions, dict) or not isinstance(permissions.get("deny"), list)
