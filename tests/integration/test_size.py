"""Large things and many things."""

from __future__ import annotations

import asyncio
import io

import orjson
import psutil
import pytest

from cursorpipe_core.jsonrpc import MAX_LINE_BYTES
from tests.demo import DemoAgent
from tests.integration.conftest import CHAT, Serve, answer, ask
from tests.integration.streams import Stream, read_stream
from tests.waiting import until

NAMED = "composer-2.5"


async def test_a_hundred_streams_at_once_are_whole_and_unmixed(serve: Serve) -> None:
    client = await serve(strategy="acp", workers=2, pool_size=4)

    async def one(number: int) -> Stream:
        prompt = f"[[demo:markers marker=mark-{number}- count=20 ms=5]]"
        async with client.post(CHAT, json=ask(prompt, stream=True)) as response:
            return await read_stream(response)

    streams = await asyncio.gather(*map(one, range(100)))
    for number, stream in enumerate(streams):
        assert stream.done
        assert stream.text.count("mark-") == 20
        assert stream.text.count(f"mark-{number}-") == 20


@pytest.mark.parametrize("model", ["auto", NAMED])
async def test_a_prompt_of_five_megabytes_passes(serve: Serve, model: str) -> None:
    client = await serve()
    text = "x" * 5_000_000 + " the end"
    async with client.post(CHAT, data=_body(text, model), headers=JSON) as response:
        body = await response.json()
        assert response.status == 200
        assert "the end" in body["choices"][0]["message"]["content"]
        assert body["usage"]["prompt_tokens"] > 1_000_000


async def test_an_update_of_twenty_megabytes_passes(serve: Serve) -> None:
    client = await serve(strategy="acp")
    assert len(await answer(client, "[[demo:huge-line]]")) >= 20_000_000
    async with client.post(CHAT, json=ask("[[demo:huge-line]]", stream=True)) as response:
        stream = await read_stream(response)
    assert stream.done
    assert len(stream.text) >= 20_000_000


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_an_agent_whose_line_has_no_end_is_ended_and_another_one_serves(
    serve: Serve, agent: DemoAgent, strategy: str
) -> None:
    client = await serve(strategy=strategy)
    prompt = f"[[demo:huge-line bytes={MAX_LINE_BYTES + 1_000_000}]]"
    async with client.post(CHAT, json=ask(prompt)) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (500, "agent_crash")
    assert f"more than {MAX_LINE_BYTES >> 20} MiB" in error["message"]
    ended = [prompt["pid"] for prompt in agent.events("prompt")]
    assert len(set(ended)) == len(ended)
    await until(lambda: not [pid for pid in ended if psutil.pid_exists(pid)])
    assert "hi" in await answer(client, "hi")


@pytest.mark.parametrize("strategy", ["acp", "subprocess"])
async def test_ten_thousand_chunks_arrive_whole(serve: Serve, strategy: str) -> None:
    client = await serve(strategy=strategy)
    assert len(await answer(client, "[[demo:chunks count=10000 bytes=16]]")) == 160_000
    async with client.post(CHAT, json=ask("[[demo:chunks count=10000 bytes=16]]", stream=True)) as response:
        stream = await read_stream(response)
    assert len(stream.text) == 160_000
    # Each chunk of the agent's is an event of its own, beside the first and the last.
    assert len(stream.chunks) == 10_002


JSON = {"Content-Type": "application/json"}


def _body(text: str, model: str) -> io.BytesIO:
    return io.BytesIO(orjson.dumps(ask(text, model=model)))
