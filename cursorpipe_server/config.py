"""The settings of the whole program, read from the environment and a .env file."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from environs import EnvValidationError, FileAwareEnv, validate

from cursorpipe_core import (
    AGENT_VARIABLES,
    AgentSettings,
    SettingsError,
    SettingSpec,
    SupervisorSettings,
    setting,
    specs,
)
from cursorpipe_server.env_file import default_env_file, mistakes_in, reading
from cursorpipe_server.origins import AllowedOrigins, read_hosts, read_origins
from cursorpipe_server.tokens import Tokens, read_tokens

logger = logging.getLogger(__name__)

PREFIX = "CURSORPIPE_"
FILE_SUFFIX = "_FILE"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class MetricsAuth(StrEnum):
    """Who may read the metrics: whoever has a token, or everybody."""

    TOKEN = "token"  # noqa: S105 — no secret
    OPEN = "open"


class LogFormat(StrEnum):
    """How the log is written; ``auto``: as text on a terminal, else as JSON."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The HTTP side."""

    host: str = setting("CURSORPIPE_HOST", default="0.0.0.0", doc="Address to listen on.")  # noqa: S104 — the user's choice
    port: int = setting(
        "CURSORPIPE_PORT", default=8080, least=0, most=65535, doc="Port to listen on; 0: any free one."
    )
    bearer_token: str = setting(
        "CURSORPIPE_BEARER_TOKEN",
        default="",
        secret=True,
        doc="When set, every request but the public ones must carry it as `Authorization: Bearer …`.",
        reload=True,
    )
    bearer_tokens: str = setting(
        "CURSORPIPE_BEARER_TOKENS",
        default="",
        secret=True,
        doc="More tokens, separated by commas: `token` or `name=token`; the name is the client's in the log. "
        "In a file also one a line, with `#` comments.",
        reload=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        "CURSORPIPE_ALLOWED_HOSTS",
        default=(),
        doc="Names by which browsers may reach a server without a token, separated by commas, beside "
        "`localhost` and IP addresses. Programs may use any name.",
        reload=True,
    )
    cors_origins: tuple[str, ...] = setting(
        "CURSORPIPE_CORS_ORIGINS",
        default=(),
        doc="Origins whose pages may use the server, such as `https://app.example`, separated by commas; "
        "with a token also `*`.",
        reload=True,
    )
    keepalive_s: float = setting(
        "CURSORPIPE_KEEPALIVE_S",
        default=10.0,
        least=0.05,
        doc="Seconds of silence after which a stream gets its headers, and from then on a comment.",
        reload=True,
    )
    max_body_mb: int = setting(
        "CURSORPIPE_MAX_BODY_MB",
        default=32,
        least=1,
        most=1024,
        doc="Largest request body, in MiB.",
        reload=True,
    )
    reasoning: bool = setting(
        "CURSORPIPE_REASONING",
        default=True,
        doc="Send the agent's thoughts, as `reasoning_content`; `off` leaves them out.",
        reload=True,
    )
    strict_params: bool = setting(
        "CURSORPIPE_STRICT_PARAMS",
        default=False,
        doc="Refuse parameters that have no effect with 400, and do not only name them in a header.",
        reload=True,
    )
    metrics_auth: MetricsAuth = setting(
        "CURSORPIPE_METRICS_AUTH",
        default=MetricsAuth.TOKEN,
        doc="Who may read `/metrics`: `token`, as all else, or `open`, everybody.",
        reload=True,
    )
    drain_timeout_s: float = setting(
        "CURSORPIPE_DRAIN_TIMEOUT_S",
        default=10.0,
        least=0,
        doc="Seconds that open requests get to end once the server is told to stop.",
        reload=True,
    )
    log_level: LogLevel = setting(
        "CURSORPIPE_LOG_LEVEL",
        default=LogLevel.INFO,
        doc="`debug`, `info`, `warning` or `error`.",
        reload=True,
    )
    log_format: LogFormat = setting(
        "CURSORPIPE_LOG_FORMAT",
        default=LogFormat.AUTO,
        doc="How the log is written: `text`, `json`, or `auto` (text on a terminal, else JSON).",
    )
    log_prompts: bool = setting(
        "CURSORPIPE_LOG_PROMPTS",
        default=False,
        doc="Log what is asked, word for word, with each request.",
        reload=True,
    )
    enable_profiling: bool = setting(
        "CURSORPIPE_ENABLE_PROFILING",
        default=False,
        doc="Log when each stage of a request was reached.",
        reload=True,
    )

    def tokens(self) -> Tokens:
        """Return the tokens that open the server; raises ValueError."""
        return read_tokens(self.bearer_token, self.bearer_tokens)

    def hosts(self) -> frozenset[str]:
        """Return the names by which browsers may reach the server; raises ValueError."""
        return read_hosts(self.allowed_hosts)

    def origins(self) -> AllowedOrigins:
        """Return the origins whose pages may use the server; raises ValueError."""
        protected = bool(self.bearer_token or self.bearer_tokens)
        return read_origins(self.cors_origins, protected=protected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, by who it concerns."""

    server: ServerSettings
    agent: AgentSettings
    supervision: SupervisorSettings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the settings table."""

    names: tuple[str, ...]
    default: str
    doc: str
    reload: bool


SETTINGS_CLASSES: tuple[type, ...] = (ServerSettings, AgentSettings, SupervisorSettings)


def settings_table() -> list[SettingRow]:
    """Return every setting as the README's table shows it."""
    return [
        SettingRow(spec.names, _as_text(default), spec.doc, spec.reload)
        for cls in SETTINGS_CLASSES
        for spec, _, default in specs(cls).values()
    ]


def load_settings(
    env_file: Path | None = None,
    *,
    server: Mapping[str, Any] | None = None,
    agent: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings: the environment, then ``env_file``, then the defaults.

    ``env_file`` must exist if it is given; otherwise `.env` in the working directory is read if there is
    one. An empty variable counts as not set; `NAME_FILE` names a file that holds the value. ``server`` and
    ``agent`` replace fields, for what the command line sets. Raises SettingsError with every mistake.
    """
    path = env_file or default_env_file()
    env = SettingsEnv(eager=False, strip_whitespace=True)
    mistakes: dict[str, str] = {}
    if path is not None:
        with reading(path):
            if not path.is_file():
                raise SettingsError(f"there is no file of settings '{path}'")
            mistakes.update(mistakes_in(path, _names()))
            env.read_env(path, recurse=False)
    given: dict[str, str] = {}
    values = {cls: _read(cls, env, given, mistakes) for cls in SETTINGS_CLASSES}
    try:
        env.seal()
    except EnvValidationError as exc:
        if not isinstance(exc.error_messages, Mapping):
            raise
        for name, messages in exc.error_messages.items():
            mistakes[name] = f"'{given[name]}' is wrong. {' '.join(messages)}"
    mistakes.update(_server_mistakes(values[ServerSettings]))
    try:
        AgentSettings(**values[AgentSettings]).aliases()
    except ValueError as exc:
        mistakes["CURSORPIPE_MODEL_ALIASES"] = str(exc)
    workspace = values[AgentSettings].get("workspace")
    if workspace and not Path(workspace).is_dir():
        mistakes["CURSORPIPE_WORKSPACE"] = f"'{workspace}' is not a directory."
    if mistakes:
        raise SettingsError("\n".join(f"{name}: {text}" for name, text in mistakes.items()))
    in_file = set(dotenv_values(path)) if path is not None else set()
    _warn_of_unknown(in_file.union(os.environ))
    _warn_of_unseen(in_file, values[AgentSettings].get("agent_env", ()))
    return Settings(
        server=ServerSettings(**{**values[ServerSettings], **(server or {})}),
        agent=AgentSettings(**{**values[AgentSettings], **(agent or {})}),
        supervision=SupervisorSettings(**values[SupervisorSettings]),
    )


def _server_mistakes(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong within the values of the server's settings, by the names of the variables."""
    server = ServerSettings(**values)
    for name, read in (
        ("CURSORPIPE_BEARER_TOKENS", server.tokens),
        ("CURSORPIPE_ALLOWED_HOSTS", server.hosts),
        ("CURSORPIPE_CORS_ORIGINS", server.origins),
    ):
        try:
            read()
        except ValueError as exc:
            yield name, str(exc)


class SettingsEnv(FileAwareEnv):
    """Takes an empty variable for one that is not set, as compose files and shells produce them."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        value = super()._get_value(env_key, default)
        return default if value == "" else value


def _read(cls: type, env: SettingsEnv, given: dict[str, str], mistakes: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a settings class that are set; what is wrong with a value is kept by ``env``.

    ``given`` gets the values as they are given, ``mistakes`` the files that cannot be read.
    """
    found: dict[str, Any] = {}
    for field, (spec, kind, _) in specs(cls).items():
        for name in spec.names:
            try:
                raw = env.str(name, None)
            except (ValueError, OSError) as exc:
                mistakes[name] = f"{name}{FILE_SUFFIX} names no file that can be read ({exc})"
                break
            if raw is None and spec.secret and env.str(f"{name}{FILE_SUFFIX}", None) is not None:
                # An empty file of tokens would leave the server open to everybody.
                mistakes[name] = f"the file that {name}{FILE_SUFFIX} names is empty."
                break
            if raw is not None:
                given[name] = "***" if spec.secret else raw
                found[field] = _parse(env, name, spec, kind)
                break
    return found


def _parse(env: SettingsEnv, name: str, spec: SettingSpec, kind: type) -> Any:
    if kind is tuple:
        return tuple(filter(None, env.list(name, [], subcast=str.strip)))
    if issubclass(kind, StrEnum):
        return env.enum(name, None, enum=kind, by_value=True)
    bounded = spec.least is not None or spec.most is not None
    check = validate.Range(spec.least, spec.most) if bounded else None
    return getattr(env, kind.__name__)(name, None, validate=check)


def _names() -> set[str]:
    """Return every variable that sets something, or names a file that does."""
    names = {name for row in settings_table() for name in row.names}
    return names | {f"{name}{FILE_SUFFIX}" for name in names}


def _warn_of_unknown(names: set[str]) -> None:
    """Log the variables that look like settings but are none."""
    known = _names()
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            logger.warning("%s is no setting%s", name, f"; did you mean {near[0]}?" if near else "")


def _warn_of_unseen(in_file: set[str], wanted: Iterable[str]) -> None:
    """Log what the file has for the agents, which see of it what is a setting and nothing else."""
    for name in sorted(in_file.intersection(AGENT_VARIABLES.union(wanted)).difference(os.environ)):
        logger.warning("%s in the file of settings reaches no agent; set it in the environment", name)


def _as_text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)
