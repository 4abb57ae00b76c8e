"""The documentation pages: whole, offline, and nothing beside them."""

from __future__ import annotations

import re

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from pytest_aiohttp import AiohttpClient
from yarl import URL

from cursorpipe_server import docs

Client = TestClient[Request, Application]

PAGES = ["/docs", "/redoc"]
ASSETS = {
    "/docs/assets/swagger/swagger-ui-bundle.js": "text/javascript",
    "/docs/assets/swagger/swagger-ui.css": "text/css",
    "/docs/assets/swagger/favicon-32x32.png": "image/png",
    "/docs/assets/swagger/start.js": "text/javascript",
    "/docs/assets/redoc/redoc.standalone.js": "text/javascript",
    "/docs/assets/redoc/favicon-32x32.png": "image/png",
    "/docs/assets/redoc/start.js": "text/javascript",
}


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    app = Application()
    app.router.add_get("/docs", docs.swagger_page)
    app.router.add_get("/redoc", docs.redoc_page)
    app.router.add_get("/docs/assets/{ui}/{name}", docs.docs_asset)
    return await aiohttp_client(app)


async def text_of(client: Client, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_html(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_refers_to_files_that_are_served_here(client: Client, path: str) -> None:
    page = await text_of(client, path)
    assert "//" not in page
    referred = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(referred) >= 3
    assert set(referred) <= ASSETS.keys()


@pytest.mark.parametrize("ui", ["swagger", "redoc"])
async def test_a_page_shows_the_document_of_this_server(client: Client, ui: str) -> None:
    script = await text_of(client, f"/docs/assets/{ui}/start.js")
    assert '"/openapi.json"' in script
    assert "//" not in script


async def test_swagger_keeps_the_token_and_asks_no_validator(client: Client) -> None:
    script = await text_of(client, "/docs/assets/swagger/start.js")
    assert "persistAuthorization: true" in script
    assert "validatorUrl: null" in script


@pytest.mark.parametrize("path", PAGES)
async def test_the_policy_lets_a_page_reach_this_server_alone(client: Client, path: str) -> None:
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'self'"
    assert not {"script-src", "connect-src"} & directives.keys()
    sources = {source for value in directives.values() for source in value.split()}
    assert sources == {"'self'", "'none'", "'unsafe-inline'", "data:", "blob:"}
    assert "'unsafe-inline'" in directives.pop("style-src")
    assert "'unsafe-inline'" not in " ".join(directives.values())


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_no_script_that_the_policy_forbids(client: Client, path: str) -> None:
    page = await text_of(client, path)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize(("path", "kind"), ASSETS.items())
async def test_an_asset_is_served_as_what_it_is(client: Client, path: str, kind: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        assert response.content_type == kind
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == f"public, max-age={docs.ASSETS_MAX_AGE_S}"
        assert len(await response.read()) > 100


async def test_an_asset_that_the_browser_has_is_not_sent_again(client: Client) -> None:
    path = "/docs/assets/swagger/swagger-ui.css"
    async with client.get(path) as response:
        tag = response.headers["ETag"]
    async with client.get(path, headers={"If-None-Match": tag}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets/swagger/LICENSE",  # in the folder, not in the list
        "/docs/assets/swagger/redoc.standalone.js",  # of the other page
        "/docs/assets/rapidoc/rapidoc-min.js",
        "/docs/assets/swagger/..",
        "/docs/assets/swagger/..%2F__init__.py",
        "/docs/assets/swagger/..%2Fswagger_ui%2Fswagger-ui.css",
        "/docs/assets/%2E%2E/swagger.py",
        "/docs/assets/swagger/%2Fetc%2Fpasswd",
        "/docs/assets/swagger/start.js%00",
    ],
)
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    async with client.get(URL(path, encoded=True)) as response:
        assert response.status == 404


async def test_a_file_that_the_package_lacks_is_not_found(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "ASSETS_PACKAGE", "cursorpipe_server")
    monkeypatch.setattr(docs, "_FILES", docs._shipped_files())
    async with client.get("/docs/assets/redoc/redoc.standalone.js") as response:
        assert response.status == 404
    async with client.get("/docs") as response:
        assert response.status == 200
