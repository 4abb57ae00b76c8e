"""The SDK of LiteLLM."""

from __future__ import annotations

import json
from typing import Any

import litellm
from cases import API_KEY, BASE_URL, IMAGE, MESSAGES, MODEL, PROMPT, RETRIES, TOOLS, Saw, run, use
from pydantic import BaseModel

ASKED = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": API_KEY, "max_retries": RETRIES}


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def chat(saw: Saw) -> None:
    answer = litellm.completion(**ASKED, messages=MESSAGES)
    saw["text"] = answer.choices[0].message.content
    saw["tokens"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def stream(saw: Saw) -> None:
    saw["pieces"] = []
    options = {"include_usage": True}
    for chunk in litellm.completion(**ASKED, messages=MESSAGES, stream=True, stream_options=options):
        if chunk.choices and chunk.choices[0].delta.content:
            saw["pieces"].append(chunk.choices[0].delta.content)
        if usage := getattr(chunk, "usage", None):
            saw["tokens"] = [usage.prompt_tokens, usage.completion_tokens]


def structured(saw: Saw) -> None:
    answer = litellm.completion(**ASKED, messages=MESSAGES, response_format=Person)
    saw["object"] = json.loads(answer.choices[0].message.content)


def image(saw: Saw) -> None:
    parts = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = litellm.completion(**ASKED, messages=[{"role": "user", "content": parts}])
    saw["text"] = answer.choices[0].message.content


def completion(saw: Saw) -> None:
    answer = litellm.text_completion(**ASKED, prompt=PROMPT)
    saw["text"] = answer.choices[0].text
    saw["tokens"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def tools(saw: Saw) -> None:
    _loop(saw, lambda messages: litellm.completion(**ASKED, messages=messages, tools=TOOLS))


def tools_stream(saw: Saw) -> None:
    def ask(messages: list[Any]) -> Any:
        chunks = list(litellm.completion(**ASKED, messages=messages, tools=TOOLS, stream=True))
        return litellm.stream_chunk_builder(chunks, messages=messages)

    _loop(saw, ask)


def _loop(saw: Saw, ask: Any) -> None:
    messages: list[Any] = list(MESSAGES)
    while True:
        message = ask(messages).choices[0].message
        messages.append(message)
        if not message.tool_calls:
            saw["text"] = message.content
            return
        for call in message.tool_calls:
            text = use(saw, call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


run(
    chat=chat,
    stream=stream,
    structured=structured,
    image=image,
    completion=completion,
    tools=tools,
    tools_stream=tools_stream,
)
