"""Messages, each by the rules of who speaks; what is wrong is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from cursorpipe_core import Message, Role
from cursorpipe_core.prompt import render
from tests.unit.server.conftest import Client, ScriptedRouter

CHAT = "/v1/chat/completions"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        (
            {"role": "wizard", "content": "x"},
            "messages.0.role",
            "expected one of 'system', 'developer', 'user'",
        ),
        ({"role": None, "content": "x"}, "messages.0.role", "but got null instead"),
        ({"content": "x"}, "messages.0.role", "Missing required parameter"),
        ("Hi", "messages.0", "Invalid value"),
        ({"role": "user", "content": None}, "messages.0.content", "got null"),
        ({"role": "user"}, "messages.0.content", "Missing required parameter"),
        ({"role": "user", "content": [{}]}, "messages.0.content.0.type", "Missing required parameter"),
        (
            {"role": "user", "content": [{"type": "text"}]},
            "messages.0.content.0.text",
            "Missing required parameter",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            "messages.0.content.0",
            "content of type 'input_audio' is not supported",
        ),
        (
            {"role": "system", "content": [IMAGE]},
            "messages.0.content.0.image_url",
            "only a user's message can have images",
        ),
        ({"role": "tool", "content": "7"}, "messages.0.tool_call_id", "Missing required parameter"),
        ({"role": "tool", "content": "7", "tool_call_id": ""}, "messages.0.tool_call_id", "Invalid value"),
        ({"role": "function", "content": "7"}, "messages.0.name", "Missing required parameter"),
    ],
)
async def test_a_wrong_message_is_refused_with_the_path_of_the_mistake(
    client: Client, message: Any, param: str, words: str
) -> None:
    response = await client.post(CHAT, json={"messages": [message]})
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_value", param)
    assert words in error["message"]


async def test_members_of_another_roles_message_mean_nothing(client: Client, router: ScriptedRouter) -> None:
    message = {"role": "user", "content": "Hi", "tool_calls": [{"id": 7}], "tool_call_id": "a", "refusal": 1}
    response = await client.post(CHAT, json={"messages": [message]})
    assert response.status == 200
    assert router.asked[0].messages == [Message(Role.USER, "Hi")]


@pytest.mark.parametrize("text", ["", " \n", "\u2003"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_what_is_blank_is_a_prompt_all_the_same(
    client: Client, router: ScriptedRouter, path: str, text: str
) -> None:
    body = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    assert (await client.post(path, json=body)).status == 200
    assert text in render(router.asked[0].messages).text
    assert render(router.asked[0].messages).text.strip()


@pytest.mark.parametrize(("number", "status"), [(2.0, 200), (2.5, 400), (2.0**53, 400)])
async def test_a_whole_number_may_be_written_with_a_point(client: Client, number: float, status: int) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": number}
    assert (await client.post(CHAT, json=body)).status == status
