"""LangChain."""

from __future__ import annotations

from cases import API_KEY, BASE_URL, IMAGE, MESSAGES, MODEL, PROMPT, RETRIES, Saw, run
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


run(chat=chat, stream=stream, structured=structured, image=image)
