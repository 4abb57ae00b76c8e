from __future__ import annotations

from pathlib import Path

import pytest

from cursorpipe_core import SettingsError
from cursorpipe_server.config import load_settings
from cursorpipe_server.env_file import default_env_file

pytestmark = pytest.mark.usefixtures("no_settings")

TOKEN = "0123456789abcdefghij"


def mistakes(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert TOKEN not in text
    return text.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        f'CURSORPIPE_BEARER_TOKEN="{TOKEN}',
        f"CURSORPIPE_BEARER_TOKEN='{TOKEN}",
        f'CURSORPIPE_BEARER_TOKEN="{TOKEN}"and',
        f"CURSORPIPE_BEARER_TOKEN: {TOKEN}",
        f"CURSORPIPE_BEARER_TOKEN {TOKEN}",
        f"- CURSORPIPE_BEARER_TOKEN={TOKEN}",
        "CURSORPIPE_BEARER_TOKEN",
        "export CURSORPIPE_BEARER_TOKEN",
        "CURSORPIPE_BEARER_TOKEN_FILE",
        "CURSOR_API_KEY",
        f"=={TOKEN}",
    ],
)
def test_a_slip_in_a_line_is_a_mistake_and_does_not_open_the_server(tmp_path: Path, line: str) -> None:
    file = tmp_path / "my.env"
    file.write_text(f"# settings\n\n  \nCURSORPIPE_PORT=9000\n\n{line}\nCURSORPIPE_WORKERS=1\n")
    (told,) = mistakes(file)
    assert told.startswith(f"{file}, line 6: ")


def test_a_quote_that_is_never_closed_is_told_even_where_a_later_line_closes_it(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text(f'CURSORPIPE_BEARER_TOKEN="{TOKEN}\nCURSORPIPE_HOST="127.0.0.1"\n')
    (told,) = mistakes(file)
    assert told.startswith(f"{file}, line 1: ")


def test_all_slips_are_told_at_once_with_the_other_mistakes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "my.env"
    file.write_text("CURSORPIPE_PORT: 9000\nCURSORPIPE_WORKERS=many\nCURSORPIPE_STRATEGY\n")
    told = mistakes(file)
    assert [line.partition(": ")[0] for line in told] == [
        f"{file}, line 1",
        f"{file}, line 3",
        "CURSORPIPE_WORKERS",
    ]
    assert not caplog.records


def test_what_a_value_is_made_of_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("CURSORPIPE_BEARER_TOKEN=pa${ss}word\n")
    (told,) = mistakes(file)
    assert told == f"{file}, line 1: CURSORPIPE_BEARER_TOKEN is made of ${{ss}}, which is not set."
    monkeypatch.setenv("ss", "ss-")
    assert load_settings(file).server.bearer_token == "pass-word"
    file.write_text("tt=t\nCURSORPIPE_BEARER_TOKEN=${tt}oken-${none:-1}\n")
    assert load_settings(file).server.bearer_token == "token-1"


def test_what_is_no_setting_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "DEBUG\nPRICE=5${euro}\nexport CURSORPIPE_PORT = 9000 # by hand\r\nEMPTY=\n\n# the end"
    )
    assert load_settings().server.port == 9000


def test_a_file_in_a_directory_that_may_not_be_entered_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    for read in (default_env_file, lambda: load_settings(tmp_path / "my.env")):
        with pytest.raises(SettingsError, match=r"cannot be read .*Permission denied"):
            read()


def test_what_the_file_has_for_the_agents_and_they_do_not_see_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("MINE", raising=False)
    (tmp_path / ".env").write_text("HTTPS_PROXY=http://p\nCURSORPIPE_AGENT_ENV=MINE\nMINE=1\nOTHER=1\n")
    load_settings()
    assert [record.args for record in caplog.records] == [("HTTPS_PROXY",), ("MINE",)]
    caplog.clear()
    monkeypatch.setenv("HTTPS_PROXY", "http://p")
    monkeypatch.setenv("MINE", "1")
    load_settings()
    assert not caplog.records
