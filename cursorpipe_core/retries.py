"""Which failures of a request that nobody has seen begin are worth another try."""

from __future__ import annotations

from cursorpipe_core.attempt import Attempt
from cursorpipe_core.completion import Backend
from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    NetworkError,
    SessionError,
)

#: Failures of one process or one moment: another try, elsewhere if there is an elsewhere, may do better.
_WORTH_A_RETRY = (AgentCrashError, AgentTimeoutError, SessionError, NetworkError)
#: Failures of ACP that print mode does not share: it needs no worker, and finds some logins that ACP
#: does not (CLI contract §4.2).
_WORTH_A_FALLBACK = (*_WORTH_A_RETRY, AgentUnavailableError, AuthenticationError)


def prepare_retry(attempt: Attempt, failure: AgentError, *, fall_back: bool) -> bool:
    """Choose how to try again, with ``fall_back`` in print mode; returns whether to."""
    if attempt.retried or attempt.seconds_left() <= 0:
        return False
    if isinstance(failure, AgentTimeoutError) and attempt.prompted:
        return False  # it may well be at work, silently
    attempt.retried = True
    falls_back = fall_back and attempt.backend is Backend.ACP
    if not isinstance(failure, _WORTH_A_FALLBACK if falls_back else _WORTH_A_RETRY):
        return False
    attempt.lead_to(Backend.SUBPROCESS if falls_back else attempt.backend)
    return True
