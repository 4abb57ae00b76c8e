"""What the demo agent says and does in a turn, scenario by scenario."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any, NoReturn

from cursorpipe_core.demo_agent import texts
from cursorpipe_core.demo_agent.account import Account
from cursorpipe_core.demo_agent.failures import FAILURES
from cursorpipe_core.demo_agent.models import SLUGS
from cursorpipe_core.demo_agent.output import write_stderr
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.request import Request
from cursorpipe_core.demo_agent.samples import sample_for
from cursorpipe_core.demo_agent.stage import NotSignedInError, Stage, TurnFailedError

#: A question up to this length is repeated as it is, of a longer one the end.
MAX_ECHO = 2000
KEPT_OF_LONG = 500

_WORD = re.compile(r"\S+\s*|\s+")

#: Answers that have to do with errors and are none.
TALK = (
    "Error: handling is the part of a program that nobody enjoys writing and everybody enjoys reading.",
    "Your log says:\n\n    Error: RetriableError: [resource_exhausted] Error\n\nTry again in a minute.",
    "The whole output was:\n\n```\nError: ConnectError: [unavailable] read ECONNRESET\n```",
    'When you read "Error: ActionRequiredError: You\'ve reached your usage limit", your plan is spent.',
    "Two words are often mixed up.\n\nError: a mistake that somebody made.\n\nFault: what came of it.",
    "Here is a list of what a server may say.\n\nError: 404 means that there is no such page.",
)


def answer(stage: Stage, request: Request) -> None:
    """Think, introduce yourself, and repeat the question; or answer with JSON, if that is asked for."""
    del request
    sample = sample_for(stage.question)
    if sample is not None:
        stage.think("The user wants JSON.")
        recite(stage, f"Here you are:\n\n```json\n{sample}\n```")
        return
    stage.think("The user wants an answer. ")
    stage.think("I shall repeat the question.")
    recite(stage, _introduction(stage))


def recite(stage: Stage, text: str) -> None:
    """Say a text word by word."""
    for word in _WORD.findall(text):
        stage.say(word)


def _introduction(stage: Stage) -> str:
    """Return the default answer; the question stands at its end, on a line that is never empty before it."""
    parts = ["Hello, I am the demo agent of cursorpipe: there is no model behind me."]
    if stage.history:
        before = [f"“{' '.join(turn.question[:200].split())[:80]}”" for turn in stage.history[-5:]]
        parts.append(f"Before this you said {', then '.join(before)}.")
    if stage.images:
        noun = "image" if len(stage.images) == 1 else "images"
        parts.append(f"You sent {len(stage.images)} {noun} ({', '.join(stage.images)}).")
    question = stage.question
    if len(question) <= MAX_ECHO:
        parts.append(f"You said: {question}")
    else:
        parts.append(f"You said {len(question)} characters, at the end: … {question[-KEPT_OF_LONG:]}")
    return " ".join(parts)


def echo(stage: Stage, request: Request) -> None:
    """Say the prompt."""
    del request
    if stage.question:
        stage.say(stage.question)


def say_json(stage: Stage, request: Request) -> None:
    """Say a text whose apostrophes stand for the quotation marks that a directive cannot hold."""
    recite(stage, request.text("text").replace("'", '"'))


def fail(stage: Stage, request: Request) -> None:
    """Fail as the backend does, perhaps after a part of an answer."""
    partial = request.text("partial")
    if partial:
        stage.say(partial)
    in_band, stderr = FAILURES[request.name].texts(request.parameters.get("model", ""))
    raise TurnFailedError(in_band, stderr, split=request.text("split") == "1")


def refuse(stage: Stage, request: Request) -> None:
    """Fail with words that belong to a start, in a process that is long started."""
    del stage
    text = refusal(request, Account("env"))
    raise TurnFailedError(f"Error: {text}", text)


def refusal(request: Request, account: Account) -> str:
    """Return the words with which the CLI refuses to start."""
    if request.name == "invalid-key":
        return texts.invalid_key(account)
    if request.name == "unknown-model":
        return texts.unknown_model(request.text("model"), list(SLUGS))
    if request.name == "trust-required":
        return texts.untrusted(Path.cwd())
    return texts.KEYCHAIN_LOCKED


def late_answer(stage: Stage, request: Request) -> None:
    """Wait, then answer."""
    stage.pause(request.number("ms") / 1000)
    answer(stage, request)


def want_login(stage: Stage, request: Request) -> None:
    """Refuse the prompt for want of a login."""
    raise NotSignedInError


def crash(process: Process, request: Request) -> NoReturn:
    """End by a signal or with an exit status; in an orderly way it is not."""
    if request.text("stderr"):
        write_stderr(f"{request.text('stderr')}\n")
    if request.text("signal"):
        process.die(request.number("signal"))
    process.leave(request.number("status"))


def crash_before_first_chunk(stage: Stage, request: Request) -> None:
    """Crash as soon as the prompt is there."""
    crash(stage.process, request)


def crash_mid_stream(stage: Stage, request: Request) -> None:
    """Crash in the middle of a sentence."""
    recite(stage, "I was just about to tell you ")
    crash(stage.process, request)


def stay_silent(stage: Stage, request: Request) -> None:
    """Take the prompt and say nothing."""
    stage.ignores_cancel = _ignores_cancel(request)
    stage.stay_silent()


def linger(stage: Stage, request: Request) -> None:
    """Answer, and never come to the end."""
    stage.ignores_cancel = _ignores_cancel(request)
    answer(stage, request)
    stage.lingers = True


def _ignores_cancel(request: Request) -> bool:
    return request.parameters.get("cancellable") == "0"


def ignore_sigterm(stage: Stage, request: Request) -> None:
    """Answer, and outlive SIGTERM and the end of the input."""
    stage.process.ignore_sigterm()
    answer(stage, request)


def ignore_cancel(stage: Stage, request: Request) -> None:
    """Go on talking whoever says stop."""
    stage.ignores_cancel = True
    slow_chunks(stage, request)


def late_chunks(stage: Stage, request: Request) -> None:
    """Talk slowly, and after being stopped say a little more."""
    stage.late_texts = [f"late {number} " for number in range(1, request.number("late") + 1)]
    slow_chunks(stage, request)


def leave_grandchild(process: Process, request: Request) -> None:
    """Leave a process behind that holds our output open."""
    process.leave_grandchild(request.number("seconds"), detached=request.text("detached") == "1")


def grandchild(stage: Stage, request: Request) -> None:
    """Answer, and leave somebody behind who holds the pipes."""
    leave_grandchild(stage.process, request)
    answer(stage, request)


def stderr_flood(stage: Stage, request: Request) -> None:
    """Say a great deal on standard error first."""
    left = request.number("bytes")
    lines = "debug: nothing of interest happens here\n" * 100
    while left > 0:
        write_stderr(lines[-left:])
        left -= len(lines)
    answer(stage, request)


def huge_line(stage: Stage, request: Request) -> None:
    """Say everything at once."""
    stage.say("x" * request.number("bytes"))


def garbage(stage: Stage, request: Request) -> None:
    """Answer amid lines that mean nothing."""
    stage.write_garbage()
    answer(stage, request)
    stage.write_garbage()


def slow_chunks(stage: Stage, request: Request) -> None:
    """Say a number of words with pauses between them."""
    for number in range(1, request.number("count") + 1):
        stage.pause(request.number("ms") / 1000)
        stage.say(f"word-{number} ")


def chunks(stage: Stage, request: Request) -> None:
    """Say many pieces of the same size, as fast as they can be written."""
    piece = "x" * (request.number("bytes") - 1) + " "
    for _ in range(request.number("count")):
        stage.say(piece)


def markers(stage: Stage, request: Request) -> None:
    """Say one word again and again, numbered."""
    marker, seconds = request.text("marker"), request.number("ms") / 1000
    for number in range(1, request.number("count") + 1):
        if seconds:
            stage.pause(seconds)
        stage.say(f"{marker}-{number} ")


def thoughts(stage: Stage, request: Request) -> None:
    """Think at length, then answer."""
    for number in range(1, request.number("count") + 1):
        stage.think(f"Thought {number}. ")
    recite(stage, _introduction(stage))


def tool(stage: Stage, request: Request) -> None:
    """Run a command between two sentences."""
    del request
    recite(stage, "Let me look where I am. ")
    stage.use_tool("call_demo_1", "pwd", "/demo\n")
    recite(stage, "I am in /demo.")


def duplicate_tool_call(stage: Stage, request: Request) -> None:
    """Announce a command twice, under an id with a line feed."""
    del request
    recite(stage, "Let me look. ")
    stage.use_tool("call_demo_1\nfc_demo_1", "pwd", "/demo\n", repeated=True)
    recite(stage, "I am in /demo.")


def ask_permission(stage: Stage, request: Request) -> None:
    """Ask before a command is run, and say what came of it."""
    del request
    recite(stage, "I need to read a file. ")
    stage.say(f"permission: {stage.ask_permission('cat x')}")


def ask_question(stage: Stage, request: Request) -> None:
    """Ask the user to choose, and say what was chosen."""
    del request
    options = [{"id": "a", "label": "The first"}, {"id": "b", "label": "The second"}]
    question = {"id": "q", "prompt": "Which one?", "options": options, "allowMultiple": False}
    params = {"toolCallId": "call_demo_q", "title": "A question", "questions": [question]}
    outcome = stage.ask("cursor/ask_question", params)
    stage.say(f"question: {_outcome(outcome, 'answered', 'skipped')}")


def create_plan(stage: Stage, request: Request) -> None:
    """Propose a plan, and say what was made of it."""
    del request
    todos = [{"id": "1", "content": "Do it", "status": "pending"}]
    params = {"toolCallId": "call_demo_p", "name": "A plan", "plan": "1. Do it", "todos": todos}
    outcome = stage.ask("cursor/create_plan", params)
    stage.say(f"plan: {_outcome(outcome, 'accepted', 'rejected')}")


def todo_request(stage: Stage, request: Request) -> None:
    """Send the list of things to do, as a request that wants an answer."""
    del request
    todos = [{"id": "1", "content": "Do it", "status": "in_progress"}]
    stage.ask("cursor/update_todos", {"toolCallId": "call_demo_t", "todos": todos, "merge": False})
    stage.say("todos: acknowledged")


def _outcome(result: Any, *understood: str) -> str:
    """Read a nested outcome; a flat one counts as cancelled (CLI contract §4.7)."""
    outcome = result.get("outcome") if isinstance(result, dict) else None
    if not isinstance(outcome, dict) or outcome.get("outcome") not in understood:
        return "cancelled"
    chosen = [
        option
        for given in outcome.get("answers") or ()
        if isinstance(given, dict)
        for option in given.get("selectedOptionIds") or ()
    ]
    return " ".join([str(outcome["outcome"]), *map(str, chosen)])


def unicode(stage: Stage, request: Request) -> None:
    """Say characters of every width, cut where it hurts."""
    del request
    stage.say("Grüße, 世界! ", torn=True)
    stage.say("👋🏽 ", torn=True)
    # Two halves of one character, each an escape of its own.
    stage.say("\ud83d")
    stage.say("\ude00")
    stage.say(" e\u0301 \u2028 done")


def report_usage(stage: Stage, request: Request) -> None:
    """Answer, with token figures that are known beforehand; only print mode has any (CLI contract §4.4)."""
    stage.usage = {
        "inputTokens": request.number("input"),
        "outputTokens": request.number("output"),
        "cacheReadTokens": request.number("cache_read"),
        "cacheWriteTokens": request.number("cache_write"),
    }
    answer(stage, request)


def empty(stage: Stage, request: Request) -> None:
    """End without a word."""


def talk_about_error(stage: Stage, request: Request) -> None:
    """Give an answer that quotes, explains or begins with an error and is none."""
    recite(stage, TALK[(request.number("variant") - 1) % len(TALK)])


#: How a crash is described: by its exit status, or by a signal; last words are optional.
CRASH_PARAMETERS = {"status": "1", "signal": "", "stderr": ""}

#: The signals to crash by: those that end a process, and that the CLI does not handle.
CRASH_SIGNALS = frozenset(
    {
        *(signal.SIGHUP, signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS),
        *(signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV),
    }
)
