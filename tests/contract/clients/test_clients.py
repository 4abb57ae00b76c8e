"""What a client library makes of the server: answers, streams, errors, objects."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.contract.clients.conftest import Client, Workplace
from tests.demo import DemoAgent
from tests.tool_scripts import call, final_answer, together, tools_directive

pytestmark = [pytest.mark.real_clients, pytest.mark.timeout(600)]


class Expected(NamedTuple):
    """How a client names the errors, and what else it can do."""

    client: Client
    authentication: str
    not_found: str
    rate_limit: str
    #: How often a request that is refused for now is sent in all.
    attempts: int = 2
    #: The same of a turn that had begun, which `x-should-retry: false` asks not to repeat.
    attempts_at_a_turn: int = 1
    image: bool = True
    completion: bool = False
    text_stream: bool = True
    #: Whether it has a loop for tools, and whether objects come by a call of one.
    tools: bool = True
    object_by_tool: str = ""


CLIENTS = {
    "openai-node": Expected(
        Client("openai_node.mjs", "openai-node"),
        "AuthenticationError",
        "NotFoundError",
        "RateLimitError",
        completion=True,
    ),
    # It goes by the status alone, which is why the README tells it not to retry.
    "vercel": Expected(
        Client("vercel.mjs", "vercel"),
        "AI_APICallError",
        "AI_APICallError",
        "AI_RetryError",
        attempts_at_a_turn=2,
    ),
    "langchain": Expected(
        Client("langchain.py", "langchain"),
        "langchain_core.exceptions.ModelAuthenticationError",
        "langchain_core.exceptions.ModelNotFoundError",
        "langchain_core.exceptions.ModelRateLimitError",
        object_by_tool="structured_by_tool",
    ),
    "litellm": Expected(
        Client("litellm_sdk.py", "litellm"),
        "litellm.exceptions.AuthenticationError",
        "litellm.exceptions.NotFoundError",
        "litellm.exceptions.RateLimitError",
        completion=True,
    ),
    "pydantic-ai": Expected(
        Client("pydantic_ai_agent.py", "pydantic-ai"),
        "pydantic_ai.exceptions.ModelAuthenticationError",
        "pydantic_ai.exceptions.ModelNotFoundError",
        "pydantic_ai.exceptions.ModelRateLimitError",
        object_by_tool="structured_by_tool",
    ),
    # Its streams are of objects.
    "instructor": Expected(
        Client("instructor_client.py", "instructor"),
        "openai.AuthenticationError",
        "openai.NotFoundError",
        "openai.RateLimitError",
        image=False,
        text_stream=False,
        tools=False,
        object_by_tool="tools",
    ),
    # It cannot be told how often to try: the official client below it does three times.
    "llm": Expected(
        Client("llm_cli.py", "llm"),
        "exit status 1",
        "exit status 1",
        "exit status 1",
        attempts=3,
        image=False,
        tools=False,
    ),
}

each_client = pytest.mark.parametrize("expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS])
each_text_client = pytest.mark.parametrize(
    "expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS if CLIENTS[name].text_stream]
)

#: A person as a model would give it that was asked for JSON alone.
FENCED = r"""[[demo:json text="Here you are:\n\n```json\n{'name': 'Ada', 'age': 36}\n```\nAnything else?"]]"""
ADA = {"name": "Ada", "age": 36}


@each_client
@pytest.mark.parametrize("model", ["auto", "composer-2.5"])
def test_an_answer_comes_with_its_usage(workplace: Workplace, expected: Expected, model: str) -> None:
    saw = expected.client.case(workplace, "chat", model=model)
    assert "error" not in saw
    assert "You said: Hello!" in saw["text"]
    assert all(count > 0 for count in saw["tokens"])


@each_text_client
def test_a_stream_comes_in_pieces_with_its_usage(workplace: Workplace, expected: Expected) -> None:
    saw = expected.client.case(workplace, "stream", "[[demo:slow-chunks count=5 ms=40]]")
    assert "error" not in saw
    assert "".join(saw["pieces"]).split() == [f"word-{number}" for number in range(1, 6)]
    assert len(saw["pieces"]) > 1
    assert all(count > 0 for count in saw["tokens"])


@each_text_client
def test_a_failure_in_mid_stream_is_an_error_behind_the_text(
    workplace: Workplace, expected: Expected
) -> None:
    saw = expected.client.case(workplace, "stream", "[[demo:crash-mid-stream]]")
    assert "".join(saw["pieces"]).startswith("I was just")
    assert "The agent ended unexpectedly" in saw["error"]["message"]


@each_client
@pytest.mark.parametrize("case", ["chat", "stream"])
def test_a_wrong_token_is_an_authentication_error(
    workplace: Workplace, agent: DemoAgent, expected: Expected, case: str
) -> None:
    error = expected.client.case(workplace, case, key="wrong")["error"]
    assert expected.authentication in error["kinds"]
    assert error["status"] == 401
    assert agent.events("prompt") == []


@each_client
def test_a_model_that_is_not_served_is_not_found(workplace: Workplace, expected: Expected) -> None:
    error = expected.client.case(workplace, "chat", model="no-such-model")["error"]
    assert expected.not_found in error["kinds"]
    assert error["status"] == 404


@each_client
def test_a_limit_is_a_rate_limit_error_after_the_clients_own_retries(
    workplace: Workplace, agent: DemoAgent, expected: Expected
) -> None:
    error = expected.client.case(workplace, "chat", "[[demo:capacity]]")["error"]
    assert expected.rate_limit in error["kinds"]
    assert error["status"] == 429
    assert len(agent.events("prompt")) == expected.attempts


@each_client
def test_a_turn_that_had_begun_is_not_repeated(
    workplace: Workplace, agent: DemoAgent, expected: Expected
) -> None:
    assert expected.client.case(workplace, "chat", "[[demo:crash-mid-stream]]")["error"]
    assert len(agent.events("prompt")) == expected.attempts_at_a_turn


@each_client
def test_an_object_is_read_from_an_answer_with_prose_around_it(
    workplace: Workplace, expected: Expected
) -> None:
    saw = expected.client.case(workplace, "structured", FENCED)
    assert "error" not in saw
    assert saw["object"] == ADA


def test_an_object_can_be_streamed(workplace: Workplace) -> None:
    saw = CLIENTS["instructor"].client.case(workplace, "stream", FENCED)
    assert "error" not in saw
    assert saw["object"] == ADA


@pytest.mark.parametrize(
    "expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS if CLIENTS[name].image]
)
def test_a_picture_reaches_the_agent(workplace: Workplace, expected: Expected) -> None:
    saw = expected.client.case(workplace, "image")
    assert "error" not in saw
    assert "You sent 1 image (image/png)" in saw["text"]


@pytest.mark.parametrize(
    "expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS if CLIENTS[name].completion]
)
def test_the_old_completions_answer(workplace: Workplace, expected: Expected) -> None:
    saw = expected.client.case(workplace, "completion")
    assert "error" not in saw
    assert "You said: Hello!" in saw["text"]
    assert all(count > 0 for count in saw["tokens"])


TWO_ROUNDS = tools_directive(
    together(call("get_weather", {"city": "Paris"}), call("get_time")),
    together(call("get_weather", {"city": "Rome"})),
)


@pytest.mark.parametrize(
    "expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS if CLIENTS[name].tools]
)
@pytest.mark.parametrize("case", ["tools", "tools_stream"])
@pytest.mark.parametrize("model", ["auto", "composer-2.5"])
def test_the_clients_own_loop_runs_its_tools(
    workplace: Workplace, agent: DemoAgent, expected: Expected, case: str, model: str
) -> None:
    saw = expected.client.case(workplace, case, TWO_ROUNDS, model=model)
    assert "error" not in saw, saw
    assert sorted(saw["calls"][:2]) == [["get_time", None], ["get_weather", "Paris"]]
    assert saw["calls"][2:] == [["get_weather", "Rome"]]
    assert saw["text"].endswith(
        final_answer(("get_weather", "Paris is fine"), ("get_time", "12:00"), ("get_weather", "Rome is fine"))
    )
    assert len(agent.events("prompt")) == 1, "all of it was one turn of the agent"


@pytest.mark.parametrize(
    "expected", [pytest.param(CLIENTS[name], id=name) for name in CLIENTS if CLIENTS[name].object_by_tool]
)
def test_an_object_comes_by_a_call(workplace: Workplace, expected: Expected) -> None:
    # By its place: each library has its own name for the tool.
    prompt = tools_directive(together(call("any", ADA, at=0)))
    saw = expected.client.case(workplace, expected.object_by_tool, prompt)
    assert saw.get("object") == ADA, saw
