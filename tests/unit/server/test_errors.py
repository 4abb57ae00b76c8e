from __future__ import annotations

import io
from typing import Any

import pytest

import cursorpipe_core
from cursorpipe_core import (
    AgentCrashError,
    AgentError,
    AgentNotFoundError,
    AgentTimeoutError,
    AgentUnavailableError,
    AuthenticationError,
    BacklogError,
    CursorpipeError,
    InvalidRequestError,
    NetworkError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitError,
    SessionError,
    ToolArgumentsError,
    ToolChoiceError,
    ToolError,
    ToolRoundsError,
    ToolsUnavailableError,
    UnknownModelError,
)
from cursorpipe_core.outcome import classify
from cursorpipe_server.errors import INTERNAL, http_error
from tests.unit.server.conftest import Client, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}

TABLE: list[tuple[CursorpipeError, int, str, str]] = [
    (AuthenticationError(), 401, "authentication_error", "auth_failed"),
    (RateLimitError("x"), 429, "rate_limit_error", "rate_limited"),
    (QueueFullError("x"), 429, "rate_limit_error", "queue_full"),
    (AgentCrashError("x"), 500, "server_error", "agent_crash"),
    (SessionError("x"), 500, "server_error", "session_error"),
    (BacklogError("x"), 500, "server_error", "client_too_slow"),
    (NetworkError("x"), 502, "upstream_unreachable", "network_error"),
    (ToolsUnavailableError("http"), 502, "server_error", "tools_unavailable"),
    (ToolChoiceError(), 502, "server_error", "tool_choice_unmet"),
    (ToolArgumentsError("f", ["x"]), 502, "server_error", "invalid_tool_arguments"),
    (ToolRoundsError(64), 502, "server_error", "too_many_tool_rounds"),
    (AgentNotFoundError("agent"), 503, "service_unavailable", "agent_not_found"),
    (QueueTimeoutError("x"), 429, "rate_limit_error", "queue_timeout"),
    (AgentUnavailableError("x"), 503, "service_unavailable", "agent_unavailable"),
    (AgentTimeoutError("request", 300), 504, "timeout_error", "timeout"),
    (UnknownModelError("m"), 404, "invalid_request_error", "model_not_found"),
    (InvalidRequestError("x", param="n"), 400, "invalid_request_error", "invalid_value"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "kind", "code"), TABLE)
async def test_each_error_has_its_status_type_and_code(
    client: Client,
    router: ScriptedRouter,
    error: CursorpipeError,
    status: int,
    kind: str,
    code: str,
    stream: bool,
) -> None:
    router.script = [error]
    response = await client.post(CHAT, json=ask(stream=stream))
    body = await response.json()
    assert response.status == status
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert body["error"]["message"] == str(error)
    assert ("Retry-After" in response.headers) is (status in {429, 503})
    assert "x-request-id" in response.headers


def subclasses(cls: type[CursorpipeError]) -> set[type[CursorpipeError]]:
    return {cls}.union(*(subclasses(sub) for sub in cls.__subclasses__()))


def test_every_error_that_can_reach_a_request_has_its_place() -> None:
    # These say what went wrong inside; each is turned into another before a request sees it.
    inner = {CursorpipeError, AgentError, ToolError, cursorpipe_core.SettingsError}
    placeless = {cls.__name__ for cls in subclasses(CursorpipeError) - inner if not _placed(cls)}
    assert placeless == {"RpcError"}


def _placed(cls: type[CursorpipeError]) -> bool:
    return http_error(cls.__new__(cls)) is not INTERNAL


async def test_the_wait_that_a_limit_names_is_passed_on(client: Client, router: ScriptedRouter) -> None:
    router.script = [RateLimitError("x", retry_after=29.2)]
    assert (await client.post(CHAT, json=ask())).headers["Retry-After"] == "30"
    router.script = [classify("Error: S: [resource_exhausted] Slow down, retry in 1m 30s")]
    assert (await client.post(CHAT, json=ask())).headers["Retry-After"] == "90"


async def test_a_turn_that_had_begun_is_not_to_be_repeated(client: Client, router: ScriptedRouter) -> None:
    router.script = [AgentCrashError("x").of_request(begun=True)]
    assert (await client.post(CHAT, json=ask())).headers["x-should-retry"] == "false"
    router.script = [AgentCrashError("x").of_request(begun=False)]
    assert "x-should-retry" not in (await client.post(CHAT, json=ask())).headers


async def test_a_fault_of_ours_is_500_and_tells_nothing(client: Client, router: ScriptedRouter) -> None:
    router.script = [ValueError("secret")]
    response = await client.post(CHAT, json=ask())
    assert response.status == 500
    assert "secret" not in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("GET", CHAT, {}, 405),
        ("OPTIONS", CHAT, {}, 405),
        ("POST", CHAT, {"data": b"{", "headers": JSON}, 400),
        ("POST", CHAT, {"data": b"\xff\xfe", "headers": JSON}, 400),
        ("POST", CHAT, {"data": b"hello", "headers": {"Content-Type": "text/plain"}}, 415),
        (
            "POST",
            CHAT,
            {"data": io.BytesIO(b"x" * 1_100_000), "headers": JSON},
            413,
        ),
    ],
)
async def test_http_itself_refuses_in_the_same_envelope(
    make_client: MakeClient, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    client = await make_client(max_body_mb=1)
    response = await client.request(method, path, **options)
    assert response.status == status
    assert (await response.json())["error"]["type"] == "invalid_request_error"
    assert ("Allow" in response.headers) is (status == 405)


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/vnd.x+json"])
async def test_json_is_json_by_any_name(client: Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    skip = () if content_type else ("Content-Type",)
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    response = await client.post(CHAT, data=body, headers=headers, skip_auto_headers=skip)
    assert response.status == 200


async def test_a_callers_request_id_comes_back(client: Client) -> None:
    response = await client.post(CHAT, json=ask(stream=True), headers={"x-request-id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"


@pytest.mark.parametrize("given", ["", "two words", "x" * 200])
async def test_an_id_that_cannot_stand_in_a_log_is_replaced(client: Client, given: str) -> None:
    response = await client.get("/health", headers={"x-request-id": given})
    assert response.headers["x-request-id"].startswith("req_")


async def test_the_access_line_tells_the_request_but_not_the_prompt(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await client.post(CHAT, json=ask("my secret", model="m"))
    (line,) = (record.getMessage() for record in caplog.records if record.name == "cursorpipe_server.access")
    assert line.startswith("POST /v1/chat/completions 200 ")
    assert "model=m backend=acp" in line
    assert "my secret" not in caplog.text
