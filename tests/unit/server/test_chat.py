from __future__ import annotations

import json
from typing import Any

import pytest

from cursorpipe_core import (
    Backend,
    Began,
    Finish,
    FinishReason,
    Message,
    Role,
    Strategy,
    TextDelta,
    ThoughtDelta,
    ToolEvent,
    Usage,
)
from cursorpipe_server.chat.schemas import MAX_MESSAGES
from tests.unit.server.conftest import (
    BEGAN,
    FINISH,
    HELLO,
    USAGE,
    Client,
    MakeClient,
    ScriptedRouter,
    Step,
    ask,
)
from tests.waiting import until

CHAT = "/v1/chat/completions"


async def test_an_answer_has_openais_shape(client: Client) -> None:
    response = await client.post(CHAT, json=ask())
    body = await response.json()
    assert response.status == 200
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "chat.completion",
        "model": "auto",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
    }


async def test_the_messages_reach_the_core_in_its_own_words(client: Client, router: ScriptedRouter) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "name": "ann",
        },
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "function", "content": "42", "name": "f"},
    ]
    await client.post(CHAT, json={"model": "m", "messages": messages, "unknown": {"x": 1}, "stream": None})
    (asked,) = router.asked
    assert asked.model == "m"
    assert asked.messages == [
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "ab", "ann"),
        Message(Role.ASSISTANT, ""),
        Message(Role.TOOL, "42", "f"),
    ]


async def test_a_stream_is_these_frames_byte_for_byte(client: Client) -> None:
    response = await client.post(CHAT, json=ask(model="claude", stream=True))
    text = (await response.read()).decode()
    first = json.loads(text.partition("\n")[0].removeprefix("data: "))
    head = (
        f'{{"id":"{first["id"]}","object":"chat.completion.chunk","created":{first["created"]},"model":"claude",'
        '"choices":[{"index":0,"delta":'
    )
    assert text == (
        f'data: {head}{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n'
        f'data: {head}{{"content":"Hel"}},"finish_reason":null}}]}}\n\n'
        f'data: {head}{{"content":"lo"}},"finish_reason":null}}]}}\n\n'
        f'data: {head}{{}},"finish_reason":"stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )
    assert response.content_type == "text/event-stream"


def chunks(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.split("\n") if line.startswith("data: {")]


async def test_usage_comes_in_a_chunk_of_its_own_if_asked_for(client: Client) -> None:
    response = await client.post(CHAT, json=ask(stream=True, stream_options={"include_usage": True}))
    *before, last = chunks(await response.text())
    assert all(chunk["usage"] is None for chunk in before)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 15


async def test_usage_is_not_mentioned_if_not_asked_for(client: Client) -> None:
    response = await client.post(CHAT, json=ask(stream=True))
    assert all("usage" not in chunk for chunk in chunks(await response.text()))


@pytest.mark.parametrize("text", ['"quoted"\\\n\u2028', "\0", "日本語 😀", "</script>", "data: [DONE]\n\n"])
async def test_any_text_survives_its_way(client: Client, router: ScriptedRouter, text: str) -> None:
    router.script = [[BEGAN, TextDelta(text), USAGE, FINISH]]
    whole = await (await client.post(CHAT, json=ask())).json()
    assert whole["choices"][0]["message"]["content"] == text
    streamed = chunks(await (await client.post(CHAT, json=ask(stream=True))).text())
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed) == text


@pytest.mark.parametrize(
    ("reason", "word"),
    [(FinishReason.STOP, "stop"), (FinishReason.LENGTH, "length"), (FinishReason.REFUSAL, "content_filter")],
)
async def test_the_reason_of_the_end_is_told(
    client: Client, router: ScriptedRouter, reason: FinishReason, word: str
) -> None:
    router.script = [[BEGAN, TextDelta("x"), USAGE, Finish(reason)]]
    body = await (await client.post(CHAT, json=ask())).json()
    assert body["choices"][0]["finish_reason"] == word


async def test_an_empty_model_is_none(client: Client, router: ScriptedRouter) -> None:
    assert (await client.post(CHAT, json=ask(model=""))).status == 200
    assert router.asked[0].model is None


async def test_thoughts_and_tools_are_no_part_of_the_answer(client: Client, router: ScriptedRouter) -> None:
    script: list[Step] = [[BEGAN, ThoughtDelta("hm")], [ToolEvent("1", "ls", "pending")], HELLO[1:]]
    router.script = script
    body = await (await client.post(CHAT, json=ask())).json()
    assert body["choices"][0]["message"]["content"] == "Hello"
    streamed = chunks(await (await client.post(CHAT, json=ask(stream=True))).text())
    assert len(streamed) == 4


async def test_headers_tell_how_the_answer_was_made(client: Client, router: ScriptedRouter) -> None:
    router.script = [[Began(Backend.SUBPROCESS, "m"), TextDelta("x"), Usage(1, 1), FINISH]]
    headers = (await client.post(CHAT, json=ask(model="m"))).headers
    assert headers["x-cursorpipe-backend"] == "subprocess"
    assert headers["x-cursorpipe-model"] == "m"
    assert headers["x-cursorpipe-usage"] == "reported"
    assert "x-cursorpipe-ignored" not in headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_ignored_is_said_to_be(
    client: Client, router: ScriptedRouter, stream: bool
) -> None:
    router.strategy = Strategy.ACP
    headers = (await client.post(CHAT, json=ask(model="m", stream=stream))).headers
    assert headers["x-cursorpipe-ignored"] == "model"
    assert headers["x-cursorpipe-model"] == "auto"


@pytest.mark.parametrize("stream", [False, True])
async def test_parameters_without_effect_are_named(client: Client, stream: bool) -> None:
    body = ask(stream=stream, temperature=0, tools=[], user="me", top_p=None) | {"bad\r\nname": 1}
    headers = (await client.post(CHAT, json=body)).headers
    assert headers["x-cursorpipe-ignored"] == "temperature, tools"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1)}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        (ask(stream="maybe"), "stream"),
        (ask(model=7), "model"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages.0.content.0.text",
        ),
        ([], None),
    ],
)
async def test_a_wrong_body_is_refused_with_the_path_of_the_mistake(
    client: Client, body: Any, param: str | None
) -> None:
    response = await client.post(CHAT, json=body)
    error = (await response.json())["error"]
    assert (response.status, error["type"], error["param"]) == (400, "invalid_request_error", param)


async def test_an_image_is_refused_with_the_reason(client: Client) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    error = (await (await client.post(CHAT, json=body)).json())["error"]
    assert "'image_url' is not supported" in error["message"]


async def test_models_are_listed_in_openais_shape(client: Client) -> None:
    body = await (await client.get("/v1/models")).json()
    assert body == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": 1712160000, "owned_by": "cursor"}
            for name in ("auto", "a/b[c=d]")
        ],
    }


@pytest.mark.parametrize("path", ["a/b[c=d]", "a%2Fb%5Bc=d%5D", "auto"])
async def test_a_model_is_found_by_its_id_however_it_is_written(client: Client, path: str) -> None:
    response = await client.get(f"/v1/models/{path}")
    assert response.status == 200
    assert (await response.json())["object"] == "model"


async def test_an_unknown_model_is_404_with_the_nearest_names(client: Client) -> None:
    response = await client.get("/v1/models/a/b")
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (404, "model_not_found")
    assert "a/b[c=d]" in error["message"]


async def test_profiling_logs_the_stages(make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    client = await make_client(enable_profiling=True)
    await (await client.post(CHAT, json=ask(stream=True))).read()
    lines = (record.getMessage() for record in caplog.records if record.name == "cursorpipe_server.log")
    await until(lambda: "stages:" in caplog.text)
    line = next(lines)
    assert [word for word in ("body read", "agent began", "first text", "end") if word not in line] == []
