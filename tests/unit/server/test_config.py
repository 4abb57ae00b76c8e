from __future__ import annotations

import os
from pathlib import Path

import pytest

from cursorpipe_core import SettingsError, Strategy
from cursorpipe_server.config import load_settings, settings_table

pytestmark = pytest.mark.usefixtures("no_settings")


def test_the_defaults_are_the_users() -> None:
    settings = load_settings()
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8080)
    assert settings.supervision.strategy is Strategy.AUTO
    assert (settings.supervision.workers, settings.supervision.pool_size) == (2, 5)
    assert settings.agent.mode == "ask"
    assert settings.agent.request_timeout_s == 300


def test_variables_set_what_they_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "CURSORPIPE_PORT": "9000",
        "CURSORPIPE_STRATEGY": "subprocess",
        "CURSORPIPE_KEEPALIVE_S": "2.5",
        "CURSORPIPE_ENABLE_PROFILING": "true",
        "CURSORPIPE_AGENT_ENV": "A, B,,",
        "CURSORPIPE_WORKSPACE": str(tmp_path),
        "CURSOR_API_KEY": "key",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.server.port == 9000
    assert settings.supervision.strategy is Strategy.SUBPROCESS
    assert settings.server.keepalive_s == 2.5
    assert settings.server.enable_profiling is True
    assert settings.agent.agent_env == ("A", "B")
    assert settings.agent.workspace == str(tmp_path)
    assert settings.agent.api_key == "key"


def test_our_own_name_of_a_variable_comes_before_the_clis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURSOR_API_KEY", "theirs")
    monkeypatch.setenv("CURSORPIPE_API_KEY", "ours")
    assert load_settings().agent.api_key == "ours"


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CURSORPIPE_PORT=1\nCURSORPIPE_WORKERS=7\nCURSOR_API_KEY='k'\n")
    monkeypatch.setenv("CURSORPIPE_PORT", "2")
    settings = load_settings()
    assert (settings.server.port, settings.supervision.workers, settings.agent.api_key) == (2, 7, "k")
    assert "CURSOR_API_KEY" not in os.environ


def test_the_file_is_not_searched_for_upwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CURSORPIPE_PORT=1\n")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert load_settings().server.port == 8080


def test_another_file_can_be_named_and_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("CURSORPIPE_PORT=3\n")
    assert load_settings(file).server.port == 3
    with pytest.raises(SettingsError, match=r"no\.env"):
        load_settings(tmp_path / "no.env")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CURSORPIPE_STRATEGY=\n")
    monkeypatch.setenv("CURSORPIPE_PORT", "")
    settings = load_settings()
    assert (settings.server.port, settings.supervision.strategy) == (8080, Strategy.AUTO)


def test_a_secret_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings()
    assert settings.server.bearer_token == "s3cret"
    assert "s3cret" not in repr(settings)


def test_tokens_can_come_one_a_line_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("# the team\nann=s3cret\n\nbob=other # his laptop\n")
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKENS_FILE", str(tmp_path / "tokens"))
    settings = load_settings()
    tokens = settings.server.tokens()
    assert (tokens.owner("s3cret"), tokens.owner("other"), len(tokens)) == ("ann", "bob", 2)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("name", ["CURSORPIPE_BEARER_TOKEN", "CURSORPIPE_BEARER_TOKENS"])
@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_of_tokens_does_not_open_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match=rf"^{name}: .*{name}_FILE names is empty\.$"):
        load_settings()


def test_mistakes_of_security_are_told_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURSORPIPE_PORT", "70000")
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKENS", "ann=s3cret,bob=s3cret")
    monkeypatch.setenv("CURSORPIPE_ALLOWED_HOSTS", "https://gpu.example")
    monkeypatch.setenv("CURSORPIPE_CORS_ORIGINS", "https://app.example/, https://fine.example")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    told = dict(line.split(": ", 1) for line in str(caught.value).splitlines())
    assert set(told) == {
        "CURSORPIPE_PORT",
        "CURSORPIPE_BEARER_TOKENS",
        "CURSORPIPE_ALLOWED_HOSTS",
        "CURSORPIPE_CORS_ORIGINS",
    }
    assert "same token" in told["CURSORPIPE_BEARER_TOKENS"]
    assert "s3cret" not in str(caught.value)


def test_every_origin_is_let_in_with_a_token_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURSORPIPE_CORS_ORIGINS", "*")
    with pytest.raises(SettingsError, match="without a token"):
        load_settings()
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKENS", "ann=s3cret")
    assert "https://app.example" in load_settings().server.origins()


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURSORPIPE_PORT", "70000")
    monkeypatch.setenv("CURSORPIPE_WORKERS", "many")
    monkeypatch.setenv("CURSORPIPE_STRATEGY", "best")
    monkeypatch.setenv("CURSORPIPE_WORKSPACE", "/no/such/place")
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKEN_FILE", "/no/such/token")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    told = {line.partition(":")[0]: line for line in lines}
    assert "70000" in told["CURSORPIPE_PORT"]
    assert "auto, acp, subprocess" in told["CURSORPIPE_STRATEGY"]
    assert "/no/such/place" in told["CURSORPIPE_WORKSPACE"]
    assert "CURSORPIPE_BEARER_TOKEN_FILE" in told["CURSORPIPE_BEARER_TOKEN"]
    assert "many" in told["CURSORPIPE_WORKERS"]


def test_a_mistyped_name_is_told_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CURSORPIPE_PROT", "1")
    (tmp_path / ".env").write_text("CURSORPIPE_STRATEGI=acp\nOTHER=1\n")
    (tmp_path / "token").write_text("x")
    monkeypatch.setenv("CURSORPIPE_BEARER_TOKEN_FILE", str(tmp_path / "token"))
    load_settings()
    assert [record.getMessage() for record in caplog.records] == [
        "CURSORPIPE_PROT is no setting; did you mean CURSORPIPE_PORT?",
        "CURSORPIPE_STRATEGI is no setting; did you mean CURSORPIPE_STRATEGY?",
    ]


def test_every_setting_has_a_meaning_and_a_name_of_ours() -> None:
    for row in settings_table():
        assert row.names[0].startswith("CURSORPIPE_")
        assert row.doc.endswith(".")
