"""The judge of a turn: an answer, or an error that the CLI printed as one.

The CLI reports failures of its backend as ordinary text and then ends the turn normally (CLI contract
§4.9), or on stderr with exit status 1 (§5.4). Everything here is pure: texts and statuses go in,
verdicts come out.

Text of an answer is an error if its last paragraph is, from the first character on, unindented::

    paragraph = line *(newline (line / trace))    trace = "    at ..."
              / notice
    line      = "Error: " named ": " words
              / "Error: " [(minified / "ConnectError") ": "] "[" code "]" [" " words]
              / "Error: " minified ": " fixed [words]
    named     = "RetriableError" / "NonRetriableError" / "ActionRequiredError"
    minified  = one or two letters                code = a code of Connect
    notice    = "Error: You've hit your usage limit", and the lines and paragraphs known to follow it

(§4.9 and the issues cited there). It is narrower than the pattern of §4.9 where the recorded texts are:
they stand on one line each, a minified class comes before a code or a fixed text, and the message
"Error", which Connect puts where there is none, has nothing behind it. Hence a line of prose, the end of
a code fence or another paragraph behind such a line shows that the answer only quotes it. Prose *on* such
a line ("Error: T: [unavailable] is sent when ...") cannot be told from a message ("[unavailable] could
not resolve host"); there the contract decides, and it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cursorpipe_core.errors import (
    AgentCrashError,
    AgentError,
    AuthenticationError,
    CursorpipeError,
    InvalidKeyError,
    KeychainLockedError,
    NetworkError,
    RateLimitError,
    SessionError,
    UnknownModelError,
)
from cursorpipe_core.jsonrpc import RpcError
from cursorpipe_core.process import describe_exit
from cursorpipe_core.waits import named_wait

#: JSON-RPC code with which an ACP agent says that a login is missing (ACP v1, authentication).
AUTH_REQUIRED = -32000

#: Text held back at most while it may still turn out to be an error; the longest known notice is a
#: fraction of it.
MAX_HELD = 4096
#: What is shown of the CLI's own words.
MAX_SHOWN = 300

_NAMED = ("RetriableError: ", "NonRetriableError: ", "ActionRequiredError: ")
_CODES = (
    *("canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists"),
    *("permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range"),
    *("unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"),
)
#: Messages without a code that follow a class whose name the build has minified.
_FIXED = (
    "AI Model Not Found",
    "WritableIterable is closed",
    "Connection stalled",
    "Stream ended without turnEnded",
)
_NOT_SIGNED_IN = "Authentication required. Please run "
_USAGE = ("You've hit your usage limit", "You’ve hit your usage limit")
#: A line of an error. The last alternative is the notice, which may still be growing.
_LINE = re.compile(
    r"Error: (?:"
    rf"(?:{'|'.join(_NAMED)})(?!\[\w+\] Error\b\s*[^:(\s])\S"
    rf"|(?:ConnectError: |[A-Za-z]{{1,2}}: )?\[(?:{'|'.join(_CODES)})\](?!\S)(?! Error\b\s*[^:(\s])"
    rf"|[A-Za-z]{{1,2}}: (?:{'|'.join(_FIXED)})"
    rf"|{re.escape(_NOT_SIGNED_IN)}"
    rf"|(?:{'|'.join(_USAGE)})(?:[.!:]|\s+[A-Z]|\s+for\b|(?:\s+fo?|\s*)\Z)"
    r")"
)
#: Its beginnings, the class left out where it is not named.
_HEADS = tuple(
    f"Error: {head}"
    for head in (
        *_NAMED,
        "ConnectError: ",
        *(f"[{code}]" for code in _CODES),
        *_FIXED,
        _NOT_SIGNED_IN,
        *_USAGE,
    )
)
_CLASS = re.compile(r"Error: (?:ConnectError|[A-Za-z]{1,2}): ")
_MINIFIED_BEGUN = re.compile(r"Error: [A-Za-z]{1,2}:?\Z")
_TRACE = re.compile(r"\s+(?:at .*|at?)?\Z")

#: The notice has several lines, perhaps several paragraphs, each of a known beginning; a terminal indents
#: them, and its `chatMessage: *...*` may have any number of lines (cursor/cursor#3703, unsnooze#19).
_NOTICE = tuple(f"Error: {head}" for head in _USAGE)
_NOTICE_LINES = (
    *("Get Cursor", "You've saved", "Switch to", "Your usage limits"),
    *("fallbackModel:", "spendLimit", "chatMessage:"),
)
_CHAT_MESSAGE = "chatMessage: *"

#: Some failures come without a class (forum.cursor.com/t/163787). Any of these could be an answer, so
#: they count only as the whole turn, behind the blank line that the CLI puts before its errors.
_BANNERS = (
    "Please sign in to continue",
    "Upgrade your plan to continue",
    "Add a payment method to continue",
    "Check your settings to continue",
)

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
#: Columns of indentation that make a block of code: a text that stands there is quoted.
_CODE_INDENT = 4


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
        if self._nothing_shown and (not whole[:cut].strip() or _may_be_banner(whole)):
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
        if _is_error(held) or (held in _BANNERS and _may_be_banner(self._held)):
            return classify(held)
        return None

    def rest(self) -> str:
        """Return what is held, and forget it."""
        rest, self._held = self._held, ""
        return rest


def _suspicious_from(breaks: str, whole: str) -> int:
    """Return the index from which ``whole``, behind line breaks, may be an error; its length: nowhere."""
    text = breaks + whole
    paragraphs = [
        found.end() - len(breaks)
        for found in _BLANK_LINE.finditer(text)
        # A blank line at the end begins nothing yet, and may be the last of an error.
        if found.end() < len(text)
        and len(found[0].rpartition("\n")[2].expandtabs(_CODE_INDENT)) < _CODE_INDENT
    ]
    for start in paragraphs:
        if len(whole) - start > MAX_HELD:
            continue
        if whole.startswith(_NOTICE, start) and _may_be_error(whole[start:]):
            return start
    if paragraphs and _may_be_error(whole[paragraphs[-1] :]):
        return paragraphs[-1]
    return len(whole)


def _is_error(text: str) -> bool:
    """Whether a text is an error of the backend as it stands."""
    first, *others = text.split("\n")
    if not _LINE.match(first.rstrip()):
        return False
    return _continue_notice(others) if first.startswith(_NOTICE) else all(map(_continues, others))


def _may_be_error(text: str) -> bool:
    """Whether a text is an error of the backend, or may become one as it grows."""
    before, newline, last = text.rpartition("\n")
    return bool(text) and (_is_error(text) or (_may_be_line(last) and (not newline or _is_error(before))))


def _may_be_line(line: str) -> bool:
    """Whether a line is one of an error, or may become one as it grows."""
    if _LINE.match(line) or _MINIFIED_BEGUN.match(line):
        return True
    plain = _CLASS.sub("Error: ", line, count=1)
    return any(head.startswith(plain) for head in _HEADS)


def _continues(line: str) -> bool:
    """Whether a whole line may stand behind the first of an error."""
    return not line.strip() or bool(_LINE.match(line.rstrip()) or _TRACE.match(line))


def _continue_notice(lines: list[str]) -> bool:
    """Whether lines may stand behind the first of the usage-limit notice."""
    quoting = False
    for line in lines:
        words = line.strip()
        if not quoting:
            if words and not line.startswith("  ") and not _may_become(_NOTICE_LINES, words):
                return False
            quoting = words.startswith(_CHAT_MESSAGE)
            words = words.removeprefix(_CHAT_MESSAGE)
        quoting = quoting and not words.endswith("*")
    return True


def _may_be_banner(text: str) -> bool:
    words = text.lstrip()
    before = text[: len(text) - len(words)]
    return before.count("\n") >= 2 and any(banner.startswith(words.rstrip()) for banner in _BANNERS)


def _may_become(heads: tuple[str, ...], text: str) -> bool:
    return any(text.startswith(head) or head.startswith(text) for head in heads)


def _trailing_breaks(text: str) -> str:
    """Return the line breaks that a text ends in, two at most, and the indentation behind them."""
    end = text[len(text.rstrip()) :]
    breaks, newline, indentation = end.rpartition("\n")
    return "\n" * min(2, breaks.count("\n") + 1) + indentation[:_CODE_INDENT] if newline else ""


def classify(text: str) -> CursorpipeError:
    """Put an error text of the CLI, from whichever channel, into the tree (CLI contract §4.9, §5.4)."""
    for pattern, make in _CLASSES:
        found = pattern.search(text)
        if found is not None:
            return make(text, found)
    return SessionError(f"The agent failed: {_words(text)}")


def judge_exit(
    returncode: int, complaint: str, redact: Callable[[str], str] = str, *, quote: bool = True
) -> CursorpipeError:
    """Judge a process that ended without a result, by its status and what it said on its way out.

    ``redact`` takes credentials out of text that is shown. Without ``quote`` nothing is shown but words of
    the CLI that are known: what else it said may be of a conversation that is not everybody's.
    """
    # A process that was killed said nothing about it: what stands on stderr is about something else.
    for pattern, make in _CLASSES if returncode >= 0 else ():
        found = pattern.search(complaint)
        if found is not None:
            error = make(redact(complaint if quote else found[0]), found)
            if isinstance(error, AgentError):
                error.plain = str(make(redact(found[0]), found))
            return error
    last_line = redact(complaint).rpartition("\n")[2].strip()
    if returncode >= 0 and _BACKEND.search(complaint):
        plain = "The agent failed."
        return SessionError(f"The agent failed: {_words(last_line)}" if quote else plain, plain=plain)
    ended = f"The agent ended unexpectedly ({describe_exit(returncode)})"
    said = f": {_words(last_line)}" if last_line and quote else "."
    return AgentCrashError(f"{ended}{said}", status=returncode, plain=f"{ended}.")


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
        return InvalidKeyError()
    if "keychain" in text:
        return KeychainLockedError()
    return AuthenticationError()


def _refused_model(text: str, found: re.Match[str]) -> CursorpipeError:
    del text
    listed = found["available"] or ""
    return UnknownModelError(found["model"], known=[name.strip(" .") for name in listed.split(",")])


def _unknown_model(text: str, found: re.Match[str]) -> CursorpipeError:
    return UnknownModelError(found["model"] or "", reason=f"Cursor does not serve this model: {_words(text)}")


def _limit(text: str, _: re.Match[str]) -> CursorpipeError:
    return RateLimitError(f"Cursor refuses for now: {_words(text)}", retry_after=named_wait(text))


def _no_connection(text: str, _: re.Match[str]) -> CursorpipeError:
    return NetworkError(f"The agent cannot reach Cursor: {_words(text)}")


#: A failure of the backend in the words of print mode, which leaves the first `Error:` away (§5.4).
_BACKEND = re.compile(rf"\b(?:{'|'.join(_NAMED)}|ConnectError: )|\[(?:{'|'.join(_CODES)})\]")

#: What the CLI's texts mean, the first that matches; on substrings, as their wording changes by build.
_CLASSES: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], CursorpipeError]], ...] = (
    (
        re.compile(
            r"Authentication required|[Nn]ot (?:logged|signed) in|API key is invalid|loginDeepControl"
            r"|keychain is locked|\[unauthenticated\]|Please sign in"
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
            r"resource_exhausted|(?:usage|rate|[Ss]pend|requests|monthly|hard) limit|[Tt]oo many requests"
            r"|out of usage|high demand|slow pool|Upgrade your plan|payment method"
        ),
        _limit,
    ),
    (
        re.compile(
            r"\[(?:unavailable|aborted|deadline_exceeded|canceled)\]|Connection (?:lost|stalled)"
            r"|WritableIterable is closed|Stream ended without|NGHTTP2|(?i:http/2 stream)|PING timed out"
            r"|SSL routines|TLS connection|socket hang up|Service Unavailable|Bad Gateway|HTTP 50[234]"
            r"|getaddrinfo|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ECONNABORTED|ETIMEDOUT|EPIPE"
            r"|EHOSTUNREACH|ENETUNREACH"
        ),
        _no_connection,
    ),
)
