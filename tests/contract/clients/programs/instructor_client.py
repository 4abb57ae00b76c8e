"""instructor, over the official client."""

from __future__ import annotations

import instructor
from cases import API_KEY, BASE_URL, MESSAGES, MODEL, RETRIES, Saw, run
from openai import OpenAI
from pydantic import BaseModel

client = instructor.from_openai(
    OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=RETRIES), mode=instructor.Mode.JSON_SCHEMA
)


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def chat(saw: Saw) -> None:
    answer = client.chat.completions.create(model=MODEL, response_model=None, messages=MESSAGES)
    saw["text"] = answer.choices[0].message.content
    saw["tokens"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def structured(saw: Saw) -> None:
    person, answer = client.chat.completions.create_with_completion(
        model=MODEL, response_model=Person, messages=MESSAGES, max_retries=1
    )
    saw["object"] = person.model_dump()
    saw["tokens"] = [answer.usage.prompt_tokens, answer.usage.completion_tokens]


def stream(saw: Saw) -> None:
    saw["pieces"] = []
    partial = None
    for partial in client.chat.completions.create_partial(
        model=MODEL, response_model=Person, messages=MESSAGES
    ):
        saw["pieces"].append(partial.model_dump())
    saw["object"] = partial.model_dump() if partial else None


def tools(saw: Saw) -> None:
    by_tools = instructor.from_openai(client.client, mode=instructor.Mode.TOOLS)
    person = by_tools.chat.completions.create(
        model=MODEL, response_model=Person, messages=MESSAGES, max_retries=1
    )
    saw["object"] = person.model_dump()


run(chat=chat, structured=structured, stream=stream, tools=tools)
