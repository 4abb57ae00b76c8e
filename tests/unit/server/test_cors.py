"""Cross-origin resource sharing: off, until somebody names origins."""

from __future__ import annotations

import re

import pytest

from cursorpipe_core import AgentCrashError, TextDelta
from cursorpipe_server.cors import EXPOSED_HEADERS
from cursorpipe_server.openapi import openapi_document
from tests.unit.server.conftest import BEGAN, Client, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"
APP = "https://app.example"
TOKEN = "s3cret"
QUESTION = {
    "Origin": APP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os,x-evil,x-stainless-\xfc",
}


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return await make_client(bearer_token=TOKEN, cors_origins=(APP, "http://localhost:3000"))


def cors_headers(headers: object) -> set[str]:
    return {name for name in dict(headers) if name.startswith("Access-Control")}  # type: ignore[call-overload]


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/nowhere"])
async def test_a_browsers_question_is_answered_without_a_token(client: Client, path: str) -> None:
    async with client.options(path, headers=QUESTION) as response:
        assert response.status == 204
        assert await response.read() == b""
        assert response.headers["Access-Control-Allow-Origin"] == APP
        assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
        allowed = re.split(", ?", response.headers["Access-Control-Allow-Headers"])
        assert allowed == ["authorization", "content-type", "x-api-key", "x-request-id", "x-stainless-os"]
        assert int(response.headers["Access-Control-Max-Age"]) > 0
        assert response.headers.getall("Vary") == ["Origin"]
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_can_be_read_by_the_page(client: Client, stream: bool) -> None:
    headers = {"Origin": APP, "Authorization": f"Bearer {TOKEN}"}
    async with client.post(CHAT, json=ask(stream=stream), headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == APP
        assert "x-request-id" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers.getall("Vary") == ["Origin"]
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "authorized", "status"),
    [
        ("POST", CHAT, False, 401),
        ("GET", "/nowhere", True, 404),
        ("GET", CHAT, True, 405),
        ("POST", CHAT, True, 500),
    ],
)
async def test_an_error_can_be_read_by_the_page(
    client: Client, router: ScriptedRouter, method: str, path: str, authorized: bool, status: int
) -> None:
    router.script = [AgentCrashError("x")]
    headers = {"Origin": APP, **({"Authorization": f"Bearer {TOKEN}"} if authorized else {})}
    async with client.request(method, path, json=ask(), headers=headers) as response:
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == APP


async def test_a_stream_that_fails_can_be_read_to_its_end(client: Client, router: ScriptedRouter) -> None:
    router.script = [[BEGAN, TextDelta(["Hel"])], AgentCrashError("x")]
    headers = {"Origin": APP, "Authorization": f"Bearer {TOKEN}"}
    async with client.post(CHAT, json=ask(stream=True), headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == APP
        assert "agent_crash" in await response.text()


async def test_another_origin_is_told_nothing(client: Client) -> None:
    async with client.options(CHAT, headers={**QUESTION, "Origin": "https://evil.example"}) as response:
        assert response.status == 403
        assert not cors_headers(response.headers)
        assert response.headers["Vary"] == "Origin"


async def test_a_program_is_served_as_ever(client: Client) -> None:
    async with client.post(CHAT, json=ask(), headers={"x-api-key": TOKEN}) as response:
        assert response.status == 200
        assert not cors_headers(response.headers)
        assert response.headers["Vary"] == "Origin"


async def test_without_origins_there_is_no_cors(make_client: MakeClient) -> None:
    client = await make_client()
    question = {name: value for name, value in QUESTION.items() if name != "Origin"}
    async with client.options(CHAT, headers=question) as response:
        assert response.status == 405
    async with client.options(CHAT, headers=QUESTION) as response:
        assert response.status == 403
        assert not cors_headers(response.headers)
        assert "Vary" not in response.headers


async def test_a_question_that_is_none_gets_no_answer(client: Client) -> None:
    async with client.options(CHAT, headers={"Origin": APP, "Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 405


@pytest.mark.parametrize("origin", [APP, "http://elsewhere.example:81", "null"])
async def test_a_star_lets_every_page_with_a_token_in(make_client: MakeClient, origin: str) -> None:
    client = await make_client(bearer_token=TOKEN, cors_origins=("*",))
    for token, status in ((TOKEN, 200), ("wrong", 401)):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {token}"}
        async with client.post(CHAT, json=ask(), headers=headers) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == origin


async def test_an_allowed_page_does_not_make_its_own_hosts_allowed(make_client: MakeClient) -> None:
    client = await make_client(cors_origins=(APP,))
    for host, status in (("localhost:1", 200), ("app.example", 403)):
        async with client.post(CHAT, json=ask(), headers={"Origin": APP, "Host": host}) as response:
            assert response.status == status


def test_every_header_of_ours_can_be_read() -> None:
    described = openapi_document(version="1")["components"]["headers"]
    # `Allow` is for programs that probe; a page knows what it asks for.
    assert set(EXPOSED_HEADERS) == described.keys() - {"Allow"}
