"""The judge, held to the texts that the CLI is known to print, and to answers that look like them."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core.completion import FinishReason, TextDelta
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
from cursorpipe_core.outcome import HoldBack, classify, judge_exit, judge_rpc
from cursorpipe_core.stream_json import StreamReader
from cursorpipe_core.turn import Clocks, Turn
from cursorpipe_core.waits import MAX_WAIT_S

CLOCKS = Clocks(first_event_s=5, idle_s=5, total_s=5)


class Recorded(NamedTuple):
    """A failure in the CLI's words, what it is, and who recorded it (§: the CLI contract)."""

    id: str
    text: str
    kind: type[CursorpipeError]
    source: str
    retry_after: float | None = None


#: As a terminal shows it: indented, and broken where the window ends.
NOTICE_ON_A_TERMINAL = """\
Error: You've hit your usage limit
  Get Cursor Pro for more Agent usage, unlimited Tab, and more.
  fallbackModel:
  spendLimitHit: false
  chatMessage: *You've hit your free requests limit. [Upgrade to
  Pro](https://www.cursor.com/api/auth/checkoutDeepControl?tier=pro) for more usage, frontier models, and
  more. Your usage limits will reset when your monthly cycle ends on 11/17/2025.*
  spendLimits: [50,100,200]
"""
NOTICE = """\
Error: You've hit your usage limit
Get Cursor Pro for more Agent usage, unlimited Tab, and more.
fallbackModel: auto
spendLimitHit: false
chatMessage: *You've hit your free requests limit.*
spendLimits: [50,100,200]"""
NOTICE_BROKEN = """\
Error: You've hit your usage limit
Get Cursor Pro for more Agent usage, unlimited Tab, and more.
fallbackModel:
spendLimitHit: false
chatMessage: *You've hit your free requests limit. Your usage limits will
reset when your monthly cycle ends on 10/2/2026.*
spendLimits: [50,100,200]"""
NOTICE_OF_A_MODEL = """\
Error: You've hit your usage limit
You've saved $766 on API model usage this month with Ultra. Switch to a different model or set a Spend Limit.
fallbackModel:
spendLimitHit: true
chatMessage: *You've saved $766 on API model usage this month with Ultra.*
spendLimits: [20,30,40]"""
NOTICE_OF_A_MODEL_ON_A_TERMINAL = """\
Error: You've hit your usage limit
  You've saved $766 on API model usage this month with Ultra. Switch to a different model or
  set a Spend Limit to continue with Sonnet. Your usage
  limits will reset when your monthly cycle ends on 10/17/2026.
  fallbackModel:
  spendLimitHit: true
  chatMessage: *You've saved $766 on API model usage this month with Ultra.*
  spendLimits: [20,30,40]
"""
CYCLE_ENDS = "Your usage limits will reset when your monthly cycle ends on"
SPENT_FOR_A_MODEL = (
    "Error: ActionRequiredError: You've hit your usage limit for Opus You've saved $50 on API model usage "
    f"this month with Pro. Switch to a different model or set a Spend Limit. {CYCLE_ENDS} 12/30/2999."
)
NO_TLS = "Client network socket disconnected before secure TLS connection was established"
BAD_MAC = (
    "COD8F3EE01000000:error:0A000119:SSL routines:tls_get_more_records:decryption failed or bad record mac:"
    "../deps/openssl/openssl/ssl/record/methods/tls_common.c:870:"
)

#: Failures that come in the text of an answer.
RECORDED = [
    Recorded("exhausted", "Error: RetriableError: [resource_exhausted] Error", RateLimitError, "§4.9"),
    Recorded("exhausted-s", "Error: S: [resource_exhausted] Error", RateLimitError, "§4.9, zed#54735"),
    Recorded("exhausted-t", "Error: T: [resource_exhausted] Error", RateLimitError, "§4.9, hapi#878"),
    Recorded("exhausted-bare", "Error: T: [resource_exhausted]", RateLimitError, "hapi#878"),
    Recorded("exhausted-connect", "Error: ConnectError: [resource_exhausted] Error", RateLimitError, "§4.9"),
    Recorded(
        "exhausted-wait",
        "Error: RetriableError: [resource_exhausted] Too many requests, try again in 30 seconds",
        RateLimitError,
        "§4.9",
        30,
    ),
    Recorded(
        "dns",
        "Error: ConnectError: [unavailable] getaddrinfo ENOTFOUND api2.cursor.sh",
        NetworkError,
        "§4.9, bb#3668",
    ),
    Recorded("dns-again", "Error: [unavailable] getaddrinfo EAI_AGAIN api2.cursor.sh", NetworkError, "§5.4"),
    Recorded(
        "dns-words",
        "Error: ConnectError: [unavailable] could not resolve host api2.cursor.sh",
        NetworkError,
        "§4.9",
    ),
    Recorded("refused", "Error: T: [unavailable] connect ECONNREFUSED", NetworkError, "§4.9, t3#10337"),
    Recorded("ping", "Error: RetriableError: [unavailable] PING timed out", NetworkError, "t3#12940"),
    Recorded(
        "cancel",
        "Error: RetriableError: [canceled] http/2 stream closed with error code CANCEL (0x8)",
        NetworkError,
        "t3#12374",
    ),
    Recorded("cancel-t", "Error: T: [canceled] Error", NetworkError, "hapi#878, hapi#1522"),
    Recorded(
        "cancel-capital",
        "Error: RetriableError: HTTP/2 stream closed with error code CANCEL (0x8)",
        NetworkError,
        "kandev#3765",
    ),
    Recorded(
        "refused-stream",
        "Error: ConnectError: [internal] Stream closed with error code NGHTTP2_REFUSED_STREAM",
        NetworkError,
        "§4.9, oh-my-pi#8516",
    ),
    Recorded("no-tls", f"Error: RetriableError: [aborted] {NO_TLS}", NetworkError, "t3#12940"),
    Recorded("bad-mac", f"Error: T: [internal] {BAD_MAC}", NetworkError, "§4.9"),
    Recorded("aborted", "Error: ConnectError: [aborted] aborted", NetworkError, "t3#10337"),
    Recorded("deadline", "Error: ConnectError: [deadline_exceeded] timed out", NetworkError, "t3#10337"),
    Recorded("closed", "Error: RetriableError: WritableIterable is closed", NetworkError, "§4.7, t3#7830"),
    Recorded("closed-t", "Error: T: WritableIterable is closed", NetworkError, "hapi#878"),
    Recorded("stalled", "Error: RetriableError: Connection stalled", NetworkError, "bb#3668, hapi#878"),
    Recorded("stalled-t", "Error: T: Connection stalled", NetworkError, "hapi#878"),
    Recorded(
        "no-end",
        "Error: RetriableError: Stream ended without turnEnded — connection likely dropped mid-stream",
        NetworkError,
        "bb#3668",
    ),
    Recorded("etimedout", "Error: RetriableError: [unavailable] read ETIMEDOUT", NetworkError, "bb#3668"),
    Recorded("bad-gateway", "Error: RetriableError: [unavailable] HTTP 502", NetworkError, "bb#3668"),
    Recorded("no-service", "Error: RetriableError: Service Unavailable", NetworkError, "bb#3668"),
    Recorded(
        "with-trace",
        "Error: ConnectError: [unavailable] connection lost\n    at prompt (agent.js:1:1)",
        NetworkError,
        "t3#10337",
    ),
    Recorded(
        "twice",
        "Error: RetriableError: [canceled] http/2 stream closed with error code CANCEL (0x8)\n"
        "Error: RetriableError: [unavailable] Error",
        NetworkError,
        "t3#12374",
    ),
    Recorded(
        "max-retries",
        "Error: RetriableError: [internal] Failed to run step, exceeded max retries",
        SessionError,
        "t3#10480",
    ),
    Recorded("bad-argument", "Error: RetriableError: [invalid_argument] Error", SessionError, "hapi#1522"),
    Recorded(
        "too-long",
        "Error: NonRetriableError: [invalid_argument] conversation too long",
        SessionError,
        "§4.9, bb#3668",
    ),
    Recorded(
        "region",
        "Error: NonRetriableError: [permission_denied] Cursor is not available in your region.",
        SessionError,
        "§4.9",
    ),
    Recorded(
        "spent",
        "Error: ActionRequiredError: You've reached your usage limit. Upgrade to continue.",
        RateLimitError,
        "§4.9",
    ),
    Recorded("out-of-usage", "Error: ActionRequiredError: You're out of usage.", RateLimitError, "§5.4"),
    Recorded("spent-model", SPENT_FOR_A_MODEL, RateLimitError, "§5.4", MAX_WAIT_S),
    Recorded(
        "blocked",
        "Error: ActionRequiredError: Model Blocked Choose another one or ask your admin to enable it.",
        UnknownModelError,
        "§4.9",
    ),
    Recorded(
        "no-model", 'Error: I: AI Model Not Found Model name is not valid: "x"', UnknownModelError, "§4.9"
    ),
    Recorded(
        "no-login",
        "Error: Authentication required. Please run 'agent login' first, or set CURSOR_API_KEY environment "
        "variable.",
        AuthenticationError,
        "§5.4",
    ),
    Recorded(
        "key-refused",
        "Error: [unauthenticated] Backend rejected authentication. Verify this is a User API Key.",
        AuthenticationError,
        "forum 163218",
    ),
    Recorded(
        "idle-login", "Error: ConnectError: [unauthenticated] Error", AuthenticationError, "forum 163819"
    ),
    Recorded("limit", "Error: You've hit your usage limit", RateLimitError, "§4.9, cursor#3703"),
    Recorded("limit-curly", "Error: You’ve hit your usage limit", RateLimitError, "§4.9"),
    Recorded(
        "limit-date",
        f"Error: You've hit your usage limit. {CYCLE_ENDS} 12/30/2999.",
        RateLimitError,
        "cursor-vip#520",
        MAX_WAIT_S,
    ),
    Recorded("notice", NOTICE, RateLimitError, "§4.9, cursor#3703"),
    Recorded(
        "notice-paragraphs", NOTICE.replace("\nfallback", "\n\nfallback"), RateLimitError, "§4.9, cursor#3703"
    ),
    Recorded("notice-terminal", NOTICE_ON_A_TERMINAL, RateLimitError, "cursor#3703"),
    Recorded("notice-broken", NOTICE_BROKEN, RateLimitError, "unsnooze#19"),
    Recorded("notice-model", NOTICE_OF_A_MODEL, RateLimitError, "§4.9, cursor#3703"),
    Recorded("notice-model-terminal", NOTICE_OF_A_MODEL_ON_A_TERMINAL, RateLimitError, "cursor#3703"),
    Recorded("notice-crlf", NOTICE.replace("\n", "\r\n"), RateLimitError, "§4.9, on Windows"),
]

#: Failures that are a process's last words, or an answer of JSON-RPC, and never text.
SAID_APART = [
    Recorded(
        "invalid-key",
        "⚠ Warning: The provided API key is invalid.\n"
        "The API key was loaded from the CURSOR_API_KEY environment variable.",
        InvalidKeyError,
        "§5.4, babysitter#562",
    ),
    Recorded(
        "wrong-model",
        "Cannot use this model: x. Available models: auto, y",
        UnknownModelError,
        "§5.4, hapi#1197",
    ),
    Recorded(
        "lost",
        "Connection lost to https://agentn.global.api5.cursor.sh attempts 1-3 failed",
        NetworkError,
        "§5.4",
    ),
    Recorded(
        "keychain",
        "Your macOS login keychain is locked.\nRun security unlock-keychain and try again.",
        KeychainLockedError,
        "§5.4",
    ),
    Recorded(
        "login-page",
        "Failed to open browser for login. Please visit: https://cursor.com/loginDeepControl?c=1",
        AuthenticationError,
        "§4.9, t3#7245",
    ),
]

#: Failures without a class (forum 163787).
BANNERS = [
    ("Please sign in to continue", AuthenticationError),
    ("Upgrade your plan to continue", RateLimitError),
    ("Add a payment method to continue", RateLimitError),
    ("Check your settings to continue", SessionError),
]

#: Answers, every one of them.
COUNTER_EXAMPLES = [
    # They begin with "Error:".
    "Error:",
    "Errors happen.",
    "Error: is the first word of this sentence.",
    "Error: I think you forgot a semicolon.",
    "Error: A: the first option. B: the second.",
    "Error: A: [first] the label of the option.",
    "Error: AI models can be wrong, so check the answer.",
    "Error: ENOENT: no such file or directory, open 'x'",
    "Error: Connection stalled because the proxy buffers the stream.",
    "Error: Authentication required is what a 401 says.",
    "Error: [E0382] borrow of moved value: `x` is rustc's, and so is [unavailable].",
    "Error: ConnectError: [Errno 111] Connection refused\n\nis how httpx reports it.",
    "Error: ConnectError: [Errno 11001] getaddrinfo failed",
    "Error: ConnectError: means that the server could not be reached.",
    "Error: no\n\n\n",
    # They stop where an error could have begun.
    "Error: RetriableError",
    "Error: RetriableError: ",
    "Error: ConnectError: ",
    "Error: T: [unavail",
    "Error: You've",
    "See below.\n\nError: T:",
    # They explain an error that they begin with.
    "Error: RetriableError: [resource_exhausted] Error means that the quota is spent.",
    "Error: S: [resource_exhausted] Error, as the CLI prints it, stands for a spent quota.",
    "Error: T: [unavailable], with a bracket, is Connect's code 14.",
    "Error: RetriableError: [resource_exhausted] Error\nThis means that the provider has no capacity.",
    "Error: RetriableError: [resource_exhausted] Error\n\nThis means that the provider has no capacity.",
    "Error: T: [unavailable] getaddrinfo ENOTFOUND api2.cursor.sh\n- Check the DNS.\n- Check the proxy.",
    "Error: ActionRequiredError: You've reached your usage limit.\n\n1. Upgrade.\n2. Or wait.",
    "Error: ConnectError: [unavailable] x\n    at prompt (agent.js:1:1)\nis a stack trace.",
    "Error: You've hit your usage limit is what Cursor says when the plan is used up.",
    "Error: You've hit your usage limit\n\nis what Cursor says when the plan is used up.",
    "Error: You've hit your usage limit\nGet Cursor Pro for more.\n\nThat is the whole notice.",
    "Error: WritableIterable is closed\n\nThe stream was ended twice; call `end()` once.",
    "Error: RetriableError: Connection stalled\n\n---\n\nA proxy between you and Cursor holds the stream.",
    # They quote it in the middle of a line or of a paragraph.
    "Here it is:\nError: ConnectError: [unavailable] x",
    "The last line of the log is\nError: RetriableError: [resource_exhausted] Error",
    'It printed "Error: RetriableError: [resource_exhausted] Error".',
    "You see `Error: T: [unavailable] Error` when the network is gone.",
    "`Error: ConnectError: [unavailable] x`",
    '"Error: ConnectError: [unavailable] x"',
    "**Error: ConnectError: [unavailable] x**",
    "# Error: S: [internal] Error",
    "1. Error: S: [internal] Error",
    "- Error: RetriableError: [resource_exhausted] Error\n- Error: T: [unavailable] Error",
    "| Text | Meaning |\n|---|---|\n| Error: T: [unavailable] Error | no network |",
    "> Error: ConnectError: [unavailable] x",
    "The log says\n\n> Error: ConnectError: [unavailable] x\n> Error: T: [unavailable] y",
    # They show it as code.
    "```\nError: RetriableError: [resource_exhausted] Error\n```",
    "The whole output:\n\n```\n\nError: RetriableError: [resource_exhausted] Error\n```",
    "```text\nstarting\n\nError: You've hit your usage limit\nGet Cursor Pro\n```\n",
    "~~~\nfirst\n\nError: T: [unavailable] Error\n~~~",
    "Your log says:\n\n    Error: RetriableError: [resource_exhausted] Error",
    "Your log says:\n\n\tError: RetriableError: [resource_exhausted] Error",
    "    Error: T: [unavailable] Error",
    "\n\n    Error: T: [unavailable] Error\n    Error: T: [unavailable] Error",
    "```python\nraise ConnectError('[unavailable]')\n\nError: T: [unavailable] x\n```\n\nThat is all.",
    # They are logs and other programs' words.
    "Log:\n\n2026-01-02 03:04:05 Error: T: [unavailable] Error\n2026-01-02 03:04:06 retrying",
    "Log:\n\nError: T: [unavailable] Error\n2026-01-02 03:04:06 retrying",
    "RetriableError: [resource_exhausted] Error",
    "[unavailable] could not resolve host",
    "[unavailable] is a code of Connect; [canceled] is another.",
    "T: [unavailable] is a minified class with its code.",
    "ConnectError is the one class of error that Connect clients throw.",
    "RESOURCE_EXHAUSTED (8): the caller has used up a quota.",
    "429 Too Many Requests\n\nRetry-After: 12",
    "error: RetriableError: [resource_exhausted] Error",
    "ERROR: T: [unavailable] Error",
    "Traceback (most recent call last):\n\nValueError: T: [unavailable] Error",
    "You've hit your usage limit",
    "spendLimitHit: false\n\nfallbackModel: auto",
    # They are in other languages.
    "Fehler: RetriableError: [resource_exhausted] heißt, dass das Kontingent aufgebraucht ist.",
    "Error: RetriableError: [resource_exhausted] Error\nbedeutet, dass das Kontingent aufgebraucht ist.",
    "Error: S: [resource_exhausted] Error – c'est-à-dire que le quota est épuisé.",
    "错误：Error: RetriableError: [resource_exhausted] Error 表示配额已用完。",
    "Error: RetriableError: [resource_exhausted] Error 表示配额已用完。",
    "エラー\n\nError: T: [unavailable] Error\n\nこれは接続できないという意味です。",
    # They are what a banner says, or more.
    "Please sign in to continue",
    "Upgrade your plan to continue",
    "The button says:\n\nPlease sign in to continue",
    "\n\nPlease sign in to continue.",
    "\n\nPlease sign in to continue\n\nis the text of the button.",
    # They come with white space.
    "The log says\n\nError: RetriableError: [resource_exhausted] Error\n\nwhich means: quota spent.",
    "   leading space",
    "\n\nHello",
]


def split(text: str, seed: int) -> list[str]:
    """Cut a text into pieces of any size, or into single characters."""
    if seed == 0:
        return [text]
    if seed == 1:
        return list(text)
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(len(text)), k=min(len(text) - 1, 5)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def run(pieces: list[str]) -> tuple[str, HoldBack]:
    hold_back = HoldBack()
    return "".join(map(hold_back.feed, pieces)), hold_back


async def turn(mode: str, pieces: list[str]) -> tuple[str, CursorpipeError | None]:
    """Run the pieces through a turn that the agent ends normally; return what a client gets."""
    turn = Turn(prompt_bytes=4, clocks=CLOCKS, left_s=5)
    if mode == "acp":
        for piece in pieces:
            turn.text(piece)
        turn.finish(FinishReason.STOP)
    else:
        reader = StreamReader(turn, asyncio.Event())
        said = [
            {
                "type": "assistant",
                "timestamp_ms": 1,
                "message": {"content": [{"type": "text", "text": piece}]},
            }
            for piece in pieces
        ]
        result = {"type": "result", "subtype": "success", "is_error": False, "result": "".join(pieces)}
        reader.feed(b"".join(orjson.dumps(event) + b"\n" for event in [*said, result]))
    shown = ""
    try:
        while batch := await turn.read():
            shown += "".join(event.text for event in batch if isinstance(event, TextDelta))
    except CursorpipeError as exc:
        return shown, exc
    finally:
        turn.close()
    return shown, None


def in_words_of_stderr(recorded: Recorded) -> str:
    """Return a text as print mode says it: without the first ``Error:`` of a class name (§5.4)."""
    named = recorded.text.startswith(("Error: [", "Error: You", "Error: Auth"))
    return recorded.text if named else recorded.text.removeprefix("Error: ")


def assert_is(error: CursorpipeError | None, recorded: Recorded) -> None:
    assert type(error) is recorded.kind
    if recorded.retry_after is not None:
        assert isinstance(error, AgentError)
        assert error.retry_after == recorded.retry_after


each_recorded = pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.id)


def test_the_tables_are_as_long_as_promised() -> None:
    assert len({recorded.text for recorded in RECORDED}) >= 25
    assert len(set(COUNTER_EXAMPLES)) >= 40


@pytest.mark.parametrize("seed", range(4), ids=["whole", "characters", "pieces", "other-pieces"])
@pytest.mark.parametrize("before", ["", "A partial answer.", "Two\n\nparagraphs", "Line\n", "```\ncode"])
@pytest.mark.parametrize("mode", ["acp", "print"])
@each_recorded
async def test_an_error_that_comes_as_text_is_seen_and_does_not_leak(
    recorded: Recorded, mode: str, before: str, seed: int
) -> None:
    shown, error = await turn(mode, [before, *split("\n\n" + recorded.text, seed)])
    assert_is(error, recorded)
    assert shown.strip() == before.strip()


@each_recorded
def test_an_error_split_anywhere_is_an_error(recorded: Recorded) -> None:
    text = "\n\n" + recorded.text
    for cut in range(1, len(text)):
        shown, hold_back = run([text[:cut], text[cut:]])
        assert shown == ""
        assert type(hold_back.verdict()) is recorded.kind


@pytest.mark.parametrize("before", ["", "(node:1) ExperimentalWarning: SQLite\n"])
@pytest.mark.parametrize("recorded", [*RECORDED, *SAID_APART], ids=lambda recorded: recorded.id)
def test_a_process_that_fails_is_judged_by_the_same_texts(recorded: Recorded, before: str) -> None:
    assert_is(judge_exit(1, before + in_words_of_stderr(recorded)), recorded)


@pytest.mark.parametrize("recorded", [*RECORDED, *SAID_APART], ids=lambda recorded: recorded.id)
def test_an_error_answer_of_the_agent_is_judged_by_the_same_texts(recorded: Recorded) -> None:
    assert_is(judge_rpc(RpcError(-32603, "Internal error", {"message": recorded.text})), recorded)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["acp", "print"])
@pytest.mark.parametrize(("text", "kind"), BANNERS)
async def test_a_banner_that_is_the_whole_turn_is_an_error(
    text: str, kind: type[CursorpipeError], mode: str, seed: int
) -> None:
    shown, error = await turn(mode, split("\n\n" + text, seed))
    assert type(error) is kind
    assert shown == ""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", ["acp", "print"])
@pytest.mark.parametrize("text", COUNTER_EXAMPLES)
async def test_an_answer_that_talks_about_errors_is_an_answer_byte_for_byte(
    text: str, mode: str, seed: int
) -> None:
    assert await turn(mode, split(text, seed)) == (text, None)


@pytest.mark.parametrize("text", COUNTER_EXAMPLES)
def test_an_answer_split_anywhere_is_an_answer(text: str) -> None:
    for cut in range(1, len(text)):
        shown, hold_back = run([text[:cut], text[cut:]])
        assert hold_back.verdict() is None
        assert shown + hold_back.rest() == text


@pytest.mark.parametrize("recorded", [*RECORDED, *SAID_APART], ids=lambda recorded: recorded.id)
def test_an_answer_that_goes_on_after_an_error_is_an_answer(recorded: Recorded) -> None:
    text = f"{recorded.text}\n\nThat is what it said."
    for pieces in ([text], list(text)):
        shown, hold_back = run(pieces)
        assert hold_back.verdict() is None
        assert shown + hold_back.rest() == text


@pytest.mark.parametrize("end", ["\n", "\n\n", "\n\n ", "\n\n    ", "\n \n\t\n"])
def test_what_stands_behind_an_error_and_is_blank_is_part_of_it(end: str) -> None:
    text = f"Error: RetriableError: Connection stalled{end}"
    for pieces in ([text], list(text)):
        shown, hold_back = run(pieces)
        assert not shown
        assert isinstance(hold_back.verdict(), NetworkError)


@given(
    st.lists(
        st.sampled_from([recorded.text for recorded in RECORDED])
        | st.sampled_from(
            ["\n\n", "\n", "    ", "Error: ", "T: ", "[unavailable]", "```", "Text.", "\r\n", "\t"]
        )
        | st.text(max_size=4),
        max_size=8,
    ),
    st.integers(1, 40),
)
def test_the_verdict_does_not_hang_on_where_a_text_is_split(parts: list[str], size: int) -> None:
    text = "".join(parts)
    whole, at_once = run([text])
    shown, in_pieces = run([text[start : start + size] for start in range(0, len(text), size)])
    assert type(at_once.verdict()) is type(in_pieces.verdict())
    assert whole + at_once.rest() == shown + in_pieces.rest() == text


@given(st.lists(st.text(alphabet="Er: o[]\nYSConectabl ", max_size=12), max_size=12))
def test_holding_back_never_changes_the_bytes_of_an_answer(pieces: list[str]) -> None:
    shown, hold_back = run(pieces)
    assert shown + hold_back.rest() == "".join(pieces)


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda text: "\n" not in text), min_size=1))
def test_ordinary_text_is_never_delayed(pieces: list[str]) -> None:
    hold_back = HoldBack()
    hold_back.feed("Hello")
    assert [hold_back.feed(piece) for piece in pieces] == pieces


def test_white_space_is_held_only_so_far() -> None:
    hold_back = HoldBack()
    shown = "".join(hold_back.feed(" \n") for _ in range(5000))
    assert len(shown) > 4000
    assert shown + hold_back.rest() == " \n" * 5000


def test_a_paragraph_too_long_for_an_error_is_let_go() -> None:
    hold_back = HoldBack()
    long = "Error: RetriableError: " + "x" * 5000
    assert hold_back.feed(long) == long
    assert hold_back.verdict() is None


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("error: unknown option '--x'", AgentCrashError),
        ("", AgentCrashError),
    ],
)
def test_a_failed_exit_is_what_stderr_says(stderr: str, kind: type[Exception]) -> None:
    assert type(judge_exit(1, stderr)) is kind


def test_a_killed_process_is_a_crash_whatever_stands_on_stderr() -> None:
    error = judge_exit(-9, "retrying: getaddrinfo EAI_AGAIN")
    assert type(error) is AgentCrashError
    assert "SIGKILL" in str(error)


def test_credentials_that_the_cli_repeats_are_taken_out() -> None:
    error = judge_exit(1, "bad key k-123", lambda text: text.replace("k-123", "***"))
    assert "k-123" not in str(error)
    assert "***" in str(error)


def test_what_a_process_of_many_said_is_shown_to_nobody() -> None:
    error = judge_exit(1, "the prompt was: a secret", quote=False)
    assert str(error) == "The agent ended unexpectedly (exit status 1)."
    for known in ("a secret\nError: usage limit reached", "a secret [unavailable] connect ECONNREFUSED"):
        error = judge_exit(1, known, quote=False)
        assert type(error) is not AgentCrashError
        assert "a secret" not in str(error)


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ("Too many requests", "Cursor refuses for now: Too many requests"),
        ("my words: socket hang up", "The agent cannot reach Cursor: socket hang up"),
        ("[internal] my words", "The agent failed."),
        ("my words", "The agent ended unexpectedly (exit status 1)."),
    ],
)
def test_what_a_process_said_of_a_conversation_is_left_out_of_the_plain_words(words: str, plain: str) -> None:
    error = judge_exit(1, f"the user asked: my words\n{words}")
    assert isinstance(error, AgentError)
    assert "my words" in str(error)
    assert error.plain == plain
    assert error.of_request(begun=False).plain == plain


def test_a_crash_can_be_told_without_what_the_process_said() -> None:
    error = judge_exit(1, "the prompt was: a secret")
    assert isinstance(error, AgentCrashError)
    assert "a secret" in str(error)
    assert error.plain == "The agent ended unexpectedly (exit status 1)."


def test_a_refused_model_names_the_nearest_of_those_listed() -> None:
    error = classify(
        "Cannot use this model: gpt-5.4. Available models: auto, composer-2, gpt-5.4-mini\nTip: x"
    )
    assert isinstance(error, UnknownModelError)
    assert error.model == "gpt-5.4"
    assert error.nearest == ("gpt-5.4-mini",)


@pytest.mark.parametrize(
    ("text", "seconds"), [("try again in 30 seconds", 30), ("retry after 2 minutes", 120)]
)
def test_a_limit_tells_when_to_come_back_if_the_text_does(text: str, seconds: float) -> None:
    error = classify(f"Error: RetriableError: [resource_exhausted] {text}")
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "error",
    [
        RpcError(-32000, "Authentication required"),
        RpcError(
            -32602,
            "Invalid params",
            {
                "message": "Failed to open browser for login. Please visit: https://cursor.com/loginDeepControl?c=1"
            },
        ),
    ],
)
def test_a_login_that_is_asked_for_means_not_signed_in(error: RpcError) -> None:
    judged = judge_rpc(error)
    assert isinstance(judged, AuthenticationError)
    assert "agent login" in str(judged)
    assert "loginDeepControl" not in str(judged)
