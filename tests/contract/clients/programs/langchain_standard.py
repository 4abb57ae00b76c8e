"""LangChain's standard tests of a chat model, held against the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cases import API_KEY, BASE_URL, MODEL
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

#: What the scripted model calls when a test's question has these words: by its name, or the tool at a place.
CALLS: Mapping[str, Mapping[str, Any]] = {
    "magic_function(3)": {"name": "magic_function", "arguments": {"input": 3}},
    "magic_function_no_args()": {"name": "magic_function_no_args"},
    "Pirate greeting": {"name": "greeting_generator", "arguments": {"answer_style": "pirate"}},
    "What is 3 + 4": {"name": "my_adder_tool", "arguments": {"a": 3, "b": 4}},
    "Hello!": {"name": "magic_function", "arguments": {"input": 1}},
    "你好啊集团": {
        "name": "unicode_customer",
        "arguments": {"customer_name": "你好啊集团", "description": "-"},
    },
    "こんにちは株式会社": {
        "name": "unicode_customer",
        "arguments": {"customer_name": "こんにちは株式会社", "description": "-"},
    },
    "weather in San Francisco": {"name": "get_weather", "arguments": {"location": "San Francisco, CA"}},
}


class PlayedChat(ChatOpenAI):
    """The model, which is scripted by a directive in the user's message: it does not understand the tests."""

    def _get_request_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(*args, **kwargs)
        if payload.get("tools"):
            for message in payload["messages"]:
                if message["role"] == "user":
                    message["content"] += _directive(message["content"])
        return payload


def _directive(question: str) -> str:
    call = next((call for words, call in CALLS.items() if words.lower() in question.lower()), None)
    if call is None:
        return ""
    plan = quote(json.dumps({"rounds": [{"calls": [call]}]}), safe=":,{}")
    return f" [[demo:tools plan={plan}]]"


class TestCursorpipe(ChatModelIntegrationTests):
    """What the server claims to do."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return PlayedChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": BASE_URL,
            "api_key": API_KEY,
            "model": MODEL,
            "max_retries": 0,
            "stream_usage": True,
        }

    @property
    def model_override_value(self) -> str:
        return "composer-2.5"

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}

    @property
    def supports_json_mode(self) -> bool:
        return True
