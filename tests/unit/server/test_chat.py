from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cursorpipe_core import (
    Backend,
    Began,
    Finish,
    FinishReason,
    Image,
    JsonFormat,
    Limits,
    Message,
    RateLimitError,
    Role,
    Strategy,
    TextDelta,
    ThoughtDelta,
    ToolCall,
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
            "completion_tokens_details": {"reasoning_tokens": 1},
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
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "assistant", "content": "", "function_call": {"name": "g", "arguments": ""}},
        {"role": "function", "content": "43", "name": "g"},
    ]
    await client.post(CHAT, json={"model": "m", "messages": messages, "unknown": {"x": 1}, "stream": None})
    (asked,) = router.asked
    assert asked.model == "m"
    assert asked.messages == [
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "ab", "ann"),
        Message(Role.ASSISTANT, "", calls=(ToolCall("1", "f", "{}"),)),
        Message(Role.TOOL, "42", call_id="1"),
        Message(Role.ASSISTANT, "", calls=(ToolCall("", "g", ""),)),
        Message(Role.TOOL, "43", "g"),
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
        f'data: {head}{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}]}}\n\n'
        f'data: {head}{{"content":"Hel"}},"logprobs":null,"finish_reason":null}}]}}\n\n'
        f'data: {head}{{"content":"lo"}},"logprobs":null,"finish_reason":null}}]}}\n\n'
        f'data: {head}{{}},"logprobs":null,"finish_reason":"stop"}}]}}\n\n'
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
    router.script = [[BEGAN, TextDelta([text]), USAGE, FINISH]]
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
    router.script = [[BEGAN, TextDelta(["x"]), USAGE, Finish(reason)]]
    body = await (await client.post(CHAT, json=ask())).json()
    assert body["choices"][0]["finish_reason"] == word


async def test_an_empty_model_is_none(client: Client, router: ScriptedRouter) -> None:
    assert (await client.post(CHAT, json=ask(model=""))).status == 200
    assert router.asked[0].model is None


THOUGHTFUL: list[Step] = [
    [BEGAN, ThoughtDelta(["h"])],
    [ThoughtDelta(["m"]), ToolEvent("1", "ls", "pending")],
    HELLO[1:],
]


async def test_thoughts_are_told_apart_from_the_answer(client: Client, router: ScriptedRouter) -> None:
    router.script = THOUGHTFUL
    message = (await (await client.post(CHAT, json=ask())).json())["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "reasoning_content": "hm",
    }
    streamed = chunks(await (await client.post(CHAT, json=ask(stream=True))).text())
    assert [chunk["choices"][0]["delta"] for chunk in streamed] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]


async def test_thoughts_are_left_out_if_nobody_wants_them(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    client = await make_client(reasoning=False)
    router.script = THOUGHTFUL
    assert "reasoning_content" not in await (await client.post(CHAT, json=ask())).text()
    streamed = await (await client.post(CHAT, json=ask(stream=True))).text()
    assert len(chunks(streamed)) == 4
    assert "reasoning_content" not in streamed


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_are_told_by_their_index(
    client: Client, router: ScriptedRouter, stream: bool
) -> None:
    options = {"include_usage": True} if stream else None
    body = ask(n=3, stream=stream, stream_options=options)
    response = await client.post(CHAT, json=body)
    assert len(router.asked) == 3
    if not stream:
        answer = await response.json()
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
        assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello"}
        usage = answer["usage"]
    else:
        *streamed, last = chunks(await response.text())
        for index in range(3):
            own = [choice for chunk in streamed for choice in chunk["choices"] if choice["index"] == index]
            assert own[0]["delta"]["role"] == "assistant"
            assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello"
            assert own[-1]["finish_reason"] == "stop"
        usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (36, 9)


async def test_a_failure_of_one_answer_is_that_of_all_and_stops_the_others(
    client: Client, router: ScriptedRouter
) -> None:
    stuck = asyncio.Event()
    scripts: Iterator[list[Step]] = iter([[[BEGAN], stuck], [RateLimitError("spent")]])
    router.script_of = lambda: next(scripts)
    response = await client.post(CHAT, json=ask(n=2))
    assert response.status == 429
    assert router.open == 0


async def test_headers_tell_how_the_answer_was_made(client: Client, router: ScriptedRouter) -> None:
    router.script = [[Began(Backend.SUBPROCESS, "m"), TextDelta(["x"]), Usage(1, 1), FINISH]]
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


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.mark.parametrize("stream", [False, True])
async def test_parameters_without_effect_are_named(client: Client, stream: bool) -> None:
    body = ask(stream=stream, temperature=0, tools=TOOLS, user="me", top_p=None) | {"bad\r\nname": 1, "x": 1}
    headers = (await client.post(CHAT, json=body)).headers
    assert headers["x-cursorpipe-ignored"] == "temperature, x"


async def test_parameters_that_ask_for_nothing_are_not_named(client: Client) -> None:
    body = ask(
        temperature=1,
        top_p=1.0,
        presence_penalty=0,
        logit_bias={},
        logprobs=False,
        tools=TOOLS,
        tool_choice="none",
        n=1,
        user="me",
        store=True,
        metadata={"a": "b"},
        service_tier="auto",
        response_format={"type": "text"},
    )
    response = await client.post(CHAT, json=body)
    assert response.status == 200, await response.text()
    assert "x-cursorpipe-ignored" not in response.headers


async def test_what_cannot_be_honoured_is_refused_where_the_operator_wants_that(
    make_client: MakeClient, router: ScriptedRouter
) -> None:
    client = await make_client(strict_params=True)
    router.strategy = Strategy.ACP
    response = await client.post(CHAT, json=ask(seed=7, model="m"))
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_parameter", "seed")
    assert (await client.post(CHAT, json=ask(temperature=1, model="m"))).status == 200


async def test_effort_is_the_variant_of_a_model_or_has_no_effect(
    client: Client, router: ScriptedRouter
) -> None:
    response = await client.post(CHAT, json=ask(model="thinker", reasoning_effort="high"))
    assert (await response.json())["model"] == "thinker"
    assert "x-cursorpipe-ignored" not in response.headers
    response = await client.post(CHAT, json=ask(reasoning_effort="high"))
    assert response.headers["x-cursorpipe-ignored"] == "reasoning_effort"
    assert [asked.model for asked in router.asked] == ["thinker-high", None]


@pytest.mark.parametrize(
    ("members", "limits"),
    [
        ({}, Limits()),
        ({"stop": "END"}, Limits(stop=("END",))),
        ({"stop": ["a", "b"], "max_tokens": 5}, Limits(stop=("a", "b"), max_tokens=5)),
        ({"max_tokens": 5, "max_completion_tokens": 3}, Limits(max_tokens=3)),
        ({"stop": None, "max_tokens": None}, Limits()),
    ],
)
async def test_limits_reach_the_core(
    client: Client, router: ScriptedRouter, members: dict[str, Any], limits: Limits
) -> None:
    assert (await client.post(CHAT, json=ask(**members))).status == 200
    assert router.asked[0].limits == limits


async def test_the_format_of_the_answer_reaches_the_core(client: Client, router: ScriptedRouter) -> None:
    schema = {"type": "object"}
    described = {"name": "thing", "schema": schema, "strict": True, "description": "d"}
    await client.post(CHAT, json=ask(response_format={"type": "json_schema", "json_schema": described}))
    assert router.asked[0].answer_format == JsonFormat("thing", "d", schema)
    await client.post(CHAT, json=ask(response_format={"type": "json_object"}))
    assert router.asked[1].answer_format == JsonFormat()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"temperature": 3}, "Invalid 'temperature': expected a value <= 2, but got 3 instead."),
        ({"n": 0}, "Invalid 'n': expected a value >= 1, but got 0 instead."),
        ({"top_p": "x"}, "Invalid type for 'top_p': expected a number, but got a string instead."),
        (
            {"max_tokens": 1.5},
            "Invalid type for 'max_tokens': expected an integer, but got a number instead.",
        ),
        ({"stream": 1}, "Invalid type for 'stream': expected a boolean, but got an integer instead."),
        ({"messages": []}, "Invalid 'messages': expected at least 1 item, but got 0 instead."),
        (
            {"reasoning_effort": "x" * 500},
            (
                "Invalid value for 'reasoning_effort': expected one of 'none', 'minimal', 'low', 'medium', "
                f"'high', 'xhigh', 'max', but got '{'x' * 100}…' instead."
            ),
        ),
    ],
)
async def test_a_mistake_is_told_in_openais_way(client: Client, members: dict[str, Any], words: str) -> None:
    response = await client.post(CHAT, json={**ask(), **members})
    assert (await response.json())["error"]["message"] == words


@pytest.mark.parametrize(
    ("headers", "timeout_s"),
    [
        ({}, None),
        ({"X-Stainless-Timeout": "30"}, 30),
        ({"X-Stainless-Read-Timeout": "600.0", "X-Stainless-Timeout": "60"}, 60),
        ({"X-Stainless-Timeout": "nonsense"}, None),
        ({"X-Stainless-Timeout": "-1"}, None),
        ({"X-Stainless-Timeout": "inf"}, None),
    ],
)
async def test_a_client_that_tells_how_long_it_waits_is_heard(
    client: Client, router: ScriptedRouter, headers: dict[str, str], timeout_s: float | None
) -> None:
    await client.post(CHAT, json=ask(), headers=headers)
    await client.post(CHAT, json=ask(stream=True), headers=headers)
    assert [asked.timeout_s for asked in router.asked] == [timeout_s, None]


def with_image(url: str, role: str = "user") -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return {"messages": [{"role": role, "content": [{"type": "text", "text": "What?"}, part]}]}


async def test_an_image_reaches_the_core(client: Client, router: ScriptedRouter) -> None:
    response = await client.post(CHAT, json=with_image("data:image/PNG;charset=x;base64,aGk="))
    assert response.status == 200
    (message,) = router.asked[0].messages
    assert (message.text, message.images) == ("What?", (Image("image/png", b"hi"),))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (with_image("https://example.com/cat.png"), "images are not fetched"),
        (with_image("data:image/png;base64,@@@"), "not base64"),
        (with_image("data:image/png;base64,"), "empty"),
        (with_image("data:image/tiff;base64,aGk="), "not supported"),
        (with_image("data:text/html;base64,aGk="), "images are not fetched"),
        (with_image("data:image/png;base64,aGk=", role="system"), "only a user"),
    ],
)
async def test_an_image_that_cannot_be_passed_on_is_refused_with_the_reason(
    client: Client, body: dict[str, Any], reason: str
) -> None:
    response = await client.post(CHAT, json=body)
    error = (await response.json())["error"]
    assert response.status == 400
    assert reason in error["message"]
    assert error["param"].startswith("messages.0.content.1.image_url")


async def test_the_time_it_took_is_told(client: Client) -> None:
    assert int((await client.post(CHAT, json=ask())).headers["openai-processing-ms"]) >= 0


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
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "messages.0.content.0",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.image_url",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.name"),
        (ask(temperature=3), "temperature"),
        (ask(temperature="hot"), "temperature"),
        (ask(top_p=-0.1), "top_p"),
        (ask(n=0), "n"),
        (ask(n=9), "n"),
        (ask(n=True), "n"),
        (ask(stop=["a", "b", "c", "d", "e"]), "stop"),
        (ask(stop=[""]), "stop.0"),
        (ask(max_tokens=0), "max_tokens"),
        (ask(max_tokens=1.5), "max_tokens"),
        (ask(seed=2**70), "seed"),
        (ask(logit_bias={"5": 101}), "logit_bias.5"),
        (ask(stream_options={"include_usage": True}), "stream_options"),
        (ask(response_format={"type": "yaml"}), "response_format.type"),
        (ask(response_format={"type": "json_schema"}), "response_format.json_schema"),
        (ask(response_format={"type": "json_schema", "json_schema": {}}), "response_format.json_schema.name"),
        (ask(tools=[{"type": "function", "function": {}}]), "tools.0.function.name"),
        (ask(tool_choice="required"), "tool_choice"),
        (ask(tool_choice={"type": "function", "function": {"name": "f"}}), "tool_choice"),
        (ask(function_call={"name": "f"}), "function_call"),
        (ask(modalities=["audio"]), "modalities"),
        (ask(reasoning_effort="huge"), "reasoning_effort"),
        (ask(metadata={"a": 1}), "metadata.a"),
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
