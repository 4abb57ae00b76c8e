"""pydantic-ai."""

from __future__ import annotations

import asyncio
from typing import Any

from cases import API_KEY, BASE_URL, IMAGE, MODEL, PROMPT, RETRIES, Saw, clock, run, weather
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, ImageUrl, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def agent(**options: Any) -> Any:
    client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=RETRIES)
    return Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)), **options)


def chat(saw: Saw) -> None:
    result = agent().run_sync(PROMPT)
    saw["text"] = result.output
    saw["tokens"] = [result.usage.input_tokens, result.usage.output_tokens]


def stream(saw: Saw) -> None:
    async def read() -> None:
        saw["pieces"] = []
        async with agent().run_stream(PROMPT) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                saw["pieces"].append(text)
            saw["tokens"] = [result.usage.input_tokens, result.usage.output_tokens]

    asyncio.run(read())


def structured(saw: Saw) -> None:
    saw["object"] = agent(output_type=NativeOutput(Person)).run_sync(PROMPT).output.model_dump()


def image(saw: Saw) -> None:
    saw["text"] = agent().run_sync([PROMPT, ImageUrl(url=IMAGE)]).output


def with_tools(saw: Saw, **options: Any) -> Any:
    mine = agent(**options)
    mine.tool_plain(name="get_weather")(_weather(saw))
    mine.tool_plain(name="get_time")(_time(saw))
    return mine


def _weather(saw: Saw) -> Any:
    def get_weather(city: str) -> str:
        """Look up the weather of a city."""
        return weather(saw, city)

    return get_weather


def _time(saw: Saw) -> Any:
    def get_time() -> str:
        """Tell the time."""
        return clock(saw)

    return get_time


def tools(saw: Saw) -> None:
    saw["text"] = with_tools(saw).run_sync(PROMPT).output


def tools_stream(saw: Saw) -> None:
    async def read() -> None:
        async with with_tools(saw).run_stream(PROMPT) as result:
            saw["text"] = await result.get_output()

    asyncio.run(read())


def structured_by_tool(saw: Saw) -> None:
    saw["object"] = agent(output_type=Person).run_sync(PROMPT).output.model_dump()


run(
    chat=chat,
    stream=stream,
    structured=structured,
    image=image,
    tools=tools,
    tools_stream=tools_stream,
    structured_by_tool=structured_by_tool,
)
