"""The README's stanzas for clients, run as they stand."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.contract.clients.conftest import ROOT, Workplace, at_server
from tests.contract.clients.environments import programs_of
from tests.demo import DemoAgent

SECTION = (
    (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Clients\n")[2].partition("\n## ")[0]
)

#: Seconds a server of somebody else may take to start.
START_S = 110

real_client = [pytest.mark.real_clients, pytest.mark.timeout(600)]


class Stanza(NamedTuple):
    """A piece of the README, in one language."""

    language: str
    code: str


def _stanzas() -> Mapping[str, Stanza]:
    pieces = re.split(r"(?m)^\*\*(.+?)\*\*", SECTION)
    found = {}
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        ((language, code),) = re.findall(r"(?s)```(\w+)\n(.*?)```", text)
        found[name] = Stanza(language, code)
    return found


STANZAS = _stanzas()

#: Where a stanza's packages are, and what it prints; without an environment they are this one's.
ANSWERS = {
    "curl": ("", '"delta":{"content":"Hello!"}'),
    "openai-python": ("", "You said: Hello!"),
    "openai-node": ("openai-node", "You said: Hello!"),
    "LangChain": ("langchain", "You said: Hello!"),
    "LiteLLM SDK": ("litellm", "You said: Hello!"),
    "pydantic-ai": ("pydantic-ai", "name='Ada' age=36"),
    "instructor": ("instructor", "name='Ada' age=36"),
    "Vercel AI SDK": ("vercel", "You said: Hello!"),
    "llm": ("llm", "You said: Hello!"),
    # These put much around the question, of which the stand-in repeats the end.
    "Continue": ("continue", "I am the demo agent of cursorpipe"),
    "aider": ("aider", "I am the demo agent of cursorpipe"),
}
SERVERS = {"LiteLLM proxy", "Open WebUI"}

#: Those that ask for a person, and the answer of a model that adds what nobody asked for.
WANT_A_PERSON = {"pydantic-ai", "instructor"}
PERSON = r"""json text="Here you are:\n\n```json\n{'name': 'Ada', 'age': 36}\n```\n" """


def test_every_stanza_is_run() -> None:
    assert set(STANZAS) == {*ANSWERS, *SERVERS}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=real_client if environment else [])
        for name, (environment, _) in ANSWERS.items()
    ],
)
def test_a_stanza_prints_an_answer(workplace: Workplace, agent: DemoAgent, name: str) -> None:
    environment, expected = ANSWERS[name]
    place = workplace.environments.make(environment) if environment else Path(sys.prefix)
    if name in WANT_A_PERSON:
        agent.set(SCENARIO=PERSON)
    stanza = STANZAS[name]
    code = at_server(workplace.url, stanza.code)
    assert code != stanza.code or "deploy/" in code
    match stanza.language:
        case "sh":
            printed = workplace.run(place, "bash", "-ec", code)
        case "python":
            printed = workplace.run(place, programs_of(place) / "python", "-c", code)
        case _:
            printed = workplace.run(place, "node", workplace.place("stanza.mjs", code, place))
    assert expected in printed


@contextlib.contextmanager
def running(
    workplace: Workplace, environment: Path, code: str, environ: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a stanza that serves, and end it with all it started."""
    with (
        (workplace.directory / "output").open("wb") as output,
        subprocess.Popen(
            ["bash", "-ec", code],
            cwd=workplace.directory,
            env=workplace.environ(environment, environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        except BaseException:
            print((workplace.directory / "output").read_text(errors="replace")[-5000:])
            raise
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str, body: object = None, key: str = "") -> tuple[int, str]:
    """Return the status and the text of an answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait_for(url: str) -> None:
    """Wait until a server that cannot tell us says that it is up."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            if ask(url)[0] == 200:
                return
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.2)


def chat(model: str, text: str = "Hello!", **more: object) -> Mapping[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def words(stream: str) -> str:
    """Return the text of a stream that ended as it should."""
    *frames, last = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    assert last == "[DONE]"
    choices = [choice for frame in frames for choice in json.loads(frame)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.real_clients
@pytest.mark.timeout(600)
def test_the_litellm_proxy_serves(workplace: Workplace, agent: DemoAgent) -> None:
    environment = workplace.environments.make("litellm")
    port = free_port()
    code = at_server(workplace.url, STANZAS["LiteLLM proxy"].code)
    url = f"http://127.0.0.1:{port}"
    with running(workplace, environment, f"{code.rstrip()} --host 127.0.0.1 --port {port}"):
        wait_for(f"{url}/health/liveliness")

        def post(body: Mapping[str, Any]) -> tuple[int, str]:
            return ask(f"{url}/v1/chat/completions", body, "sk-choose-one")

        for model in ("cursor/auto", "cursor/composer-2.5"):
            status, text = post(chat(model))
            assert status == 200
            answer = json.loads(text)
            assert "You said: Hello!" in answer["choices"][0]["message"]["content"]
            assert answer["usage"]["total_tokens"] > 0
        status, text = post(chat("cursor/auto", stream=True))
        assert words(text).endswith("You said: Hello!")
        before = len(agent.events("prompt"))
        assert post(chat("cursor/auto", "[[demo:capacity]]"))[0] == 429
        assert len(agent.events("prompt")) == before + 1
        assert post(chat("cursor/no-such-model"))[0] == 404
        # Neither took the deployment out of service.
        assert post(chat("cursor/auto"))[0] == 200


@pytest.mark.real_clients
@pytest.mark.timeout(900)
def test_open_webui_finds_the_models_and_chats(workplace: Workplace, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--open-webui"):
        pytest.skip("not asked for: --open-webui installs 7 GB")
    environment = workplace.environments.make("open-webui")
    port = free_port()
    code = at_server(workplace.url, STANZAS["Open WebUI"].code).replace("3000", str(port))
    url = f"http://127.0.0.1:{port}"
    quiet = {"WEBUI_AUTH": "False", "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1"}
    data = {"DATA_DIR": str(workplace.directory), "ENABLE_OLLAMA_API": "false"}
    with running(workplace, environment, code, {**quiet, **data}):
        wait_for(f"{url}/health")
        key = json.loads(ask(f"{url}/api/v1/auths/signin", {"email": "", "password": ""})[1])["token"]
        models = json.loads(ask(f"{url}/api/models", key=key)[1])["data"]
        assert {"auto", "composer-2.5"} <= {model["id"] for model in models}
        status, text = ask(f"{url}/api/chat/completions", chat("auto", stream=True), key)
        assert status == 200
        assert words(text).endswith("You said: Hello!")
        wrong = {"url": workplace.url, "key": "wrong"}
        assert "Incorrect API key provided" in ask(f"{url}/openai/verify", wrong, key)[1]
