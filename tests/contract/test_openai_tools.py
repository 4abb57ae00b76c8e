"""The official client for Python with tools: its loops, its helper for streams, its objects by calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.contract.conftest import TOKEN, ServeUrl
from tests.demo import DemoAgent
from tests.tool_scripts import call, final_answer, together, tools_directive

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}
TOOLS = [WEATHER, TIME]

THREE_ROUNDS = tools_directive(
    together(call("get_weather", {"city": "Paris"}), call("get_time"), say="Let me see. "),
    together(call("get_weather", {"city": "Rome"})),
    together(call("get_time")),
)
ANSWER = final_answer(
    ("get_weather", "Paris is fine"),
    ("get_time", "12:00"),
    ("get_weather", "Rome is fine"),
    ("get_time", "12:00"),
)


@pytest.fixture
def client(serve_url: ServeUrl) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=0) as client:
        yield client


def hello(text: str = THREE_ROUNDS) -> list[Any]:
    return [{"role": "user", "content": text}]


def results(message: Any) -> list[Any]:
    """Return the messages with what the tools give that a message calls."""
    given = []
    for one in message.tool_calls:
        arguments = json.loads(one.function.arguments)
        text = f"{arguments['city']} is fine" if one.function.name == "get_weather" else "12:00"
        given.append({"role": "tool", "tool_call_id": one.id, "content": text})
    return given


def test_a_loop(client: openai.OpenAI, agent: DemoAgent) -> None:
    messages, seen = hello(), []
    while True:
        completion = client.chat.completions.create(model="auto", messages=messages, tools=TOOLS)
        message = completion.choices[0].message
        messages.append(message)
        seen.append(completion.choices[0].finish_reason)
        assert completion.usage is not None
        if not message.tool_calls:
            break
        messages += results(message)
    assert (message.content or "").endswith(ANSWER)
    assert seen == ["tool_calls", "tool_calls", "tool_calls", "stop"]
    assert messages[1].content == "Let me see. "
    assert len(agent.events("prompt")) == 1


async def test_a_loop_of_the_async_client(serve_url: ServeUrl) -> None:
    messages = hello()
    async with openai.AsyncOpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=0) as client:
        while True:
            completion = await client.chat.completions.create(model="auto", messages=messages, tools=TOOLS)
            message = completion.choices[0].message
            messages.append(message)
            if not message.tool_calls:
                break
            messages += results(message)
    assert (message.content or "").endswith(ANSWER)


def test_a_loop_of_the_helper_for_streams(client: openai.OpenAI) -> None:
    messages, told = hello(), []
    while True:
        with client.chat.completions.stream(model="auto", messages=messages, tools=TOOLS) as stream:
            told += [event for event in stream if event.type.startswith("tool_calls")]
            message = stream.get_final_completion().choices[0].message
        messages.append(message)
        if not message.tool_calls:
            break
        messages += results(message)
    assert (message.content or "").endswith(ANSWER)
    done: list[Any] = [event for event in told if event.type == "tool_calls.function.arguments.done"]
    assert [(event.name, event.index) for event in done] == [
        ("get_weather", 0),
        ("get_time", 1),
        ("get_weather", 0),
        ("get_time", 0),
    ]
    # A strict tool's arguments come parsed.
    assert done[0].parsed_arguments == {"city": "Paris"}


def test_one_call_at_a_time(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="auto", messages=hello(), tools=TOOLS, parallel_tool_calls=False
    )
    (only,) = completion.choices[0].message.tool_calls or []
    assert only.type == "function"
    assert only.function.name == "get_weather"


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_time"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "get_time"}}],
            },
        },
    ],
    ids=["required", "named", "allowed"],
)
def test_a_call_that_is_wanted(client: openai.OpenAI, choice: Any) -> None:
    prompt = tools_directive(together(call("get_time")), reluctant=1)
    completion = client.chat.completions.create(
        model="auto", messages=hello(prompt), tools=TOOLS, tool_choice=choice
    )
    (only,) = completion.choices[0].message.tool_calls or []
    assert only.type == "function"
    assert only.function.name == "get_time"


def test_no_call_where_none_is_wanted(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="auto", messages=hello("Hello!"), tools=TOOLS, tool_choice="none"
    )
    assert completion.choices[0].message.tool_calls is None
    assert completion.choices[0].finish_reason == "stop"


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def test_an_object_by_a_call(client: openai.OpenAI) -> None:
    prompt = tools_directive(together(call("Trip", {"city": "Rome", "days": 3})))
    completion = client.chat.completions.parse(
        model="auto", messages=hello(prompt), tools=[openai.pydantic_function_tool(Trip)]
    )
    (only,) = completion.choices[0].message.tool_calls or []
    assert only.function.parsed_arguments == Trip(city="Rome", days=3)


def test_the_older_form(client: openai.OpenAI) -> None:
    functions: Any = [tool["function"] for tool in TOOLS]
    prompt = tools_directive(together(call("get_weather", {"city": "Paris"})))
    choice = client.chat.completions.create(
        model="auto", messages=hello(prompt), functions=functions
    ).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "get_weather"
    assert json.loads(choice.message.function_call.arguments) == {"city": "Paris"}


def test_a_missing_result_is_a_bad_request(client: openai.OpenAI) -> None:
    messages = hello()
    message = client.chat.completions.create(model="auto", messages=messages, tools=TOOLS).choices[0].message
    messages += [message, results(message)[0]]
    with pytest.raises(openai.BadRequestError, match="tool_call_id"):
        client.chat.completions.create(model="auto", messages=messages, tools=TOOLS)
