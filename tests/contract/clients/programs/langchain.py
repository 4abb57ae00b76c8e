"""LangChain."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from cases import API_KEY, BASE_URL, IMAGE, MESSAGES, MODEL, PROMPT, RETRIES, Saw, clock, run, weather
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

model = ChatOpenAI(base_url=BASE_URL, api_key=API_KEY, model=MODEL, max_retries=RETRIES, stream_usage=True)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def chat(saw: Saw) -> None:
    message = model.invoke(MESSAGES)
    saw["text"] = message.text
    saw["tokens"] = [message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]]


def stream(saw: Saw) -> None:
    saw["pieces"] = []
    for chunk in model.stream(MESSAGES):
        if chunk.text:
            saw["pieces"].append(chunk.text)
        if usage := chunk.usage_metadata:
            saw["tokens"] = [usage["input_tokens"], usage["output_tokens"]]


def structured(saw: Saw) -> None:
    saw["object"] = model.with_structured_output(Person, method="json_schema").invoke(PROMPT).model_dump()


def image(saw: Saw) -> None:
    parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    saw["text"] = model.invoke([{"role": "user", "content": parts}]).text


def tools(saw: Saw) -> None:
    _loop(saw, lambda bound, messages: bound.invoke(messages))


def tools_stream(saw: Saw) -> None:
    _loop(saw, lambda bound, messages: reduce(add, bound.stream(messages)))


def _loop(saw: Saw, ask: Any) -> None:
    @tool
    def get_weather(city: str) -> str:
        """Look up the weather of a city."""
        return weather(saw, city)

    @tool
    def get_time() -> str:
        """Tell the time."""
        return clock(saw)

    mine = {"get_weather": get_weather, "get_time": get_time}
    messages: list[Any] = [HumanMessage(PROMPT)]
    while True:
        message = ask(model.bind_tools(list(mine.values())), messages)
        messages.append(message)
        if not message.tool_calls:
            saw["text"] = message.text
            return
        messages += [mine[call["name"]].invoke(call) for call in message.tool_calls]


def structured_by_tool(saw: Saw) -> None:
    bound = model.with_structured_output(Person, method="function_calling")
    saw["object"] = bound.invoke(PROMPT).model_dump()


run(
    chat=chat,
    stream=stream,
    structured=structured,
    image=image,
    tools=tools,
    tools_stream=tools_stream,
    structured_by_tool=structured_by_tool,
)
