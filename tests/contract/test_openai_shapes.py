"""Every answer held to the official client's types, strictly, and to OpenAI's published schemas."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.contract.conftest import TOKEN, ServeUrl
from tests.tool_scripts import call, together, tools_directive

#: OpenAI's schemas as one JSON file with `$defs`, where somebody has them.
PUBLISHED = os.environ.get("OPENAI_SCHEMAS", "")

#: What we add to OpenAI's shapes, and say so in the README.
ADDED = {"reasoning_content"}

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}

#: Requests that between them bring about every member of an answer.
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"messages": [{"role": "user", "content": "Hello!"}]},
    "pinned": {"model": "composer-2.5", "messages": [{"role": "user", "content": "Hello!"}]},
    "thoughts": {"messages": [{"role": "user", "content": "[[demo:thoughts count=3]]"}]},
    "choices": {"n": 3, "messages": [{"role": "user", "content": "Hello!"}]},
    "stop": {"stop": "demo", "messages": [{"role": "user", "content": "Hello!"}]},
    "length": {"max_tokens": 2, "messages": [{"role": "user", "content": "Hello!"}]},
    "json": {"response_format": JSON_SCHEMA, "messages": [{"role": "user", "content": "Hello!"}]},
    "image": {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}]},
    "long": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "Rain."},
            {"role": "assistant", "content": "It rains."},
        ]
    },
    "calls": {
        "messages": [
            {"role": "user", "content": tools_directive(together(call("w"), call("w"), say="Hm. "))}
        ],
        "tools": [{"type": "function", "function": {"name": "w"}}],
    },
    "silent call": {
        "messages": [{"role": "user", "content": tools_directive(together(call("w", {"x": "é"})))}],
        "tools": [{"type": "function", "function": {"name": "w"}}],
        "tool_choice": "required",
    },
    "function call": {
        "messages": [{"role": "user", "content": tools_directive(together(call("w")))}],
        "functions": [{"name": "w"}],
    },
}

#: The requests that a call answers, and why such an answer ends.
CALLING = {"calls": "tool_calls", "silent call": "tool_calls", "function call": "function_call"}


class Http:
    """The plainest client there is."""

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, path: str, body: object = None) -> tuple[int, str]:
        """Return the status and the body of an answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def get(self, path: str, body: object = None) -> str:
        """Return the body of an answer that is expected to be one."""
        status, text = self.send(path, body)
        assert status == 200, text
        return text


@pytest.fixture
def http(serve_url: ServeUrl) -> Http:
    return Http(serve_url())


def strictly(value: Any, model: type[BaseModel]) -> None:
    """Hold a value to a type of the client's: nothing missing, nothing of another type, nothing extra."""
    parsed = model.model_validate(value, strict=True)
    extra = set(_extra(parsed))
    assert extra <= ADDED, extra


def _extra(value: Any) -> Iterator[str]:
    """Yield the members, at any depth, that the types do not know."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or ()
        for name in type(value).model_fields:
            yield from _extra(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _extra(item)


def published(value: Any, name: str) -> None:
    """Hold a value to a schema of OpenAI's, if there are any here."""
    if PUBLISHED:
        schemas = json.loads(Path(PUBLISHED).read_bytes())
        Draft202012Validator({**schemas, "$ref": f"#/$defs/{name}"}).validate(value)


def events(body: str) -> list[Any]:
    *data, done = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(item) for item in data]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_whole_answer(http: Http, name: str) -> None:
    answer = json.loads(http.get("chat/completions", REQUESTS[name]))
    strictly(answer, ChatCompletion)
    published(answer, "CreateChatCompletionResponse")
    assert answer["choices"][0].keys() >= {"logprobs", "finish_reason"}
    assert answer["choices"][0]["finish_reason"] == CALLING.get(name, answer["choices"][0]["finish_reason"])


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
def test_every_chunk_of_a_stream(http: Http, name: str, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = events(http.get("chat/completions", {**REQUESTS[name], "stream": True, **options}))
    for chunk in chunks:
        strictly(chunk, ChatCompletionChunk)
        published(chunk, "CreateChatCompletionStreamResponse")
        assert ("usage" in chunk) is usage
        assert all(choice["delta"].get("role", "assistant") == "assistant" for choice in chunk["choices"])
    assert len({chunk["id"] for chunk in chunks}) == 1
    reasons = {choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]} - {None}
    assert name not in CALLING or reasons == {CALLING[name]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["Hello!", ["Hello!", "Bye!"]])
def test_a_text_completion(http: Http, prompt: str | list[str], stream: bool) -> None:
    text = http.get("completions", {"prompt": prompt, "model": "auto", "stream": stream})
    for part in events(text) if stream else [json.loads(text)]:
        # A chunk has no reason to end yet, which the client's type does not foresee.
        if not stream or all(choice["finish_reason"] for choice in part["choices"]):
            strictly(part, Completion)
            published(part, "CreateCompletionResponse")


def test_the_models(http: Http) -> None:
    listed = json.loads(http.get("models"))
    published(listed, "ListModelsResponse")
    for model in listed["data"]:
        strictly(model, Model)
        assert json.loads(http.get(f"models/{model['id']}")) == model


@pytest.mark.parametrize(
    ("request_", "status"),
    [({"messages": []}, 400), ({**REQUESTS["plain"], "model": "no-such-model"}, 404)],
)
def test_an_error(http: Http, request_: dict[str, Any], status: int) -> None:
    got, text = http.send("chat/completions", request_)
    assert got == status
    assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
    published(json.loads(text), "ErrorResponse")
