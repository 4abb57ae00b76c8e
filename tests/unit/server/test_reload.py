"""Settings that are taken over while the server runs, and those that are not."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import pytest

from cursorpipe_core import AgentSettings, SettingsError, SettingSpec, SupervisorSettings, specs
from cursorpipe_server.config import (
    SETTINGS_CLASSES,
    LogLevel,
    ServerSettings,
    Settings,
    load_settings,
)
from cursorpipe_server.keys import ROUTER, SETTINGS
from cursorpipe_server.reload import compare, reload
from tests.unit.server.conftest import Client, MakeClient, ScriptedRouter, ask

CHAT = "/v1/chat/completions"

DEFAULTS = Settings(server=ServerSettings(), agent=AgentSettings(), supervision=SupervisorSettings())
PARTS = {ServerSettings: "server", AgentSettings: "agent", SupervisorSettings: "supervision"}
ALL = [
    (PARTS[cls], field, spec, default)
    for cls in SETTINGS_CLASSES
    for field, (spec, _, default) in specs(cls).items()
]


@pytest.fixture(autouse=True)
def own_level() -> Iterator[None]:
    """Leave the levels of our loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("cursorpipe_core", "cursorpipe_server")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.handler.setLevel(logging.DEBUG)
    return caplog


def another(default: object) -> object:
    """Return another value of the same kind."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 1
    if isinstance(default, tuple):
        return ("name.example",)
    if isinstance(default, StrEnum):
        return next(member for member in type(default) if member is not default)
    return "another"


def with_another(part: str, **fields: Any) -> Settings:
    return replace(DEFAULTS, **{part: replace(getattr(DEFAULTS, part), **fields)})


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return what was said of reloads, with its level."""
    return [
        (record.levelname, record.getMessage().removeprefix("SIGHUP: "))
        for record in caplog.records
        if record.name == "cursorpipe_server.reload"
    ]


def change(client: Client, **server: Any) -> None:
    """Reload with other values for the server's settings."""
    assert client.app is not None
    reload(client.app[SETTINGS], client.app[ROUTER], lambda: with_another("server", **server))


async def status(client: Client, **headers: str) -> int:
    async with client.post(CHAT, json=ask(), headers=headers) as response:
        return response.status


@pytest.mark.parametrize(
    ("part", "field", "spec", "default"), ALL, ids=[spec.names[0] for _, _, spec, _ in ALL]
)
def test_each_setting_is_taken_over_or_named_as_needing_a_restart(
    part: str, field: str, spec: SettingSpec, default: object
) -> None:
    wanted = with_another(part, **{field: another(default)})
    assert wanted != DEFAULTS
    found = compare(DEFAULTS, wanted)
    assert found.settings == (wanted if spec.reload else DEFAULTS)
    assert found.taken == (spec.names[:1] if spec.reload else ())
    assert found.refused == (() if spec.reload else spec.names[:1])


async def test_everything_that_can_change_reaches_its_owner(client: Client, router: ScriptedRouter) -> None:
    assert client.app is not None
    values: dict[str, dict[str, Any]] = {part: {} for part in PARTS.values()}
    for part, field, spec, default in ALL:
        if spec.reload:
            values[part][field] = another(default)
    values["server"]["cors_origins"] = ("https://app.example",)
    values["server"]["bearer_tokens"] = "ann=other"
    wanted = Settings(
        server=ServerSettings(**values["server"]),
        agent=AgentSettings(**values["agent"]),
        supervision=SupervisorSettings(**values["supervision"]),
    )
    reload(client.app[SETTINGS], client.app[ROUTER], lambda: wanted)
    assert client.app[SETTINGS].settings == wanted
    assert router.adopted == [(wanted.agent, wanted.supervision)]


async def test_a_new_token_opens_and_the_old_one_does_not(make_client: MakeClient) -> None:
    client = await make_client(bearer_token="old")
    change(client, bearer_token="new")
    assert await status(client, Authorization="Bearer old") == 401
    assert await status(client, Authorization="Bearer new") == 200


async def test_a_first_token_closes_and_the_last_one_gone_opens(client: Client) -> None:
    rebound = {"Host": "rebound.example", "Sec-Fetch-Site": "same-origin"}
    assert (await status(client), await status(client, **rebound)) == (200, 403)
    change(client, bearer_tokens="ann=s3cret")
    assert await status(client) == 401
    # With a token any name will do: a page that came by rebinding has none.
    assert await status(client, Authorization="Bearer s3cret", **rebound) == 200
    change(client)
    assert (await status(client), await status(client, **rebound)) == (200, 403)


async def test_origins_and_hosts_come_and_go(client: Client) -> None:
    page = {"Origin": "https://app.example"}
    named = {"Host": "gpu.example", "Sec-Fetch-Site": "same-origin"}
    preflight = {**page, "Access-Control-Request-Method": "POST"}
    assert (await status(client, **page), await status(client, **named)) == (403, 403)
    change(client, cors_origins=("https://app.example",), allowed_hosts=("gpu.example",))
    assert (await status(client, **page), await status(client, **named)) == (200, 200)
    async with client.options(CHAT, headers=preflight) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    change(client)
    assert (await status(client, **page), await status(client, **named)) == (403, 403)
    async with client.get("/health") as response:
        assert "Vary" not in response.headers


async def test_the_largest_body_can_change(client: Client) -> None:
    large = orjson.dumps(ask("x" * 2 * 1024 * 1024))
    for most, expected in ((32, 200), (1, 413), (3, 200)):
        change(client, max_body_mb=most)
        json = {"Content-Type": "application/json"}
        async with client.post(CHAT, data=io.BytesIO(large), headers=json) as response:
            assert response.status == expected


async def test_what_is_said_names_variables_and_never_values(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    change(client, bearer_token="s3cret", max_body_mb=5, port=9999, host="127.0.0.1")
    assert told(caplog) == [
        ("INFO", "changed: CURSORPIPE_BEARER_TOKEN, CURSORPIPE_MAX_BODY_MB"),
        ("WARNING", "need a restart: CURSORPIPE_HOST, CURSORPIPE_PORT"),
    ]


async def test_nothing_new_is_said_so(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    change(client)
    assert told(caplog) == [("INFO", "no setting has changed")]


async def test_what_needs_a_restart_is_said_each_time(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        change(client, port=9999)
    assert told(caplog) == [("WARNING", "need a restart: CURSORPIPE_PORT")] * 2


async def test_mistakes_change_nothing_and_are_told_in_one_message(
    make_client: MakeClient, router: ScriptedRouter, caplog: pytest.LogCaptureFixture
) -> None:
    client = await make_client(bearer_token="old")
    assert client.app is not None

    def fail() -> Settings:
        raise SettingsError("CURSORPIPE_PORT: 'x' is wrong.\nCURSORPIPE_WORKERS: 'y' is wrong.")

    reload(client.app[SETTINGS], client.app[ROUTER], fail)
    mistakes = "CURSORPIPE_PORT: 'x' is wrong. CURSORPIPE_WORKERS: 'y' is wrong."
    assert told(caplog) == [("ERROR", f"nothing changed, the settings are wrong: {mistakes}")]
    assert await status(client, Authorization="Bearer old") == 200
    assert not router.adopted


@pytest.mark.parametrize("before", LogLevel)
@pytest.mark.parametrize("after", LogLevel)
async def test_a_change_of_the_level_is_told_by_the_one_that_shows_more(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, before: LogLevel, after: LogLevel
) -> None:
    client = await make_client()
    change(client, log_level=before)
    assert logging.getLogger("cursorpipe_core").getEffectiveLevel() == getattr(logging, before.upper())
    caplog.clear()
    change(client, log_level=after)
    assert logging.getLogger("cursorpipe_core").getEffectiveLevel() == getattr(logging, after.upper())
    if before is not after and {before, after} & {LogLevel.INFO, LogLevel.DEBUG}:
        assert told(caplog) == [("INFO", "changed: CURSORPIPE_LOG_LEVEL")]


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_a_server_that_gives_up_its_tokens_warns(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    # Where a proxy is in front, the world comes from this machine, too.
    client = await make_client(bearer_token="old", host=host)
    change(client, host=host)
    assert told(caplog)[-1] == ("WARNING", f"listening on {host} without a token from now on")


def test_what_stood_in_the_file_before_is_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for spec in (spec for _, _, spec, _ in ALL):
        for name in spec.names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CURSORPIPE_WORKERS", "9")
    file, token = tmp_path / "my.env", tmp_path / "token"
    token.write_text("one")
    file.write_text(f"CURSORPIPE_MAX_QUEUE=1\nCURSORPIPE_WORKERS=1\nCURSORPIPE_BEARER_TOKEN_FILE={token}\n")
    before = load_settings(file)
    token.write_text("two")
    file.write_text(f"CURSORPIPE_POOL_SIZE=2\nCURSORPIPE_WORKERS=2\nCURSORPIPE_BEARER_TOKEN_FILE={token}\n")
    after = load_settings(file)
    assert (before.supervision.max_queue, after.supervision.max_queue) == (1, 256)
    assert after.supervision.pool_size == 2
    assert (before.supervision.workers, after.supervision.workers) == (9, 9)
    assert (before.server.bearer_token, after.server.bearer_token) == ("one", "two")


@pytest.mark.parametrize("content", [b"CURSORPIPE_BEARER_TOKEN=\xff\xfe\n", None])
def test_a_file_of_settings_that_cannot_be_read_is_a_mistake(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "my.env"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"my\.env"):
        load_settings(file)
