"""Errors raised by the core.

CursorpipeError
    SettingsError               the operator must change a setting
    InvalidRequestError         the caller asked for something that cannot be  .param
        UnknownModelError       Cursor does not know the model                 .model  .nearest
    AgentError                  the agent side failed                          .begun  .retry_after  .plain
        AuthenticationError     Cursor refuses the credentials                 .reason
            InvalidKeyError     the API key is no key of Cursor's
            KeychainLockedError the login is there and cannot be read
        RateLimitError          a limit of Cursor's was reached
            QueueFullError      our own waiting line is full
        AgentCrashError         the agent's process ended or broke its protocol  .status
            ProtocolVersionError    it speaks another version of the protocol
        SessionError            the agent answered a request with an error
        NetworkError            the agent cannot reach Cursor
        AgentNotFoundError      there is no agent to start                     .command
        AgentUnavailableError   no worker became ready in time
            QueueTimeoutError   all of them were at work for too long
        AgentTimeoutError       the agent did not answer in time               .phase  .seconds
        BacklogError            the reader of an answer fell too far behind
        InvalidOutputError      the answer is not in the format asked for      .violations
        ToolError               the agent and the caller's tools
            ToolsUnavailableError   the agent does not take them               .channel
            ToolChoiceError     no tool was called although one had to be
            ToolArgumentsError  the agent calls a tool with what it does not take  .violations
            ToolRoundsError     the agent calls tools without end

The names are those of the house's error table; what each means over HTTP is the server's business.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

#: What an operator is told wherever the CLI turns out not to be signed in.
SIGN_IN_HINT = (
    "Set CURSOR_API_KEY for the server, or run `agent login` as the user the server runs as; then restart."
)


class CursorpipeError(Exception):
    """Root of everything the core raises on purpose."""


class SettingsError(CursorpipeError):
    """A setting is wrong; the message names every variable that is."""


class InvalidRequestError(CursorpipeError):
    """The request asks for something that cannot be done.

    ``param`` names the offending member of the request, where one can be named.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownModelError(InvalidRequestError):
    """Cursor refuses the model; ``nearest`` are the ``known`` names most like it, best first."""

    def __init__(self, model: str, *, known: Iterable[str] = (), reason: str | None = None) -> None:
        self.model = model
        self.nearest = tuple(difflib.get_close_matches(model, list(known), n=3, cutoff=0.5))
        message = reason or f"The model '{model}' does not exist or you do not have access to it."
        if self.nearest:
            message += f" Did you mean {', '.join(self.nearest)}?"
        super().__init__(message, param="model")


class AgentError(CursorpipeError):
    """Root of what goes wrong on the agent's side.

    ``begun`` is true once the agent has shown any sign of work on the request: from then on a repeat may
    do things twice. ``retry_after`` is the number of seconds after which another try makes sense, where
    that is known. ``plain`` is the message without what a process said itself, which may be of the
    conversation: it is for logs.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, plain: str | None = None) -> None:
        super().__init__(message)
        self.begun = False
        self.retry_after = retry_after
        self.plain = plain or message

    def of_request(self, *, begun: bool) -> Self:
        """Return a copy that belongs to one request: the end of a process fails many with one error."""
        copy = type(self).__new__(type(self), *self.args)
        copy.__dict__.update(self.__dict__, begun=begun)
        return copy


class AuthenticationError(AgentError):
    """Cursor refuses the credentials, or there are none; the message tells the operator what to do.

    ``reason`` is the message without that.
    """

    def __init__(self, reason: str = "The Cursor CLI is not signed in.") -> None:
        super().__init__(f"{reason} {SIGN_IN_HINT}")
        self.reason = reason


class InvalidKeyError(AuthenticationError):
    """Cursor does not know the API key."""

    def __init__(self) -> None:
        super().__init__("Cursor refuses the API key: it is invalid.")


class KeychainLockedError(AuthenticationError):
    """The stored login is in a keychain of macOS that is locked."""

    def __init__(self) -> None:
        super().__init__("The macOS keychain that holds the login is locked: run `security unlock-keychain`.")


class RateLimitError(AgentError):
    """A limit of the Cursor account or its providers was reached."""


class QueueFullError(RateLimitError):
    """Too many requests are waiting already."""


class AgentCrashError(AgentError):
    """The agent's process ended, or broke its protocol, while it was needed.

    ``status`` is its exit status, if it ended and that is known.
    """

    def __init__(self, message: str, *, status: int | None = None, plain: str | None = None) -> None:
        super().__init__(message, plain=plain)
        self.status = status


class ProtocolVersionError(AgentCrashError):
    """The agent speaks another version of ACP."""


class SessionError(AgentError):
    """The agent answered a request, or ended a turn, with an error of its own."""


class NetworkError(AgentError):
    """The agent lost, or never had, its connection to Cursor."""


class AgentNotFoundError(AgentError):
    """There is no program to start under the configured name."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"The Cursor CLI '{command}' was not found. Install it from https://cursor.com/cli, or name it "
            "with CURSORPIPE_AGENT_BIN, or start the server with --demo to try it without."
        )
        self.command = command


class AgentUnavailableError(AgentError):
    """No worker became ready within the wait."""


class QueueTimeoutError(AgentUnavailableError):
    """The agents are there, and none had a place for the request within the wait."""


class AgentTimeoutError(AgentError):
    """The agent did not finish ``phase`` within ``seconds``."""

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"Agent {phase} timed out after {seconds:.1f}s.")
        self.phase = phase
        self.seconds = seconds


class BacklogError(AgentError):
    """The reader of an answer fell so far behind that its turn was ended to bound memory."""


class InvalidOutputError(AgentError):
    """The agent's answer is not in the format that was asked for, not even after it was told so."""

    def __init__(self, violations: Iterable[str]) -> None:
        self.violations = tuple(violations)
        super().__init__(f"The answer is not in the format asked for: {' '.join(self.violations)}")


class ToolError(AgentError):
    """Root of what goes wrong between the agent and its caller's tools."""


class ToolsUnavailableError(ToolError):
    """The agent does not ask for the tools that it is offered; ``channel`` says how it was tried last."""

    def __init__(self, channel: str) -> None:
        super().__init__(f"The agent does not take the tools it is offered (tried by {channel}).")
        self.channel = channel


class ToolChoiceError(ToolError):
    """The agent ended its turn without the call that was required, even after it was told so."""

    def __init__(self) -> None:
        super().__init__("The agent called no tool although one was required.")


class ToolArgumentsError(ToolError):
    """The agent calls a tool with arguments that its schema does not allow, even after it was told so."""

    def __init__(self, tool: str, violations: Iterable[str]) -> None:
        self.violations = tuple(violations)
        super().__init__(f"The agent's arguments for '{tool}' are not valid: {' '.join(self.violations)}")


class ToolRoundsError(ToolError):
    """The agent has called tools more often than a turn may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The agent has called tools {most} times in one turn, and still goes on.")
