"""Who is signed in, by what, and what ACP makes of it (CLI contract §2, §4.2, §5.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cursorpipe_core.demo_agent.arguments import Invocation
from cursorpipe_core.demo_agent.settings_file import SettingsFile, config_directory

#: A key that begins so is one that the backend refuses.
_INVALID = "invalid"

_EMAIL = "demo@example.com"


class Account(NamedTuple):
    """The credential in use: ``source`` is ``flag``, ``env`` or ``login``; None: nobody is signed in.

    A key or a token takes precedence over a stored login. A stored login is an ``auth.json`` in the
    configuration directory (``AGENT_CLI_CREDENTIAL_STORE=file``) or below ``$XDG_CONFIG_HOME/cursor``, or
    an ``authInfo`` in ``cli-config.json``.
    """

    source: str | None
    has_login: bool = False
    invalid_key: bool = False

    @property
    def signed_in(self) -> bool:
        """Whether there is any credential."""
        return self.source is not None

    @property
    def email(self) -> str | None:
        """Return whose login it is; keys do not tell."""
        return _EMAIL if self.has_login else None


def read_account(invocation: Invocation, environ: Mapping[str, str], settings: Mapping[str, Any]) -> Account:
    """Find the credential of this process."""
    has_login = bool(settings.get("authInfo")) or any(map(_holds_token, _login_files(environ)))
    flag_key, env_key = invocation.get("api-key"), environ.get("CURSOR_API_KEY", "")
    if flag_key or invocation.get("auth-token"):
        return Account("flag", has_login, flag_key.startswith(_INVALID))
    if env_key or environ.get("CURSOR_AUTH_TOKEN"):
        return Account("env", has_login, env_key.startswith(_INVALID))
    return Account("login" if has_login else None, has_login)


def acp_login(account: Account, forced: str) -> str:
    """Return how ACP treats the credential (CLI contract §4.2), unless the environment forces it.

    ``key``: sessions at once. ``stored``: sessions after ``authenticate``. Without any credential
    ``hang``: ``authenticate`` is not answered, as seen from a CLI that is signed out; ``browser``, its
    answer on a machine without a display, has to be asked for.
    """
    if forced in {"browser", "hang"}:
        return forced
    if not account.signed_in:
        return "hang"
    if forced == "stored":
        return forced
    return "stored" if account.source == "login" else "key"


def remember_login(environ: Mapping[str, str]) -> None:
    """Store a login in the configuration directory."""
    directory = config_directory(environ)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "auth.json").write_text(json.dumps({"accessToken": "demo", "refreshToken": "demo"}))


def forget_login(settings: SettingsFile, environ: Mapping[str, str]) -> None:
    """Remove the stored login that belongs to the configuration directory."""
    (config_directory(environ) / "auth.json").unlink(missing_ok=True)
    settings.update(lambda content: content.pop("authInfo", None))


def _login_files(environ: Mapping[str, str]) -> list[Path]:
    own = config_directory(environ) / "auth.json"
    if environ.get("AGENT_CLI_CREDENTIAL_STORE") == "file":
        return [own]
    base = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [own, base / "cursor" / "auth.json"]


def _holds_token(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return False
