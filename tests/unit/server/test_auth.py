from __future__ import annotations

import pytest

from cursorpipe_server.access import logger as access
from cursorpipe_server.routes import ROUTES
from tests.unit.server.conftest import MakeClient, ScriptedRouter, ask

TOKEN = "s3cret"


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"bearer  {TOKEN}"}, {"x-api-key": TOKEN}],
)
async def test_the_token_opens(make_client: MakeClient, headers: dict[str, str]) -> None:
    client = await make_client(bearer_token=TOKEN)
    assert (await client.post("/v1/chat/completions", json=ask(), headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"x-api-key": "wrong"},
        {"Authorization": "Bearer wr\xf6ng"},
    ],
)
async def test_anything_else_does_not(
    make_client: MakeClient, router: ScriptedRouter, headers: dict[str, str]
) -> None:
    client = await make_client(bearer_token=TOKEN)
    response = await client.post("/v1/chat/completions", json=ask(), headers=headers)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await response.json())["error"]["code"] == "invalid_api_key"
    assert not router.asked


async def test_a_wrong_token_is_named_as_openai_names_it(make_client: MakeClient) -> None:
    client = await make_client(bearer_token=TOKEN)
    response = await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert "Incorrect API key provided" in (await response.json())["error"]["message"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_only_the_public_routes_are_open(make_client: MakeClient, route: object) -> None:
    assert hasattr(route, "public")
    client = await make_client(bearer_token=TOKEN)
    path = route.path.replace("{id:.+}", "auto").replace("{ui}/{name}", "x/y")  # type: ignore[attr-defined]
    response = await client.request(route.method, path)  # type: ignore[attr-defined]
    assert (response.status != 401) is route.public


async def test_the_public_routes_are_these() -> None:
    assert {route.path.split("/")[1] for route in ROUTES if route.public} == {
        "health",
        "ready",
        "openapi.json",
        "docs",
        "redoc",
    }


async def test_a_path_that_is_not_there_is_not_told_to_strangers(make_client: MakeClient) -> None:
    client = await make_client(bearer_token=TOKEN)
    assert (await client.get("/nowhere")).status == 401


async def test_without_a_token_everybody_is_served(make_client: MakeClient) -> None:
    client = await make_client()
    assert (await client.get("/v1/models", headers={"Authorization": "Bearer unused"})).status == 200


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, "token-1"),
        ({"Authorization": "Bearer anns"}, "ann"),
        ({"x-api-key": "bobs"}, "bob"),
        ({"Authorization": "Bearer bobs", "x-api-key": "bobs"}, "bob"),
    ],
)
async def test_the_name_of_the_token_is_the_client(
    make_client: MakeClient,
    router: ScriptedRouter,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    owner: str,
) -> None:
    caplog.set_level("DEBUG")
    client = await make_client(bearer_token=TOKEN, bearer_tokens="ann=anns,bob=bobs")
    assert (await client.post("/v1/chat/completions", json=ask(), headers=headers)).status == 200
    assert [request.client for request in router.asked] == [owner]
    assert f" client={owner} " in access_line(caplog)
    assert not [token for token in (TOKEN, "anns", "bobs") if token in caplog.text]


async def test_two_right_keys_of_two_owners_are_no_key(make_client: MakeClient) -> None:
    client = await make_client(bearer_tokens="ann=anns,bob=bobs")
    for first, second in (
        (("Authorization", "Bearer anns"), ("x-api-key", "bobs")),
        (("Authorization", "Bearer anns"), ("Authorization", "Bearer bobs")),
        (("x-api-key", "anns"), ("x-api-key", "bobs")),
    ):
        assert (await client.get("/v1/models", headers=[first, second])).status == 401


async def test_without_tokens_the_address_is_the_client(
    make_client: MakeClient, router: ScriptedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    client = await make_client()
    await client.post("/v1/chat/completions", json=ask(), headers={"Authorization": "Bearer unused"})
    assert [request.client for request in router.asked] == ["127.0.0.1"]
    assert " client=127.0.0.1 " in access_line(caplog)
    assert "unused" not in caplog.text


async def test_who_is_refused_is_told_by_address_and_what_was_tried_is_not(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client = await make_client(bearer_tokens=f"ann={TOKEN}")
    async with client.get("/v1/models", headers={"Authorization": "Bearer almost"}) as response:
        told = await response.text()
    assert " 401 " in access_line(caplog)
    assert " client=127.0.0.1 " in access_line(caplog)
    for secret in (TOKEN, "almost", "ann"):
        assert secret not in caplog.text + told


def access_line(caplog: pytest.LogCaptureFixture) -> str:
    (line,) = (record.getMessage() for record in caplog.records if record.name == access.name)
    return line
