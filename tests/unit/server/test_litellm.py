from __future__ import annotations

import socket

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from cursorpipe_core import Finding, Status
from cursorpipe_server.litellm import check_litellm


async def proxy(
    server: AiohttpServer, *, status: int = 200, said: object = "I'm alive!", ready: int = 200
) -> str:
    async def liveliness(request: web.Request) -> web.Response:
        return web.json_response(said, status=status)

    async def readiness(request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "litellm_version": "1.80.1"}, status=ready)

    app = web.Application()
    app.router.add_get("/health/liveliness", liveliness)
    app.router.add_get("/health/readiness", readiness)
    running = await server(app)
    return f"http://localhost:{running.port}"


def cause(finding: Finding) -> str:
    assert finding.status is Status.FAILED, finding
    assert finding.remedy is not None
    return finding.remedy.cause


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
async def test_a_proxy_that_lives(aiohttp_server: AiohttpServer, end: str) -> None:
    finding = await check_litellm(await proxy(aiohttp_server) + end)
    assert finding.status is Status.OK
    assert "1.80.1" in finding.detail


async def test_a_proxy_that_is_shutting_down(aiohttp_server: AiohttpServer) -> None:
    address = await proxy(aiohttp_server, status=503, said={"status": "shutting_down"})
    assert cause(await check_litellm(address)) == "litellm_not_ready"


async def test_something_else(aiohttp_server: AiohttpServer) -> None:
    assert cause(await check_litellm(await proxy(aiohttp_server, said="hello"))) == "litellm_unknown"
    other = await aiohttp_server(web.Application())
    assert cause(await check_litellm(f"http://localhost:{other.port}")) == "litellm_unknown"


async def test_nothing_is_there_and_no_password_is_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    finding = await check_litellm(f"http://user:hush@127.0.0.1:{port}?key=hush")
    assert cause(finding) == "litellm_unreachable"
    assert "hush" not in finding.detail
    assert f"127.0.0.1:{port}" in finding.detail


async def test_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cursorpipe_server.litellm.ANSWER_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert cause(await check_litellm(address)) == "litellm_silent"


async def test_one_of_a_name_that_cannot_be() -> None:
    assert cause(await check_litellm("http://exa_mple..com:4000")) == "litellm_unreachable"


async def test_one_whose_database_is_gone(aiohttp_server: AiohttpServer) -> None:
    address = await proxy(aiohttp_server, ready=503)
    assert cause(await check_litellm(address)) == "litellm_not_ready"


async def test_one_that_is_not_https(aiohttp_server: AiohttpServer) -> None:
    address = (await proxy(aiohttp_server)).replace("http:", "https:")
    assert cause(await check_litellm(address)) == "litellm_certificate"
