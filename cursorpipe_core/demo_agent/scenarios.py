"""The scenarios: one table of everything the demo agent can be told to do.

``DEMO_AGENT_SCENARIO="name key=value …"`` is for the process and each of its turns, a directive
``[[demo:name key=value …]]`` in a prompt for that turn; the directive wins. With ``times=N`` a scenario
happens N times, over all processes that share a state directory, and then no more; commands like
``models`` that are neither ACP nor a turn do not count, and it does not befall them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from cursorpipe_core.demo_agent import script, tool_script
from cursorpipe_core.demo_agent.failures import FAILURES
from cursorpipe_core.demo_agent.request import Request, RequestError, split_words
from cursorpipe_core.demo_agent.stage import Stage


class When(Enum):
    """When a scenario of the environment applies."""

    START = "when the process starts"
    SESSION = "when a session is opened"
    TURN = "in each turn"


class Scenario(NamedTuple):
    """What to do: ``play`` in a turn; what happens before one, its module looks up by name."""

    doc: str
    play: Callable[[Stage, Request], None] = script.answer
    parameters: Mapping[str, str] = {}
    when: When = When.TURN


_SLOW = {"count": "200", "ms": "25"}
_CANCELLABLE = {"cancellable": "1"}
_TOKENS = {"input": "740", "output": "307", "cache_read": "28160", "cache_write": "0"}

SCENARIOS: dict[str, Scenario] = {
    "answer": Scenario("think, introduce yourself, repeat the question: the default"),
    # -- the start
    "crash-at-start": Scenario(
        "die before anything is read", script.crash_before_first_chunk, script.CRASH_PARAMETERS, When.START
    ),
    "crash-before-initialize": Scenario(
        "die when the first message, or the prompt, has come in",
        script.crash_before_first_chunk,
        script.CRASH_PARAMETERS,
        When.START,
    ),
    "slow-start": Scenario("wait before anything is read", script.late_answer, {"ms": "3000"}, When.START),
    "silent-initialize": Scenario("never answer initialize", script.stay_silent, when=When.START),
    "other-protocol": Scenario("speak another version of ACP", parameters={"version": "2"}, when=When.START),
    "not-logged-in": Scenario("nobody is signed in", script.want_login, when=When.START),
    "invalid-key": Scenario("the backend refuses the key", script.refuse, when=When.START),
    "unknown-model": Scenario(
        "the model of --model is not served", script.refuse, {"model": "demo-model"}, When.START
    ),
    "keychain-locked": Scenario("the credentials cannot be read", script.refuse, when=When.START),
    "trust-required": Scenario("print mode: nobody has vouched for the directory", script.refuse),
    "no-models": Scenario("the account has no models to list", when=When.START),
    # -- the session
    "silent-session": Scenario("never answer session/new", script.stay_silent, when=When.SESSION),
    "slow-session": Scenario("open sessions late", script.late_answer, {"ms": "3000"}, When.SESSION),
    "session-fails-once": Scenario(
        "fail to open a session, the first time", parameters={"times": "1"}, when=When.SESSION
    ),
    "no-modes": Scenario("open sessions that have no modes", when=When.SESSION),
    "model-refused": Scenario("refuse every change of the model over ACP", when=When.SESSION),
    # -- the turn goes wrong
    **{
        name: Scenario(
            f"{failure.doc}; partial= is said first, split=1 sends the text in small pieces",
            script.fail,
            {"partial": "", "split": "0", **({"model": failure.model} if failure.model else {})},
        )
        for name, failure in FAILURES.items()
    },
    "crash-before-first-chunk": Scenario(
        "die when the prompt is there", script.crash_before_first_chunk, script.CRASH_PARAMETERS
    ),
    "crash-mid-stream": Scenario("die within the answer", script.crash_mid_stream, script.CRASH_PARAMETERS),
    "silent-prompt": Scenario(
        "say nothing in the turn; cancellable=0: not even when cancelled", script.stay_silent, _CANCELLABLE
    ),
    "deaf": Scenario(
        "read no more, and stay alive; at=start: from the start on", script.stay_silent, {"at": "prompt"}
    ),
    "linger": Scenario(
        "answer, and never finish; cancellable=0: not even when cancelled", script.linger, _CANCELLABLE
    ),
    "ignore-sigterm": Scenario(
        "outlive SIGTERM and the end of the input", script.ignore_sigterm, when=When.START
    ),
    "ignore-cancel": Scenario("go on when cancelled", script.ignore_cancel, {**_SLOW, "count": "1200"}),
    "late-chunks": Scenario(
        "say more after the cancelled turn was reported", script.late_chunks, {**_SLOW, "late": "3"}
    ),
    "grandchild": Scenario(
        "leave a process behind that holds the pipes; detached=1: in a process group of its own",
        script.grandchild,
        {"seconds": "60", "detached": "0"},
        When.START,
    ),
    # -- the answer is unusual
    "stderr-flood": Scenario(
        "fill standard error before the answer", script.stderr_flood, {"bytes": "2000000"}
    ),
    "huge-line": Scenario("say it all in one update", script.huge_line, {"bytes": "20000000"}),
    "garbage": Scenario("write lines that are no messages around the answer", script.garbage),
    "slow-chunks": Scenario("pause before each word", script.slow_chunks, {"count": "20", "ms": "50"}),
    "chunks": Scenario("say pieces of one size, quickly", script.chunks, {"count": "1000", "bytes": "16"}),
    "markers": Scenario(
        "say one word, numbered", script.markers, {"marker": "marker", "count": "10", "ms": "0"}
    ),
    "thoughts": Scenario("think at length", script.thoughts, {"count": "20"}),
    "tool": Scenario("run a command within the answer", script.tool),
    "duplicate-tool-call": Scenario(
        "announce a command twice, its id has a line feed", script.duplicate_tool_call
    ),
    "ask-permission": Scenario("ask before a command is run", script.ask_permission),
    "ask-question": Scenario("ask the user to choose", script.ask_question),
    "create-plan": Scenario("propose a plan", script.create_plan),
    "todo-request": Scenario("send the todo list as a request", script.todo_request),
    "unicode": Scenario("cut wide characters in two", script.unicode),
    "empty": Scenario("end without a word", script.empty),
    "talks-about-error": Scenario(
        "answers that look like errors and are none", script.talk_about_error, {"variant": "1"}
    ),
    "tools": Scenario(
        "call the client's tools by a plan (see ``tool_plan``), or each of them once; "
        "reluctant=N: not in the first N turns of the session, of which only the first needs the directive",
        tool_script.use_tools,
        {"plan": "", "reluctant": "0"},
    ),
    "echo": Scenario("the prompt and nothing else", script.echo),
    "json": Scenario("say a text, its apostrophes as quotation marks", script.say_json, {"text": "{}"}),
    "usage": Scenario("token figures of one's choice in print mode", script.report_usage, _TOKENS),
}

_NUMBERS = frozenset(
    {
        "status",
        "signal",
        "ms",
        "count",
        "bytes",
        "late",
        "seconds",
        "variant",
        "times",
        "reluctant",
        "version",
        *_TOKENS,
    }
)


def parse_request(words: str) -> Request:
    """Read a request; raises RequestError for a scenario or a parameter that is not in the table."""
    name, given = split_words(words)
    scenario = SCENARIOS.get(name)
    if scenario is None:
        raise RequestError(f"there is no scenario {name!r}")
    for key, value in given.items():
        if key != "times" and key not in scenario.parameters:
            raise RequestError(f"the scenario {name!r} has no parameter {key!r}")
        if key in _NUMBERS and not (value.isascii() and value.isdigit()):
            raise RequestError(f"the parameter {key!r} is not a number: {value}")
        if key == "signal" and int(value) not in script.CRASH_SIGNALS:
            raise RequestError(f"a crash by signal {value} is not possible")
    return Request(name, {**scenario.parameters, **given})


def names() -> str:
    """Return all names, for those who asked for one that is none."""
    return ", ".join(sorted(SCENARIOS))


class Faults:
    """The scenario of the environment, and the count of how often scenarios have happened."""

    def __init__(self, words: str, state: Path) -> None:
        self._request = parse_request(words) if words.strip() else None
        self._state = state

    def claim(self, *wanted: str) -> Request | None:
        """Return the environment's scenario if it is one of these and is to happen now."""
        request = self._request
        return request if request and request.name in wanted and self._happens(request) else None

    def uncounted(self, *wanted: str) -> Request | None:
        """Return the environment's scenario if it is one of these and happens always."""
        request = self._request
        return request if request and request.name in wanted and request.times is None else None

    def deaf_from_start(self) -> bool:
        """Whether nothing is ever read."""
        request = self._request
        return bool(request and request.name == "deaf" and request.text("at") == "start")

    def for_turn(self, directive: str | None) -> Request:
        """Return what to do in a turn; raises RequestError for a directive that is not understood."""
        if directive is not None:
            request: Request | None = parse_request(directive)
        else:
            request = self._request
            if request and SCENARIOS[request.name].when is not When.TURN:
                request = None
        return request if request and self._happens(request) else Request("answer", {})

    def _happens(self, request: Request) -> bool:
        if request.times is None:
            return True
        self._state.mkdir(parents=True, exist_ok=True)
        for number in range(request.times):
            try:
                (self._state / f"{request.name}.{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False
