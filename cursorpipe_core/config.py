"""The core's settings, each with the variable that sets it, its bounds and its meaning."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cursorpipe_core.errors import AgentNotFoundError
from cursorpipe_core.spec import setting

#: Names the CLI was installed under before `agent`; looked for when the default name is not found
#: (CLI contract §2).
OLDER_AGENT_NAMES = ("cursor-agent",)


#: The name under which the CLI lists the choice to let Cursor pick the model (CLI contract §3).
AUTO_MODEL = "auto"


#: What can be a model's name: printable, without spaces, and never an option on a command line.
_MODEL_NAME = re.compile(r"[^\s\x00-\x20\x7f-][^\s\x00-\x20\x7f]{0,255}")


def is_model_name(text: str) -> bool:
    """Whether a text can be the name of a model."""
    return _MODEL_NAME.fullmatch(text) is not None


class Strategy(StrEnum):
    """Which backend serves a request; ``auto`` decides by whether a model is pinned."""

    AUTO = "auto"
    ACP = "acp"
    SUBPROCESS = "subprocess"


class Mode(StrEnum):
    """What the agent may do by itself: ``ask`` reads, ``plan`` reads and designs (CLI contract §4.6)."""

    ASK = "ask"
    PLAN = "plan"


class Permissions(StrEnum):
    """The answer to the agent's permission requests."""

    REFUSE = "refuse"
    ALLOW = "allow"


class ToolsMode(StrEnum):
    """How an agent is offered its caller's tools; ``auto``: over MCP, else in the prompt."""

    AUTO = "auto"
    MCP = "mcp"
    PROMPT = "prompt"
    OFF = "off"


class ToolChecks(StrEnum):
    """Whose arguments are checked before a call is passed on."""

    ALL = "all"
    STRICT = "strict"


class ConfigIsolation(StrEnum):
    """Whether the agent gets a private ``CURSOR_CONFIG_DIR``; ``auto``: when its credentials come by key."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """How one agent process is found, started and treated."""

    agent_bin: str = setting("CURSORPIPE_AGENT_BIN", default="agent", doc="Name or path of the Cursor CLI.")
    agent_node: str = setting(
        "CURSORPIPE_AGENT_NODE",
        "CURSOR_AGENT_NODE",
        default="",
        doc="Path of the Node that runs `AGENT_SCRIPT`, where the CLI has no launcher of its own.",
    )
    agent_script: str = setting(
        "CURSORPIPE_AGENT_SCRIPT",
        "CURSOR_AGENT_SCRIPT",
        default="",
        doc="Path of the CLI's `index.js`; with `AGENT_NODE` it replaces `AGENT_BIN`.",
    )
    api_key: str = setting(
        "CURSORPIPE_API_KEY",
        "CURSOR_API_KEY",
        default="",
        secret=True,
        doc="Cursor API key; reaches the CLI by its environment only.",
    )
    auth_token: str = setting(
        "CURSORPIPE_AUTH_TOKEN",
        "CURSOR_AUTH_TOKEN",
        default="",
        secret=True,
        doc="Cursor bearer token, the alternative to an API key.",
    )
    mode: Mode = setting(
        "CURSORPIPE_DEFAULT_MODE",
        default=Mode.ASK,
        doc="What the agent may do: `ask` or `plan` (the CLI refuses `agent`).",
    )
    permissions: Permissions = setting(
        "CURSORPIPE_PERMISSIONS",
        default=Permissions.REFUSE,
        doc="Answer to the agent's permission requests: `refuse` or `allow`.",
    )
    workspace: str = setting(
        "CURSORPIPE_WORKSPACE",
        default="",
        doc="Directory the agent works in; empty: an empty private one for each process.",
    )
    isolate_config: ConfigIsolation = setting(
        "CURSORPIPE_ISOLATE_CONFIG",
        default=ConfigIsolation.AUTO,
        doc="Private configuration directory for each agent process: `true`, `false`, or `auto` "
        "(when the credentials come by key or token).",
    )
    agent_env: tuple[str, ...] = setting(
        "CURSORPIPE_AGENT_ENV",
        default=(),
        doc="Names of further environment variables the agent may see, separated by commas.",
    )
    state_dir: str = setting(
        "CURSORPIPE_STATE_DIR",
        default="",
        doc="Directory for the records by which the next start ends what a killed server left; empty: "
        "systemd's `STATE_DIRECTORY`, else `cursorpipe` in `XDG_STATE_HOME` or `~/.local/state`.",
    )
    startup_timeout_s: float = setting(
        "CURSORPIPE_ACP_STARTUP_TIMEOUT_S",
        default=30.0,
        least=0.1,
        doc="Seconds an ACP child may take from its start to its first session.",
        reload=True,
    )
    request_timeout_s: float = setting(
        "CURSORPIPE_REQUEST_TIMEOUT_S",
        default=300.0,
        least=0.1,
        doc="Seconds a request may take in all.",
        reload=True,
    )
    first_event_timeout_s: float = setting(
        "CURSORPIPE_FIRST_EVENT_TIMEOUT_S",
        default=60.0,
        least=0.1,
        doc="Seconds an agent may take to its first sign of work on a request.",
        reload=True,
    )
    idle_timeout_s: float = setting(
        "CURSORPIPE_IDLE_TIMEOUT_S",
        default=120.0,
        least=0.1,
        doc="Seconds of silence an agent may keep between two signs of work.",
        reload=True,
    )
    liveness_interval_s: float = setting(
        "CURSORPIPE_LIVENESS_INTERVAL_S",
        default=30.0,
        least=0.1,
        doc="Seconds of silence after which a worker is asked whether it still listens.",
        reload=True,
    )
    liveness_timeout_s: float = setting(
        "CURSORPIPE_LIVENESS_TIMEOUT_S",
        default=10.0,
        least=0.1,
        doc="Seconds it has to answer that before it is replaced.",
        reload=True,
    )
    model_aliases: tuple[str, ...] = setting(
        "CURSORPIPE_MODEL_ALIASES",
        default=(),
        doc="Other names for models, as `gpt-4o=auto,sonnet=claude-4.5-sonnet`; they are listed too.",
        reload=True,
    )
    models_ttl_s: float = setting(
        "CURSORPIPE_MODELS_TTL_S",
        default=600.0,
        least=0,
        doc="Seconds the list of models is kept before the CLI is asked again.",
        reload=True,
    )
    #: Set by the command line, never by a variable: the program and first arguments that replace
    #: ``agent_bin``, with the variables it needs, for ``--demo``.
    stand_in: tuple[str, ...] = ()
    stand_in_env: Mapping[str, str] = field(default_factory=dict)

    def aliases(self) -> dict[str, str]:
        """Return the models by their other names; raises ValueError for what is no `name=model`."""
        found: dict[str, str] = {}
        for entry in self.model_aliases:
            name, separator, model = (part.strip() for part in entry.partition("="))
            if not (separator and is_model_name(name) and is_model_name(model)):
                raise ValueError(f"'{entry}' is not of the form name=model.")
            found[name] = model
        return found

    @property
    def private_config(self) -> bool:
        """Whether each agent process gets its own configuration directory (CLI contract §2, §8.2).

        A stored login stays with the user's own directory, because it may hold the credential.
        """
        if self.isolate_config is ConfigIsolation.AUTO:
            return self.has_credentials
        return self.isolate_config is ConfigIsolation.TRUE

    @property
    def has_credentials(self) -> bool:
        """Whether the agent gets a key or token, and so needs no stored login."""
        return bool(self.api_key or self.auth_token)

    def model_arguments(self, model: str | None) -> tuple[str, ...]:
        """Return the arguments that choose the model; None: Cursor picks.

        In a configuration directory that others use too, the last ``--model`` of anybody is the default
        of everybody (CLI contract §2), so there the choice of no model has to be said.
        """
        if model is None and not self.private_config:
            model = AUTO_MODEL
        return () if model is None else ("--model", model)

    def redact(self, text: str) -> str:
        """Return a text of the CLI without the credentials, should it have repeated them."""
        for secret in (self.api_key, self.auth_token):
            if secret:
                text = text.replace(secret, "***")
        return text

    def command(self) -> tuple[str, ...]:
        """Return the program and its first arguments.

        Raises AgentNotFoundError if there is no such program now; asked at every start, so that a CLI
        installed later is found without a restart of the server.
        """
        if self.stand_in:
            return self.stand_in
        if self.agent_node and self.agent_script:
            return (_executable(self.agent_node), self.agent_script)
        names = [self.agent_bin]
        if self.agent_bin == "agent":
            names.extend(OLDER_AGENT_NAMES)
        for name in names:
            found = shutil.which(name)
            if found is not None:
                return (str(Path(found).absolute()),)
        raise AgentNotFoundError(self.agent_bin)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """How many agent processes there are and what happens when they end."""

    strategy: Strategy = setting(
        "CURSORPIPE_STRATEGY",
        default=Strategy.AUTO,
        doc="`auto`: warm ACP children, and a subprocess for a pinned model; or `acp`, or `subprocess`.",
    )
    workers: int = setting(
        "CURSORPIPE_WORKERS", default=2, least=1, most=64, doc="ACP children that are kept alive."
    )
    pool_size: int = setting(
        "CURSORPIPE_POOL_SIZE",
        default=5,
        least=1,
        most=1000,
        doc="ACP sessions kept ready over all workers (at least one each).",
    )
    pool_max: int = setting(
        "CURSORPIPE_POOL_MAX",
        default=20,
        least=1,
        most=1000,
        doc="Sessions that one worker keeps ready at most, when requests come quickly.",
    )
    warm_models: tuple[str, ...] = setting(
        "CURSORPIPE_WARM_MODELS",
        default=(),
        doc="Models that get warm ACP workers of their own under `auto`, separated by commas; `*`: whatever "
        "is asked for.",
        reload=True,
    )
    warm_models_max: int = setting(
        "CURSORPIPE_WARM_MODELS_MAX",
        default=4,
        least=1,
        most=64,
        doc="Models that have warm workers at the same time; the one used longest ago makes room.",
        reload=True,
    )
    warm_models_idle_s: float = setting(
        "CURSORPIPE_WARM_MODELS_IDLE_S",
        default=900.0,
        least=0.1,
        doc="Seconds after which the warm worker of a model that nobody asks for is stopped.",
        reload=True,
    )
    worker_concurrency: int = setting(
        "CURSORPIPE_WORKER_CONCURRENCY",
        default=32,
        least=1,
        doc="Requests that one worker serves at the same time.",
        reload=True,
    )
    max_subprocesses: int = setting(
        "CURSORPIPE_MAX_SUBPROCESSES",
        default=8,
        least=1,
        doc="Processes that serve requests with a pinned model at the same time.",
        reload=True,
    )
    max_queue: int = setting(
        "CURSORPIPE_MAX_QUEUE",
        default=256,
        least=0,
        doc="Requests that may wait for each of the two; one more is answered with 429.",
        reload=True,
    )
    queue_timeout_s: float = setting(
        "CURSORPIPE_QUEUE_TIMEOUT_S",
        default=60.0,
        least=0.1,
        doc="Seconds a request may wait for its turn before it is answered with 429.",
        reload=True,
    )
    tools: ToolsMode = setting(
        "CURSORPIPE_TOOLS",
        default=ToolsMode.AUTO,
        doc="How agents are offered their callers' tools: `mcp`, `prompt`, `auto` (MCP, and the prompt where "
        "the CLI takes none) or `off`.",
    )
    tool_checks: ToolChecks = setting(
        "CURSORPIPE_TOOL_CHECKS",
        default=ToolChecks.ALL,
        doc="Tools whose arguments are checked by their schemas before a call is passed on: `all`, or only "
        "those that are `strict`.",
    )
    tool_park_timeout_s: float = setting(
        "CURSORPIPE_TOOL_PARK_TIMEOUT_S",
        default=240.0,
        least=1,
        doc="Seconds an agent that has called tools of its caller's waits for their results.",
    )
    tool_park_max: int = setting(
        "CURSORPIPE_TOOL_PARK_MAX",
        default=64,
        least=1,
        doc="Turns that may wait for the results of their tools at the same time; each holds a session. One "
        "more is answered with 429.",
    )
    tool_park_max_per_client: int = setting(
        "CURSORPIPE_TOOL_PARK_MAX_PER_CLIENT",
        default=8,
        least=1,
        doc="How many of those may be of one client. All users of a proxy with one token are one client.",
    )
    worker_max_sessions: int = setting(
        "CURSORPIPE_WORKER_MAX_SESSIONS",
        default=500,
        least=0,
        doc="Sessions after which a worker is replaced, as the CLI cannot close them; 0: never.",
        reload=True,
    )
    worker_max_age_s: float = setting(
        "CURSORPIPE_WORKER_MAX_AGE_S",
        default=14400.0,
        least=0,
        doc="Seconds after which a worker is replaced; 0: never.",
        reload=True,
    )
    worker_max_rss_mb: int = setting(
        "CURSORPIPE_WORKER_MAX_RSS_MB",
        default=2048,
        least=0,
        doc="Resident memory, with its children, after which a worker is replaced, in MiB; 0: never.",
        reload=True,
    )
    max_restarts: int = setting(
        "CURSORPIPE_ACP_MAX_RESTARTS",
        default=3,
        least=0,
        doc="Crashes of a worker within the window that are tolerated before it is given a long pause.",
        reload=True,
    )
    restart_window_s: float = setting(
        "CURSORPIPE_ACP_RESTART_WINDOW_S",
        default=60.0,
        least=1,
        doc="Seconds over which `ACP_MAX_RESTARTS` counts.",
        reload=True,
    )


def demo_agent_settings() -> dict[str, Any]:
    """Return the fields of AgentSettings that make the bundled stand-in the agent."""
    # The stand-in is started in another directory than the server: the package must be found there,
    # installed or not.
    package_root = str(Path(__file__).resolve().parent.parent)
    switches = {name: value for name, value in os.environ.items() if name.startswith("DEMO_AGENT_")}
    return {
        "stand_in": (sys.executable, "-m", "cursorpipe_core.demo_agent"),
        "stand_in_env": {"PYTHONPATH": package_root, **switches},
        "api_key": "key-of-the-demo-agent",
        "auth_token": "",
    }


def _executable(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise AgentNotFoundError(name)
    return found
