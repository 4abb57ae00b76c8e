"""Drives the stand-in as a process, as somebody would who knows only the CLI contract and ACP."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from acp import schema

#: Seconds anything may take before a test gives up.
PATIENCE = 10.0

ROOT = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-m", "cursorpipe_core.demo_agent")

Json = dict[str, Any]

#: What the official models say a result looks like; methods that ACP does not know are not in it.
_RESULTS: Mapping[str, Any] = {
    "initialize": schema.InitializeResponse,
    "authenticate": schema.AuthenticateResponse,
    "session/new": schema.NewSessionResponse,
    "session/load": schema.LoadSessionResponse,
    "session/list": schema.ListSessionsResponse,
    "session/set_mode": schema.SetSessionModeResponse,
    "session/set_config_option": schema.SetSessionConfigOptionResponse,
    "session/prompt": schema.PromptResponse,
}


def check_against(model: Any, value: Json) -> None:
    """Hold a value against an official model; a member that the model does not know is a mistake, too."""
    understood = model.model_validate(value).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert understood == value


class Finished(NamedTuple):
    """A process that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[Json]:
        """What was printed, line by line."""
        return [json.loads(line) for line in self.stdout.split("\n")[:-1]]

    def of_type(self, kind: str, subtype: str | None = None) -> list[Json]:
        return [
            event
            for event in self.events
            if event["type"] == kind and subtype in {None, event.get("subtype")}
        ]

    @property
    def result(self) -> Json:
        """The result event, of which there is one."""
        (result,) = self.of_type("result")
        return result


class Place:
    """Where a stand-in lives: a working directory, a configuration directory, a record."""

    def __init__(self, directory: Path) -> None:
        self.work = directory / "work"
        self.config = directory / "config"
        self.record = directory / "record.jsonl"
        self.work.mkdir()

    def env(self, *, key: str | None = "demo-key", **switches: str) -> dict[str, str]:
        """Return the environment; ``switches`` without a prefix are those of the stand-in."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work.parent),
            "PYTHONPATH": str(ROOT),
            "CURSOR_CONFIG_DIR": str(self.config),
            "DEMO_AGENT_RECORD": str(self.record),
            "DEMO_AGENT_STATE": str(self.config / "state"),
            **({} if key is None else {"CURSOR_API_KEY": key}),
            **dict(_named(switches)),
        }

    def start(self, *argv: str, key: str | None = "demo-key", **switches: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (*PROGRAM, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env(key=key, **switches),
            cwd=self.work,
            start_new_session=True,
        )

    def run(self, *argv: str, stdin: str = "", key: str | None = "demo-key", **switches: str) -> Finished:
        """Run to the end; ``stdin`` is all of its input."""
        finished = subprocess.run(
            (*PROGRAM, *argv),
            input=stdin.encode("utf-8", "surrogatepass"),
            capture_output=True,
            env=self.env(key=key, **switches),
            cwd=self.work,
            timeout=PATIENCE,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout.decode(), finished.stderr.decode())

    def ask(self, prompt: str, *argv: str, key: str | None = "demo-key", **switches: str) -> Finished:
        """Ask in print mode, with all events."""
        streaming = ("-p", "--output-format", "stream-json", "--stream-partial-output", "--trust")
        return self.run(*streaming, *argv, stdin=prompt, key=key, **switches)

    def events(self, kind: str) -> list[Json]:
        """What is in the record, of one kind."""
        if not self.record.exists():
            return []
        lines = self.record.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> list[Json]:
        """Wait until the record has so many events of a kind."""
        wait_until(lambda: len(self.events(kind)) >= count, f"{count} × {kind}")
        return self.events(kind)


def _named(switches: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables: those of the stand-in get their prefix."""
    own = {
        *("SCENARIO", "LOGIN", "ANSI", "OLD_BUILD", "MCP"),
        *("START_MS", "SESSION_MS", "FIRST_MS", "CHUNK_MS"),
    }
    for name, value in switches.items():
        yield (f"DEMO_AGENT_{name}" if name in own else name), value


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.005)


def finish(process: subprocess.Popen[bytes], stdin: str = "") -> Finished:
    """Give a process the rest of its input and wait for its end."""
    try:
        stdout, stderr = process.communicate(stdin.encode(), timeout=PATIENCE)
    except BaseException:
        end(process)
        raise
    return Finished(process.returncode, stdout.decode(), stderr.decode())


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group, and close what connects us."""
    kill_group(process)
    process.wait(PATIENCE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and everything it left in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Turn(NamedTuple):
    """What came of a prompt."""

    answer: Json
    updates: list[Json]

    @property
    def stop(self) -> str:
        return str(self.answer["result"]["stopReason"])

    def kinds(self) -> list[str]:
        return [update["sessionUpdate"] for update in self.updates]

    def chunks(self, kind: str = "agent_message_chunk") -> list[str]:
        return [update["content"]["text"] for update in self.updates if update["sessionUpdate"] == kind]

    @property
    def text(self) -> str:
        return "".join(self.chunks())


class Client:
    """An ACP client: every message that is ACP's is held against the official models.

    With a ``decision``, the kind of an option, it answers what asks for permission by itself.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._methods: dict[int, str] = {}
        self._answers: dict[int, Json] = {}
        self.updates: list[tuple[str, Json]] = []
        self.requests: list[Json] = []
        self.permissions: list[Json] = []
        self.decision = ""
        self.noise: list[bytes] = []
        self._stderr = b""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._drain)]
        for reader in self._readers:
            reader.start()

    def close(self) -> None:
        """End the process, however stubborn."""
        kill_group(self.process)
        for reader in self._readers:
            reader.join(PATIENCE)
        end(self.process)

    @property
    def stderr(self) -> str:
        return self._stderr.decode()

    def send(self, message: Json) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def request(self, method: str, params: Json) -> int:
        """Send a request; its answer is to be taken by ``answer``."""
        request_id = len(self._methods) + 1
        self._methods[request_id] = method
        self.send({"id": request_id, "method": method, "params": params})
        return request_id

    def answer(self, request_id: int) -> Json:
        """Wait for the answer to a request."""
        while request_id not in self._answers:
            self.take_one()
        return self._answers.pop(request_id)

    def call(self, method: str, params: Json | None = None) -> Json:
        """Send a request and return its result."""
        answer = self.answer(self.request(method, params or {}))
        assert "error" not in answer, answer
        result: Json = answer["result"]
        return result

    def error(self, method: str, params: Json | None = None) -> Json:
        """Send a request and return the error in which it ends."""
        error: Json = self.answer(self.request(method, params or {}))["error"]
        return error

    def notify(self, method: str, params: Json) -> None:
        self.send({"method": method, "params": params})

    def initialize(self, **capabilities: Any) -> Json:
        return self.call("initialize", {"protocolVersion": 1, "clientCapabilities": capabilities})

    def new_session(self, cwd: str = "/", *servers: Json) -> str:
        result = self.call("session/new", {"cwd": cwd, "mcpServers": list(servers)})
        return str(result["sessionId"])

    def prompt(self, session: str, *blocks: str | Json) -> int:
        """Begin a turn."""
        content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
        return self.request("session/prompt", {"sessionId": session, "prompt": content})

    def turn(self, session: str, *blocks: str | Json) -> Turn:
        """Do a turn from its beginning to its end."""
        return self.end_of(self.prompt(session, *blocks), session)

    def end_of(self, request_id: int, session: str) -> Turn:
        """Wait for the end of a turn; the updates of its session that came up to it are its own."""
        answer = self.answer(request_id)
        own = [update for owner, update in self.updates if owner == session]
        self.updates = [(owner, update) for owner, update in self.updates if owner != session]
        return Turn(
            answer, [update for update in own if update["sessionUpdate"] != "available_commands_update"]
        )

    def decide(self, request: Json, kind: str) -> None:
        """Answer a permission request by the option of a kind."""
        (option,) = (each for each in request["params"]["options"] if each["kind"] == kind)
        outcome = {"outcome": "selected", "optionId": option["optionId"]}
        self.send({"id": request["id"], "result": {"outcome": outcome}})

    def asked(self) -> Json:
        """Wait for a request of the agent's."""
        while not self.requests:
            self.take_one()
        return self.requests.pop(0)

    def wait_for_update(self, session: str, kind: str) -> None:
        """Wait until a session has had an update of a kind."""
        while (session, kind) not in [(owner, update["sessionUpdate"]) for owner, update in self.updates]:
            self.take_one()

    def wait_for_text(self, session: str, wanted: str) -> None:
        """Wait until the answer of a session contains a text."""
        while wanted not in "".join(
            update.get("content", {}).get("text", "")
            for owner, update in self.updates
            if owner == session and update["sessionUpdate"] == "agent_message_chunk"
        ):
            self.take_one()

    def exit_status(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(PATIENCE)

    def take_one(self) -> None:
        """Take one line of what the agent said."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("the agent is silent") from None
        assert line, f"the agent closed its output: {self.stderr}"
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or message.get("id", 0) is None or message.get("id") == 987654321:
            self.noise.append(line)
        elif "method" in message:
            self._take_call(message)
        else:
            self._take_answer(message)

    def _take_call(self, message: Json) -> None:
        assert message.pop("jsonrpc") == "2.0"
        if message["method"] == "session/update":
            check_against(schema.SessionNotification, message["params"])
            self.updates.append((message["params"]["sessionId"], message["params"]["update"]))
        elif "id" in message:
            if message["method"] == "session/request_permission":
                check_against(schema.RequestPermissionRequest, message["params"])
                self.permissions.append(message["params"])
                if self.decision:
                    self.decide(message, self.decision)
                    return
            self.requests.append(message)
        else:
            self.noise.append(json.dumps(message).encode())

    def _take_answer(self, message: Json) -> None:
        assert message.pop("jsonrpc") == "2.0"
        if "error" in message:
            check_against(schema.Error, message["error"])
        else:
            model = _RESULTS.get(self._methods[message["id"]])
            if model is not None:
                # `models` was never in the stable protocol.
                standard = {name: value for name, value in message["result"].items() if name != "models"}
                check_against(model, standard)
        self._answers[message["id"]] = message

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _drain(self) -> None:
        assert self.process.stderr is not None
        while data := self.process.stderr.read1():  # type: ignore[attr-defined]  # it is buffered
            self._stderr += data
