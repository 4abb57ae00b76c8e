"""The CLI's own words for what went wrong (CLI contract §4.9, §5.1, §5.4)."""

from __future__ import annotations

from pathlib import Path

from cursorpipe_core.demo_agent.account import Account

NOT_SIGNED_IN = (
    "Error: Authentication required. Please run 'agent login' first, "
    "or set CURSOR_API_KEY environment variable."
)
KEYCHAIN_LOCKED = (
    "Your macOS login keychain is locked.\n"
    "The agent cannot read its credentials from it.\n"
    "Run security unlock-keychain and try again."
)
BAD_CONFIG = "Error: Invalid configuration in .cursor/cli.json: permissions.deny: Required"
BROWSER = "Failed to open browser for login. Please visit: {url}"
LOGIN_URL = "https://cursor.com/loginDeepControl?challenge=demo&uuid=demo&mode=login&redirectTarget=cli"

WRITABLE_CLOSED = "Error: RetriableError: WritableIterable is closed"
GETADDRINFO = "[unavailable] getaddrinfo EAI_AGAIN api2.cursor.sh"
CONNECTION_LOST = "Connection lost to https://agentn.global.api5.cursor.sh attempts 1-3 failed"
USAGE_NOTICE = """Error: You've hit your usage limit
Get Cursor Pro for more Agent usage, unlimited Tab, and more.
fallbackModel:
spendLimitHit: false
chatMessage: *You've hit your free requests limit. Upgrade to continue.*
spendLimits: [50,100,200]"""


def invalid_key(account: Account) -> str:
    """Return what is said about a key that the backend refuses."""
    origin = "--api-key flag" if account.source == "flag" else "CURSOR_API_KEY environment variable"
    return f"⚠ Warning: The provided API key is invalid.\nThe API key was loaded from the {origin}."


def unknown_model(slug: str, known: list[str]) -> str:
    """Return the refusal of ``--model``."""
    return f"Cannot use this model: {slug}. Available models: {', '.join(known)}"


def untrusted(directory: Path) -> str:
    """Return the refusal to work in a directory nobody has vouched for."""
    return (
        "⚠ Workspace Trust Required\n\n"
        "Cursor Agent can execute code and access files in this directory.\n\n"
        f"Do you trust the contents of this directory?\n\n  {directory}\n\n"
        "Pass --trust, --yolo, or -f if you trust this directory."
    )
