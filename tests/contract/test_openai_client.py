"""The official client, used as its users use it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from tests.contract.conftest import TOKEN, ServeUrl
from tests.demo import DemoAgent

NAMED = "composer-2.5"


def hello(text: str = "Hello!") -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


@pytest.fixture
def client(serve_url: ServeUrl) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=0) as client:
        yield client


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto"
    assert client.models.retrieve(NAMED).owned_by == "cursor"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@pytest.mark.parametrize("model", ["auto", NAMED])
def test_a_chat(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=hello())
    assert "Hello!" in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == model
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


@pytest.mark.parametrize("model", ["auto", NAMED])
def test_a_stream(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model, messages=hello(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "Hello!" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_streaming_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="auto", messages=hello()) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.done" in events
    assert "Hello!" in (final.choices[0].message.content or "")


async def test_the_async_client(serve_url: ServeUrl) -> None:
    async with openai.AsyncOpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=0) as client:
        completion = await client.chat.completions.create(model="auto", messages=hello())
        assert "Hello!" in (completion.choices[0].message.content or "")
        stream = await client.chat.completions.create(model="auto", messages=hello(), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert "Hello!" in text
        assert "auto" in [model.id async for model in client.models.list()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("scenario", "kind", "status", "code"),
    [
        ("resource-exhausted", openai.RateLimitError, 429, "rate_limited"),
        ("non-retriable", openai.InternalServerError, 500, "session_error"),
        ("crash-before-first-chunk", openai.InternalServerError, 500, "agent_crash"),
        ("unavailable", openai.InternalServerError, 502, "network_error"),
        ("model-not-found", openai.NotFoundError, 404, "model_not_found"),
        ("silent-prompt", openai.InternalServerError, 504, "timeout"),
    ],
)
def test_a_failure_is_the_exception_that_its_status_means(
    serve_url: ServeUrl,
    scenario: str,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    stream: bool,
) -> None:
    url = serve_url("acp", request_timeout_s=1.5)
    with (
        openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        client.chat.completions.create(model="auto", messages=hello(f"[[demo:{scenario}]]"), stream=stream)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id


def test_a_wrong_token_is_an_authentication_error(serve_url: ServeUrl) -> None:
    with (
        openai.OpenAI(base_url=serve_url(), api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"),
    ):
        client.models.list()


def test_cursors_refusal_is_an_authentication_error(serve_url: ServeUrl, agent: DemoAgent) -> None:
    agent.set(SCENARIO="invalid-key")
    with (
        openai.OpenAI(base_url=serve_url("subprocess"), api_key=TOKEN, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="auto", messages=hello())
    assert caught.value.code == "auth_failed"


def test_a_missing_cli_is_an_error_of_the_server(serve_url: ServeUrl) -> None:
    url = serve_url(stand_in=(), agent_bin="no-such-agent")
    with (
        openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="auto", messages=hello())
    assert (caught.value.status_code, caught.value.code) == (503, "agent_not_found")


def test_a_wrong_request_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[])
    assert caught.value.param == "messages"


def test_a_failure_in_mid_stream_raises_after_the_text(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="auto", messages=hello("[[demo:crash-mid-stream]]"), stream=True
    )
    chunks: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        chunks.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(chunks)
    assert caught.value.code == "agent_crash"


def test_a_turn_that_had_begun_is_not_done_twice_by_a_client_that_retries(
    serve_url: ServeUrl, agent: DemoAgent
) -> None:
    with (
        openai.OpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=3) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="auto", messages=hello("[[demo:crash-mid-stream]]"))
    assert len(agent.events("prompt")) == 1


class Trip(BaseModel):
    city: str = Field(min_length=1)
    days: int = Field(ge=3)


@pytest.mark.parametrize("model", ["auto", NAMED])
def test_parse_returns_the_model_that_was_asked_for(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.parse(model=model, messages=hello(), response_format=Trip)
    trip = completion.choices[0].message.parsed
    assert trip is not None
    assert trip.days >= 3


def test_a_streamed_parse_is_whole_at_the_end(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="auto", messages=hello(), response_format=Trip) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed is not None


def test_an_answer_without_the_form_is_an_error_of_the_server(serve_url: ServeUrl, agent: DemoAgent) -> None:
    agent.set(SCENARIO="markers count=2")
    with (
        openai.OpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=3) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.parse(model="auto", messages=hello(), response_format=Trip)
    assert (caught.value.status_code, caught.value.code) == (502, "invalid_output")
    assert len(agent.events("prompt")) == 2  # one turn and its correction, and none by the client's retries


def test_an_answer_cut_short_is_the_clients_length_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="auto", messages=hello(), response_format=Trip, max_tokens=2)


def test_several_answers_stop_texts_and_lengths(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="auto", messages=hello("[[demo:markers count=9]]"), n=2, stop=["marker-4"]
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert {choice.message.content for choice in completion.choices} == {"marker-1 marker-2 marker-3 "}
    cut = client.chat.completions.create(model="auto", messages=hello(), max_completion_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert len(cut.choices[0].message.content or "") == 12


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_where_deepseek_put_them(client: openai.OpenAI, stream: bool) -> None:
    messages = hello("[[demo:thoughts count=3]]")
    if stream:
        deltas = [
            chunk.choices[0].delta
            for chunk in client.chat.completions.create(model="auto", messages=messages, stream=True)
        ]
        thoughts = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    else:
        message = client.chat.completions.create(model="auto", messages=messages).choices[0].message
        thoughts = (message.model_extra or {})["reasoning_content"]
    assert "Thought 3." in thoughts


def test_the_older_completions(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="auto", prompt=["one", "two"])
    assert ["one" in completion.choices[0].text, "two" in completion.choices[1].text] == [True, True]
    stream = client.completions.create(model="auto", prompt="three", stream=True)
    assert "three" in "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
    for unsupported in ({"echo": True}, {"suffix": "x"}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model="auto", prompt="x", extra_body=unsupported)
        assert caught.value.code == "unsupported_parameter"


def test_a_schema_that_is_none_is_a_bad_request(client: openai.OpenAI) -> None:
    schema: dict[str, object] = {"type": "nothing"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="auto",
            messages=hello(),
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        )
    assert caught.value.param == "response_format.json_schema.schema"


def test_the_raw_answer_tells_how_it_was_made(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=NAMED, messages=hello(), temperature=0.5, seed=1
    )
    assert raw.headers["x-cursorpipe-ignored"] == "seed, temperature"
    assert raw.headers["x-cursorpipe-backend"] == "subprocess"
    assert raw.headers["x-cursorpipe-usage"] == "reported"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.request_id == raw.headers["x-request-id"]


async def test_the_async_client_parses_and_streams_the_rest(serve_url: ServeUrl) -> None:
    async with openai.AsyncOpenAI(base_url=serve_url(), api_key=TOKEN, max_retries=0) as client:
        completion = await client.chat.completions.parse(model="auto", messages=hello(), response_format=Trip)
        assert completion.choices[0].message.parsed is not None
        stream = await client.chat.completions.create(model="auto", messages=hello(), stream=True, n=2)
        assert {choice.index async for chunk in stream for choice in chunk.choices} == {0, 1}
        text = await client.completions.create(model="auto", prompt="four")
        assert "four" in text.choices[0].text
