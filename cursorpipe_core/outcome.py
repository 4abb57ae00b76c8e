"""The judge of a turn: an answer, or an error that the CLI printed as one.

The CLI reports failures of its backend as ordinary text and then ends the turn normally (CLI contract
§4.9), or on stderr with exit status 1 (§5.4). Everything here is pure: texts and statuses go in,
verdicts come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cursorpipe_core.errors import (
    AgentCrashError,
    AuthenticationError,
    CursorpipeError,
    NetworkError,
    RateLimitError,
    SessionError,
    UnknownModelError,
)
from cursorpipe_core.jsonrpc import RpcError
from cursorpipe_core.process import describe_exit

#: JSON-RPC code with which an ACP agent says that a login is missing (ACP v1, authentication).
AUTH_REQUIRED = -32000

#: Text held back at most while it may still turn out to be an error; the longest known notice is a
#: fraction of it.
MAX_HELD = 4096
#: What is shown of the CLI's own words.
MAX_SHOWN = 300

#: A paragraph that is an error of the CLI's backend (CLI contract §4.9).
_ERROR = re.compile(
    r"Error: (?:"
    r"(?:Non)?RetriableError: |ActionRequiredError: |ConnectError: \[|You['’]ve hit your usage limit"
    r"|[A-Za-z]{1,2}: (?:\[|AI Model Not Found)"  # class names minified by the build
    r")"
)
#: The beginnings of the above, as far as they are fixed texts ...
_ERROR_HEADS = (
    "Error: RetriableError: ",
    "Error: NonRetriableError: ",
    "Error: ActionRequiredError: ",
    "Error: ConnectError: [",
    "Error: You've hit your usage limit",
    "Error: You’ve hit your usage limit",
)
#: ... and as far as they are not: a minified class name that has not come to its bracket yet.
_MINIFIED_BEGUN = re.compile(r"Error: [A-Za-z]{1,2}(?::(?: (?:AI[A-Za-z ]{0,16}|A)?)?)?\Z")

#: The usage-limit notice has several lines, perhaps several paragraphs, each of a known beginning.
_USAGE_NOTICE = re.compile(r"Error: You['’]ve hit your usage limit")
_USAGE_LINES = ("Get Cursor", "fallbackModel:", "spendLimit", "chatMessage:")

_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")


class HoldBack:
    """Lets an answer through as it comes, but keeps what may be an error paragraph until it is decided.

    The pieces returned, joined, are the text fed, byte for byte. A piece that does not end in such a
    paragraph is returned at once, so that an ordinary answer is never delayed; only white space before
    the first word waits for that word.
    """

    def __init__(self) -> None:
        self._held = ""
        self._nothing_shown = True
        # The line breaks that what follows stands behind; the beginning counts as a blank line.
        self._breaks = "\n\n"

    def feed(self, text: str) -> str:
        """Take the next piece; return what may be shown now."""
        if not self._breaks and not self._held and "\n" not in text:
            return text
        whole = self._held + text
        cut = _suspicious_from(self._breaks, whole)
        if self._nothing_shown and not whole[:cut].strip():
            cut = 0
        if len(whole) - cut > MAX_HELD:
            cut = len(whole)
        shown, self._held = whole[:cut], whole[cut:]
        if shown:
            self._nothing_shown = False
            self._breaks = "\n\n" if self._held else _trailing_breaks(self._breaks + shown)
        return shown

    def verdict(self) -> CursorpipeError | None:
        """Judge what is held, at the end of the turn; None: it is text, and ``rest`` returns it."""
        held = self._held.strip()
        return classify(held) if _ERROR.match(held) else None

    def rest(self) -> str:
        """Return what is held, and forget it."""
        rest, self._held = self._held, ""
        return rest


def _suspicious_from(breaks: str, whole: str) -> int:
    """Return the index from which ``whole``, behind line breaks, may be an error; its length: nowhere."""
    paragraphs = [found.end() - len(breaks) for found in _BLANK_LINE.finditer(breaks + whole)]
    for start in paragraphs:
        if _USAGE_NOTICE.match(whole, start):
            later = whole[start:].split("\n")[1:]
            if all(_may_become(_USAGE_LINES, line.strip()) for line in later):
                return start
    if paragraphs and _may_be_error(whole[paragraphs[-1] :]):
        return paragraphs[-1]
    return len(whole)


def _may_be_error(paragraph: str) -> bool:
    """Whether a paragraph is an error of the backend, or may become one as it grows."""
    if not paragraph:
        return False
    return bool(_ERROR.match(paragraph) or _MINIFIED_BEGUN.match(paragraph)) or _may_become(
        _ERROR_HEADS, paragraph
    )


def _may_become(heads: tuple[str, ...], text: str) -> bool:
    return any(text.startswith(head) or head.startswith(text) for head in heads)


def _trailing_breaks(text: str) -> str:
    return "\n" * min(2, text[len(text.rstrip()) :].count("\n"))


def classify(text: str) -> CursorpipeError:
    """Put an error text of the CLI, from whichever channel, into the tree (CLI contract §4.9, §5.4)."""
    for pattern, make in _CLASSES:
        found = pattern.search(text)
        if found is not None:
            return make(text, found)
    return SessionError(f"The agent failed: {_words(text)}")


def judge_exit(returncode: int, complaint: str, redact: Callable[[str], str] = str) -> CursorpipeError:
    """Judge a process that ended without a result, by its status and what it said on its way out.

    ``redact`` takes credentials out of text that is shown.
    """
    # A process that was killed said nothing about it: what stands on stderr is about something else.
    for pattern, make in _CLASSES if returncode >= 0 else ():
        found = pattern.search(complaint)
        if found is not None:
            return make(redact(complaint), found)
    last_line = redact(complaint).rpartition("\n")[2].strip()
    said = f": {_words(last_line)}" if last_line else "."
    return AgentCrashError(f"The agent ended unexpectedly ({describe_exit(returncode)}){said}")


def judge_rpc(error: RpcError, redact: Callable[[str], str] = str) -> CursorpipeError:
    """Judge an error answer of an ACP agent (CLI contract §4.2, §4.9); ``redact`` takes secrets out."""
    if error.code == AUTH_REQUIRED:
        return AuthenticationError()
    return classify(redact(error.text()))


def _words(text: str) -> str:
    """Return the beginning of a text of the CLI, on one line."""
    line = " ".join(text.removeprefix("Error: ").split())
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "…"


def _not_signed_in(text: str, _: re.Match[str]) -> CursorpipeError:
    if "API key is invalid" in text:
        return AuthenticationError("Cursor refuses the API key: it is invalid.")
    if "keychain" in text:
        return AuthenticationError(
            "The macOS keychain that holds the login is locked: run `security unlock-keychain`."
        )
    return AuthenticationError()


def _refused_model(text: str, found: re.Match[str]) -> CursorpipeError:
    del text
    listed = found["available"] or ""
    return UnknownModelError(found["model"], known=[name.strip(" .") for name in listed.split(",")])


def _unknown_model(text: str, found: re.Match[str]) -> CursorpipeError:
    return UnknownModelError(found["model"] or "", reason=f"Cursor does not serve this model: {_words(text)}")


def _limit(text: str, _: re.Match[str]) -> CursorpipeError:
    return RateLimitError(f"Cursor refuses for now: {_words(text)}", retry_after=_wait_named(text))


def _no_connection(text: str, _: re.Match[str]) -> CursorpipeError:
    return NetworkError(f"The agent cannot reach Cursor: {_words(text)}")


def _wait_named(text: str) -> float | None:
    """Return the seconds after which the text says to come back, if it does."""
    found = re.search(r"(?:in|after) (\d+) ?(s|sec|m|min|h|hour)", text)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2][0]] if found else None


#: What the CLI's texts mean, the first that matches; on substrings, as their wording changes by build.
_CLASSES: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], CursorpipeError]], ...] = (
    (
        re.compile(
            r"Authentication required|[Nn]ot (?:logged|signed) in|API key is invalid|loginDeepControl"
            r"|keychain is locked|\[unauthenticated\]"
        ),
        _not_signed_in,
    ),
    (
        re.compile(
            r"Cannot use this model: (?P<model>.+?)(?:\. Available models: (?P<available>.*))?$", re.MULTILINE
        ),
        _refused_model,
    ),
    (
        re.compile(r'Model (?:Blocked|Not Found|name is not valid)[^"]*(?:"(?P<model>[^"]*)")?'),
        _unknown_model,
    ),
    (
        re.compile(
            r"resource_exhausted|usage limit|rate limit|spend limit|requests limit|[Tt]oo many requests"
        ),
        _limit,
    ),
    (
        re.compile(
            r"\[(?:unavailable|aborted|deadline_exceeded)\]|getaddrinfo|EAI_AGAIN|ENOTFOUND|ECONNREFUSED"
            r"|ECONNRESET|ETIMEDOUT|EPIPE|Connection lost|WritableIterable is closed|ConnectError"
        ),
        _no_connection,
    ),
)
