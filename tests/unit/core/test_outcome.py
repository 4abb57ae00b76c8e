from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cursorpipe_core.errors import (
    AgentCrashError,
    AuthenticationError,
    NetworkError,
    RateLimitError,
    SessionError,
    UnknownModelError,
)
from cursorpipe_core.jsonrpc import RpcError
from cursorpipe_core.outcome import HoldBack, classify, judge_exit, judge_rpc

USAGE_NOTICE = """\
Error: You've hit your usage limit
Get Cursor Pro for more Agent usage, unlimited Tab, and more.
fallbackModel: auto
spendLimitHit: false
chatMessage: *You've hit your free requests limit.*
spendLimits: [50,100,200]"""

#: Texts of the CLI contract §4.9, and what they are.
ERROR_TEXTS = [
    ("Error: RetriableError: [resource_exhausted] Error", RateLimitError),
    ("Error: ConnectError: [unavailable] getaddrinfo ENOTFOUND api2.cursor.sh", NetworkError),
    ("Error: NonRetriableError: the provider refused", SessionError),
    ("Error: ActionRequiredError: You've reached your usage limit. Upgrade to continue.", RateLimitError),
    ("Error: ActionRequiredError: Model Blocked: please ask your admin to enable it", UnknownModelError),
    ('Error: I: AI Model Not Found Model name is not valid: "x"', UnknownModelError),
    ("Error: S: [resource_exhausted] Error", RateLimitError),
    ("Error: T: [unavailable] connect ECONNREFUSED", NetworkError),
    ("Error: T: [internal] something", SessionError),
    ("Error: RetriableError: WritableIterable is closed", NetworkError),
    ("Error: You've hit your usage limit", RateLimitError),
    ("Error: You’ve hit your usage limit", RateLimitError),
    (USAGE_NOTICE, RateLimitError),
    (USAGE_NOTICE.replace("\nfallback", "\n\nfallback"), RateLimitError),
]

NOT_LOGGED_IN = """\
Error: Authentication required. Please run 'agent login' first, or set CURSOR_API_KEY environment variable."""
INVALID_KEY = """\
⚠ Warning: The provided API key is invalid.
The API key was loaded from the CURSOR_API_KEY environment variable."""

#: Answers, every one of them.
TALK = [
    "Error: is the first word of this sentence.",
    "Error: I think you forgot a semicolon.",
    "Error: A: the first option. B: the second.",
    "Error: ConnectError: means that the server could not be reached.",
    "Error: RetriableError",
    "Error: You've",
    "Error:",
    "Errors happen.",
    "The log says\n\nError: RetriableError: [resource_exhausted] Error\n\nwhich means: quota spent.",
    "```\nError: RetriableError: [resource_exhausted] Error\n```",
    "> Error: ConnectError: [unavailable] x",
    "Here it is:\nError: ConnectError: [unavailable] x",
    "`Error: ConnectError: [unavailable] x`",
    "Error: You've hit your usage limit\n\nis what Cursor says when the plan is used up.",
    "1. Error: S: [internal] Error",
    "Error: ENOENT: no such file or directory, open 'x'",
    "Error: no\n\n\n",
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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("before", ["", "A partial answer.", "Two\n\nparagraphs", "Line\n"])
@pytest.mark.parametrize(("text", "kind"), ERROR_TEXTS)
def test_an_error_that_comes_as_text_is_seen_and_does_not_leak(
    text: str, kind: type[Exception], before: str, seed: int
) -> None:
    shown, hold_back = run([before, *split("\n\n" + text, seed)])
    assert type(hold_back.verdict()) is kind
    assert shown.strip() == before.strip()


@pytest.mark.parametrize("text", [text for text, _ in ERROR_TEXTS])
def test_nothing_at_all_is_shown_of_a_turn_that_is_only_an_error(text: str) -> None:
    assert run(list("\n\n" + text))[0] == ""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("text", TALK)
def test_an_answer_that_talks_about_errors_is_an_answer_byte_for_byte(text: str, seed: int) -> None:
    shown, hold_back = run(split(text, seed))
    assert hold_back.verdict() is None
    assert shown + hold_back.rest() == text


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
        (NOT_LOGGED_IN, AuthenticationError),
        (INVALID_KEY, AuthenticationError),
        ("Cannot use this model: x. Available models: auto, y", UnknownModelError),
        ("Error: [unavailable] getaddrinfo EAI_AGAIN api2.cursor.sh", NetworkError),
        ("Connection lost to https://agentn.global.api5.cursor.sh attempts 1-3", NetworkError),
        ("RetriableError: [resource_exhausted] Error", RateLimitError),
        ("ActionRequiredError: You've reached your usage limit", RateLimitError),
        (
            "Your macOS login keychain is locked.\nRun security unlock-keychain and try again.",
            AuthenticationError,
        ),
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


def test_a_refused_model_names_the_nearest_of_those_listed() -> None:
    error = classify(
        "Cannot use this model: gpt-5.4. Available models: auto, composer-2, gpt-5.4-mini\nTip: x"
    )
    assert isinstance(error, UnknownModelError)
    assert error.model == "gpt-5.4"
    assert error.nearest == ("gpt-5.4-mini",)


@pytest.mark.parametrize(("text", "seconds"), [("try again in 30 seconds", 30), ("after 2 minutes", 120)])
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
