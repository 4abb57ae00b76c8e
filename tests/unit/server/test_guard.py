"""The guard: what a browser sends for a foreign page ends here, what anybody else sends never does."""

from __future__ import annotations

import pytest

from tests.unit.server.conftest import Client, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"
TOKEN = "s3cret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}


def own_origin(client: Client) -> str:
    return f"http://{client.host}:{client.port}"


async def refusal(
    client: Client, headers: dict[str, str], method: str = "POST", path: str = CHAT
) -> str | None:
    """Return the code under which a request is refused by the guard, or None if it is served."""
    body = ask() if method == "POST" else None
    async with client.request(method, path, json=body, headers=headers) as response:
        if response.status == 200:
            return None
        error = (await response.json())["error"]
        assert (response.status, error["type"]) == (403, "invalid_request_error")
        assert "x-request-id" in response.headers
        code: str = error["code"]
        return code


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "garbage of some kind"},
        {"Origin": "http://localhost"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "CROSS-SITE", "Sec-Fetch-Mode": "no-cors"},
    ],
)
async def test_what_a_foreign_page_sends_is_refused(
    make_client: MakeClient, router: ScriptedRouter, headers: dict[str, str], token: str
) -> None:
    client = await make_client(bearer_token=token)
    assert await refusal(client, {**BEARER, **headers}) == "cross_origin"
    assert not router.asked


async def test_another_port_or_scheme_is_another_origin(client: Client) -> None:
    for origin in (f"http://{client.host}:{(client.port or 0) - 1}", f"https://{client.host}:{client.port}"):
        assert await refusal(client, {"Origin": origin}) == "cross_origin"


async def test_an_origin_that_comes_twice_is_refused(client: Client) -> None:
    headers = [("Origin", own_origin(client)), ("Origin", own_origin(client))]
    assert (await client.post(CHAT, json=ask(), headers=headers)).status == 403


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_the_servers_own_page_is_served(make_client: MakeClient, token: str) -> None:
    client = await make_client(bearer_token=token)
    tried_out = {
        **BEARER,
        "Origin": own_origin(client),
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
    }
    assert await refusal(client, tried_out) is None
    # Unencrypted from another machine a browser marks nothing but the origin.
    assert await refusal(client, {**BEARER, "Origin": own_origin(client)}) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("LOCALHOST", "http://localhost"),
        ("localhost.:8080", "http://localhost.:8080"),
        ("cursorpipe.localhost:8080", "http://cursorpipe.localhost:8080"),
        ("192.168.1.7:8080", "http://192.168.1.7:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[fd00:0::7]", "http://[fd00::7]"),
        ("gpu.example:80", "http://gpu.example"),
    ],
)
async def test_the_server_may_be_reached_by_its_own_names(
    make_client: MakeClient, host: str, origin: str
) -> None:
    client = await make_client(allowed_hosts=("GPU.example",))
    assert await refusal(client, {"Host": host, "Origin": origin}) is None


async def test_behind_a_proxy_that_ends_tls_its_own_page_is_served(make_client: MakeClient) -> None:
    client = await make_client(bearer_token=TOKEN)
    page = {**BEARER, "Host": "ai.example", "Origin": "https://ai.example"}
    assert await refusal(client, {**page, "Sec-Fetch-Site": "same-origin"}) is None
    assert await refusal(client, {**page, "Sec-Fetch-Site": "cross-site"}) == "cross_origin"
    assert await refusal(client, page) == "cross_origin"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/health"])
@pytest.mark.parametrize("site", ["none", "same-origin", "cross-site"])
async def test_a_public_page_can_be_opened_by_hand_and_by_a_link(
    client: Client, path: str, site: str
) -> None:
    headers = {"Host": "localhost:8080", "Sec-Fetch-Site": site, **NAVIGATION}
    assert await refusal(client, headers, "GET", path) is None


@pytest.mark.parametrize(
    ("path", "marks"),
    [
        ("/v1/models", NAVIGATION),
        ("/health", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("/docs", {**NAVIGATION, "Sec-Fetch-Dest": "iframe"}),
    ],
)
async def test_a_link_opens_nothing_else(client: Client, path: str, marks: dict[str, str]) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", **marks}
    assert await refusal(client, headers, "GET", path) == "cross_origin"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "cursorpipe:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1",
        "a b",
        "",
    ],
)
async def test_without_a_token_a_page_cannot_come_by_a_name_of_its_owners(client: Client, host: str) -> None:
    headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
    assert await refusal(client, headers) == "host_not_allowed"
    assert await refusal(client, headers, "GET", "/v1/models") == "host_not_allowed"


async def test_a_rebound_page_is_refused_by_its_origin_alone(client: Client, router: ScriptedRouter) -> None:
    # Unencrypted, a browser sends no Sec-Fetch-*; the page is of the same origin as what it calls.
    headers = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    assert await refusal(client, headers) == "host_not_allowed"
    assert not router.asked


async def test_with_a_token_the_name_does_not_matter(make_client: MakeClient) -> None:
    client = await make_client(bearer_tokens=f"ann={TOKEN}")
    assert await refusal(client, {**BEARER, "Host": "ai.example", "Sec-Fetch-Site": "same-origin"}) is None


@pytest.mark.parametrize("host", ["cursorpipe:8080", "evil.example", "a b", "", "[::1"])
async def test_a_program_is_never_refused_for_its_host(client: Client, host: str) -> None:
    assert await refusal(client, {"Host": host, "Referer": "https://evil.example/"}) is None


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
@pytest.mark.parametrize("mark", ["Origin", "Sec-Fetch-Mode"])
async def test_a_page_cannot_pass_json_off_as_something_simple(
    client: Client, router: ScriptedRouter, content_type: str | None, mark: str
) -> None:
    headers = {mark: own_origin(client) if mark == "Origin" else "no-cors"}
    if content_type:
        headers["Content-Type"] = content_type
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    async with client.post(CHAT, data=body, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 415
    assert not router.asked
