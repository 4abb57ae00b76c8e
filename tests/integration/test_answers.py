"""What a request may ask of its answer, kept by the whole program in both backends."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, answer, ask
from tests.integration.streams import read_stream
from tests.waiting import until

BOTH = pytest.mark.parametrize("strategy", ["acp", "subprocess"])
MANY = "[[demo:markers marker=m count=2000 ms=5]]"

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}


async def stopped(agent: DemoAgent, strategy: str) -> None:
    """Wait until the agent has heard that it is to stop, or is gone."""
    if strategy == "acp":
        await agent.wait_for("cancelled")
    else:
        (started,) = agent.events("start", mode="print")
        await until(lambda: not psutil.pid_exists(started["pid"]))


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_ends_before_its_stop_text_and_the_agent_with_it(
    serve: Serve, agent: DemoAgent, strategy: str, stream: bool
) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask(MANY, stop=["never", "m-3"], stream=stream)) as response:
        if stream:
            streamed = await read_stream(response)
            assert streamed.done
            text, reason = streamed.text, streamed.chunks[-1]["choices"][0]["finish_reason"]
        else:
            choice = (await response.json())["choices"][0]
            text, reason = choice["message"]["content"], choice["finish_reason"]
    assert text.split() == ["m-1", "m-2"]
    assert reason == "stop"
    await stopped(agent, strategy)


@BOTH
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_ends_after_so_many_tokens_and_the_agent_with_it(
    serve: Serve, agent: DemoAgent, strategy: str, name: str
) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask(MANY, **{name: 4})) as response:
        body = await response.json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["message"]["content"]) == 16
    assert body["usage"]["completion_tokens"] == 4
    await stopped(agent, strategy)


@BOTH
async def test_several_answers_come_from_as_many_sessions(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask("[[demo:markers count=3]]", n=3, stream=True)) as response:
        frames = [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: {")]
    texts = ["", "", ""]
    for frame in frames:
        for choice in frame["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert [text.split() for text in texts] == [["marker-1", "marker-2", "marker-3"]] * 3
    prompts = agent.events("prompt")
    assert len({(prompt["pid"], prompt.get("session")) for prompt in prompts}) == 3


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_by_a_schema_is_json_and_nothing_else(
    serve: Serve, strategy: str, stream: bool
) -> None:
    client = await serve(strategy=strategy)
    async with client.post(
        CHAT, json=ask("Plan a trip.", response_format=BY_SCHEMA, stream=stream)
    ) as response:
        assert response.status == 200, await response.text()
        if stream:
            text = (await read_stream(response)).text
        else:
            text = (await response.json())["choices"][0]["message"]["content"]
    assert json.loads(text) == {"city": "demo", "days": 3}


@BOTH
async def test_an_answer_that_is_not_valid_is_corrected_in_the_same_session(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(strategy=strategy)
    text = "[[demo:markers count=3]]Plan a trip."
    async with client.post(CHAT, json=ask(text, response_format=BY_SCHEMA)) as response:
        body = await response.json()
    assert json.loads(body["choices"][0]["message"]["content"]) == {"city": "demo", "days": 3}
    first, second = agent.events("prompt")
    assert first["session"] == second["session"]
    assert "There is no JSON in the answer." in second["text"]
    assert body["usage"]["prompt_tokens"] > len(first["text"]) / 4


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_still_not_valid_is_an_error_with_the_violations(
    serve: Serve, agent: DemoAgent, strategy: str, stream: bool
) -> None:
    agent.set(SCENARIO="markers count=2")
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask(response_format=BY_SCHEMA, stream=stream)) as response:
        error = (await response.json())["error"]
        assert response.status == 502
        assert response.headers["x-should-retry"] == "false"
    assert error["code"] == "invalid_output"
    assert "no JSON" in error["message"]
    assert await answer(client, "Hello")  # the session was given back


@BOTH
async def test_a_failure_of_the_correction_is_told_as_what_it_is(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    agent.set(SCENARIO="usage-limit")
    client = await serve(strategy=strategy)
    text = "[[demo:markers count=2]]"
    async with client.post(CHAT, json=ask(text, response_format={"type": "json_object"})) as response:
        assert response.status == 429
        assert response.headers["x-should-retry"] == "false"
        assert (await response.json())["error"]["code"] == "rate_limited"


@BOTH
async def test_a_second_try_does_not_wait_for_the_place_of_the_first(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    limits = {"worker_concurrency": 1, "max_subprocesses": 1, "queue_timeout_s": 5}
    client = await serve(strategy=strategy, supervision=limits)
    text = "[[demo:dns-failure times=1]]"
    async with client.post(CHAT, json=ask(text, response_format=BY_SCHEMA)) as response:
        assert response.status == 200, await response.text()
    assert len(agent.events("prompt")) == 2


async def test_a_client_that_leaves_before_the_correction_is_over_is_heard(
    serve: Serve, agent: DemoAgent
) -> None:
    agent.set(SCENARIO="silent-prompt")
    client = await serve()
    text = "[[demo:markers count=2]]"
    body = ask(text, response_format={"type": "json_object"}, stream=True)
    asking = asyncio.create_task(client.request("POST", CHAT, json=body))
    await agent.wait_for("prompt", count=2)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await agent.wait_for("cancelled")


@BOTH
async def test_a_limit_cuts_json_as_it_cuts_any_answer(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask(response_format=BY_SCHEMA, max_tokens=2)) as response:
        choice = (await response.json())["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", '{"city":')


def picture(mime: str = "image/png") -> dict[str, Any]:
    url = f"data:{mime};base64,{base64.b64encode(b'a picture').decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


@BOTH
async def test_images_reach_the_agent(serve: Serve, agent: DemoAgent, strategy: str) -> None:
    client = await serve(strategy=strategy)
    content = [{"type": "text", "text": "What is this?"}, picture(), picture("image/webp")]
    async with client.post(CHAT, json={"messages": [{"role": "user", "content": content}]}) as response:
        body = await response.json()
    assert "You sent 2 images (image/png, image/webp)" in body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] > 1000 or strategy == "subprocess"


async def test_images_leave_no_file_behind(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(strategy="subprocess")
    content = [{"type": "text", "text": "[[demo:slow-chunks count=3 ms=10]]"}, picture()]
    async with client.post(CHAT, json={"messages": [{"role": "user", "content": content}]}) as response:
        assert response.status == 200
    (started,) = agent.starts("print")
    path = started[started.index("--image") + 1]
    assert path.endswith(".png")
    await until(lambda: not Path(path).exists())


@BOTH
async def test_thoughts_are_told_and_counted(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy)
    async with client.post(CHAT, json=ask("[[demo:thoughts count=5]]")) as response:
        body = await response.json()
    message = body["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["reasoning_content"] not in message["content"]
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


async def test_an_alias_is_the_model_it_stands_for(serve: Serve, agent: DemoAgent) -> None:
    client = await serve(model_aliases=("gpt-4o=auto", "mine=composer-2.5"))
    for alias, backend, model in (("gpt-4o", "acp", "auto"), ("mine", "subprocess", "composer-2.5")):
        async with client.post(CHAT, json=ask(model=alias)) as response:
            assert (await response.json())["model"] == alias
            assert response.headers["x-cursorpipe-backend"] == backend
            assert response.headers["x-cursorpipe-model"] == model
    async with client.get("/v1/models") as response:
        assert {"gpt-4o", "mine"} <= {model["id"] for model in (await response.json())["data"]}
    assert (await client.get("/v1/models/mine")).status == 200


async def test_effort_picks_the_variant_that_the_catalogue_has(serve: Serve) -> None:
    client = await serve()
    for model, effort, served, ignored in (
        ("claude-opus-4-7", "high", "claude-opus-4-7-high", None),
        ("claude-opus-4-7-high", "high", "claude-opus-4-7-high", None),
        ("composer-2.5", "high", "composer-2.5", "reasoning_effort"),
        ("auto", "high", "auto", "reasoning_effort"),
    ):
        async with client.post(CHAT, json=ask(model=model, reasoning_effort=effort)) as response:
            assert response.status == 200, await response.text()
            assert response.headers["x-cursorpipe-model"] == served
            assert response.headers.get("x-cursorpipe-ignored") == ignored


async def test_a_client_that_waits_for_so_long_costs_no_longer(serve: Serve, agent: DemoAgent) -> None:
    client = await serve()
    headers = {"X-Stainless-Timeout": "0.3"}
    async with client.post(CHAT, json=ask("[[demo:silent-prompt]]"), headers=headers) as response:
        assert response.status == 504
    await agent.wait_for("cancelled")
