"""What an operator can do about what goes wrong between the server and the Cursor CLI.

Each cause has a sentence of its own: it is what a check is made for. The facts about the CLI are those of
the CLI contract (§2, §4.1 to §4.3, §5.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cursorpipe_core.errors import (
    AgentCrashError,
    AgentNotFoundError,
    AgentTimeoutError,
    AuthenticationError,
    CursorpipeError,
    InvalidKeyError,
    KeychainLockedError,
    NetworkError,
    ProtocolVersionError,
    RateLimitError,
    SessionError,
    UnknownModelError,
)
from cursorpipe_core.finding import Remedy
from cursorpipe_core.turn import EmptyAnswerError

# -- the program
AGENT_NOT_FOUND = Remedy(
    "agent_not_found",
    "Install the Cursor CLI from https://cursor.com/cli, or name it with CURSORPIPE_AGENT_BIN.",
)
NOT_EXECUTABLE = Remedy(
    "not_executable", "Make it executable for this user with `chmod +x`, and the directories above it too."
)
CANNOT_START = Remedy(
    "cannot_start",
    "The file is no program that this machine can run: install the CLI anew, for its architecture.",
)
VERSION_CRASHES = Remedy(
    "version_crashes",
    "Run `agent --version` by hand as this user; if it ends the same way, install the CLI anew.",
)
VERSION_HANGS = Remedy(
    "version_hangs",
    "Run `agent --version` by hand as this user: a CLI that hangs there is broken, or is another program.",
)
ANOTHER_PROGRAM = Remedy(
    "another_program",
    "Other products install an `agent` too: name Cursor's, with CURSORPIPE_AGENT_BIN=cursor-agent or a path.",
)
# -- the account
INVALID_KEY = Remedy(
    "invalid_key", "Make a new key in Cursor's dashboard, under API keys, and set it as CURSOR_API_KEY."
)
KEY_NOT_TAKEN = Remedy(
    "key_not_taken",
    "The key or token is set and yet the CLI wants a login: update the CLI with `agent update`, or set the "
    "other one of CURSOR_API_KEY and CURSOR_AUTH_TOKEN.",
)
LOGIN_MISSING = Remedy(
    "login_missing", "Run `agent login` as the user the server runs as, or set CURSOR_API_KEY."
)
LOGIN_UNCLEAR = Remedy(
    "login_unclear", "Run `agent status` by hand: this build words it in a way that is not known here."
)
LOGIN_UNUSABLE = Remedy(
    "login_unusable",
    "The stored login does not serve a program on a machine without a display: set CURSOR_API_KEY.",
)
KEYCHAIN_LOCKED = Remedy(
    "keychain_locked", "Unlock it with `security unlock-keychain`, or set CURSOR_API_KEY, which needs none."
)
STATUS_FAILS = Remedy("status_fails", "Run `agent status` by hand as this user; if it fails, log in anew.")
# -- what Cursor says
NETWORK_DOWN = Remedy(
    "network_down",
    "See that this machine reaches api2.cursor.sh on port 443: DNS, firewall, and, if there is a proxy, "
    "HTTPS_PROXY in the server's environment, which its file of settings is no part of.",
)
RATE_LIMITED = Remedy(
    "rate_limited", "Wait, or see the plan and its spend limit in Cursor's dashboard, under usage."
)
MODEL_REFUSED = Remedy(
    "model_refused", "Ask the admin of the team which models it allows, and ask for one of those by its name."
)
NO_MODELS = Remedy(
    "no_models", "See in Cursor's dashboard that the account has a plan, and that its team allows models."
)
MODELS_FAIL = Remedy("models_fail", "Run `agent models` by hand as this user; it says more there.")
MODELS_SILENT = Remedy(
    "models_silent", "Run `agent models` by hand: if it hangs there too, a proxy or firewall may swallow it."
)
# -- the start of ACP
NO_ACP = Remedy(
    "no_acp", "This build has no `agent acp`: run `agent update`, or set CURSORPIPE_STRATEGY=subprocess."
)
ACP_VERSION = Remedy(
    "acp_version",
    "The CLI and this server do not speak the same version of ACP: update the older one of the two.",
)
ACP_CRASHES = Remedy(
    "acp_crashes", "Run `agent acp` by hand and see what it says; an update or more memory may help."
)
ACP_SILENT = Remedy(
    "acp_silent",
    "Run `agent update`; if the machine is only slow, raise CURSORPIPE_ACP_STARTUP_TIMEOUT_S.",
)
SESSION_FAILS = Remedy(
    "session_fails",
    "Read the newest log in $TMPDIR/cursor-agent-logs-*, where the CLI says why it opens none.",
)
SESSION_SILENT = Remedy(
    "session_silent",
    "Opening a session asks Cursor's backend: see the network, or raise CURSORPIPE_ACP_STARTUP_TIMEOUT_S.",
)
MODE_MISSING = Remedy(
    "mode_missing", "Update the CLI, or set CURSORPIPE_DEFAULT_MODE to a mode that this build offers."
)
# -- a turn
ACP_TURN_FAILS = Remedy(
    "acp_turn_fails",
    "The agent starts but does not answer over ACP: update it, or set CURSORPIPE_STRATEGY=subprocess.",
)
PRINT_FAILS = Remedy(
    "print_fails",
    "Run `echo hi | agent -p --trust` by hand; to do without, set CURSORPIPE_STRATEGY=acp.",
)
TURN_SILENT = Remedy(
    "turn_silent", "Cursor does not answer in time: look at https://status.cursor.com, and try again later."
)
EMPTY_ANSWER = Remedy(
    "empty_answer", "The agent ended its turn without a word: try again, and update the CLI if that repeats."
)
# -- tools and directories
TOOLS_UNAVAILABLE = Remedy(
    "tools_unavailable",
    "The agent takes no MCP server: update the CLI, or set CURSORPIPE_TOOLS=auto or prompt.",
)
TOOLS_BY_PROMPT = Remedy(
    "tools_by_prompt",
    "Tools will be described in the prompt, which models follow less well: a newer CLI may take them by MCP.",
)
CONFIG_NOT_WRITABLE = Remedy(
    "config_not_writable",
    "The CLI has to write its configuration: give this user the directory, or set CURSOR_API_KEY, "
    "with which each agent gets its own.",
)
STATE_NOT_WRITABLE = Remedy(
    "state_not_writable", "Give this user the directory, or name another with CURSORPIPE_STATE_DIR."
)
TEMPORARY_NOT_WRITABLE = Remedy(
    "temporary_not_writable", "Make the temporary directory writable, or name another with TMPDIR."
)
DISK_FULL = Remedy(
    "disk_full", "Make room: agents that cannot write their files fail in the midst of a turn."
)


@dataclass(frozen=True, slots=True)
class Context:
    """What failures mean that mean something else elsewhere: a crash, silence, and an error of the agent's.

    ``has_credentials``: the agent was given a key or a token.
    """

    crash: Remedy
    silence: Remedy
    refusal: Remedy
    has_credentials: bool

    def remedy(self, error: CursorpipeError) -> Remedy:
        """Return what to do about an error."""
        if isinstance(error, AuthenticationError) and type(error) is AuthenticationError:
            return KEY_NOT_TAKEN if self.has_credentials else LOGIN_MISSING
        for kind in type(error).__mro__:
            if kind in _ANYWHERE:
                return _ANYWHERE[kind]
        if isinstance(error, AgentCrashError):
            return self.crash
        return self.silence if isinstance(error, AgentTimeoutError) else self.refusal


#: What means the same wherever it happens.
_ANYWHERE: Mapping[type, Remedy] = {
    InvalidKeyError: INVALID_KEY,
    KeychainLockedError: KEYCHAIN_LOCKED,
    RateLimitError: RATE_LIMITED,
    NetworkError: NETWORK_DOWN,
    UnknownModelError: MODEL_REFUSED,
    AgentNotFoundError: CANNOT_START,
    ProtocolVersionError: ACP_VERSION,
    EmptyAnswerError: EMPTY_ANSWER,
}

#: Words of a CLI that does not know a command, on any of its channels.
_UNKNOWN_COMMAND = ("unknown command", "unknown option", "Method not found")


def start_remedy(error: CursorpipeError, stage: str, *, has_credentials: bool) -> Remedy:
    """Return what to do about a start over ACP that failed in ``stage``."""
    crash, silence, refusal = ACP_CRASHES, ACP_SILENT, SESSION_FAILS
    if stage == "process":
        crash = CANNOT_START
    elif stage == "initialize":
        # A build without the command takes `acp` for a prompt, or for a mistake (CLI contract §3).
        ended_well = isinstance(error, AgentCrashError) and error.status == 0
        if ended_well or any(words in str(error) for words in _UNKNOWN_COMMAND):
            crash = NO_ACP
        refusal = NO_ACP
    elif stage == "authenticate":
        silence = refusal = LOGIN_UNUSABLE
        if type(error) is AuthenticationError:
            return KEY_NOT_TAKEN if has_credentials else LOGIN_UNUSABLE
    else:
        silence = SESSION_SILENT
        if isinstance(error, SessionError) and "cli-config" in str(error):
            refusal = CONFIG_NOT_WRITABLE
    return Context(crash, silence, refusal, has_credentials).remedy(error)


def reason(error: CursorpipeError) -> str:
    """Return what an error says, without what to do about it."""
    if isinstance(error, AuthenticationError):
        return error.reason
    if isinstance(error, AgentNotFoundError):
        return f"'{error.command}' cannot be run."
    return str(error)
