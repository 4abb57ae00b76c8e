"""The command line, the small commands, and the credentials."""

from __future__ import annotations

import json
import os
import re

import pytest

from cursorpipe_core.demo_agent.arguments import UsageError, parse
from tests.unit.demo_agent.driver import PATIENCE, PROGRAM, Place, end

MODEL_LINE = re.compile(r"^(\S+) - (.+?)(?: \((current|default|current, default)\))?$")
NOT_LOGGED_IN = (
    "Error: Authentication required. Please run 'agent login' first, "
    "or set CURSOR_API_KEY environment variable.\n"
)


FORMATS = "Allowed choices are text, json, stream-json."
ALL_OPTIONS = (
    "--api-key K --auth-token T -e URL -k -H a:1 -H b:2 --print --output-format json "
    "--stream-partial-output --resume CHAT --continue --model=M --mode plan --plan --list-models --force "
    "--yolo --auto-review --sandbox enabled --approve-mcps --trust --workspace W --add-dir D "
    "--plugin-dir P -w TREE --worktree-base B --skip-worktree-setup --image I --disable-auto-update"
)


def test_every_option_of_the_contract_is_known() -> None:
    invocation = parse([*ALL_OPTIONS.split(), "what", "is", "this"])
    assert invocation.get_all("header") == ["a:1", "b:2"]
    assert invocation.get("model") == "M"
    assert invocation.prompt == "what is this"
    assert invocation.command is None


@pytest.mark.parametrize(
    ("line", "command", "prompt"),
    [
        ("--model M acp", "acp", ""),
        ("acp --model M", "acp", ""),
        ("-p chat hello", None, "chat hello"),
        ("-p hello acp", None, "hello acp"),
        ("-p -", None, "-"),
        ("-p -- --hello", None, "--hello"),
        ("-pf hello", None, "hello"),
        ("-p --resume -f hello", None, "hello"),
        ("status --format json", "status", ""),
    ],
)
def test_the_first_word_is_a_command_or_begins_the_prompt(
    line: str, command: str | None, prompt: str
) -> None:
    invocation = parse(line.split())
    assert (invocation.command, invocation.prompt) == (command, prompt)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--unheard-of", "error: unknown option '--unheard-of'"),
        ("-p -hello", "error: unknown option '-hello'"),
        ("models --json", "error: unknown option '--json'"),
        ("acp --format json", "error: unknown option '--format'"),
        (
            "--mode agent acp",
            "error: option '--mode <mode>' argument 'agent' is invalid. Allowed choices are plan, ask.",
        ),
        ("-p --model", "error: option '--model <model>' argument missing"),
        (
            "--output-format= -p",
            f"error: option '--output-format <format>' argument '' is invalid. {FORMATS}",
        ),
    ],
)
def test_a_wrong_command_line_is_refused_in_the_words_of_the_parser(line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(line.split())
    assert str(refusal.value) == complaint


def test_a_wrong_command_line_ends_with_status_1(place: Place) -> None:
    finished = place.run("models", "--json")
    assert (finished.status, finished.stdout, finished.stderr) == (1, "", "error: unknown option '--json'\n")


def test_the_version_is_one_bare_line(place: Place) -> None:
    finished = place.run("--version", key=None)
    assert finished.status == 0
    assert re.fullmatch(r"\d{4}\.\d\d\.\d\d-\w+\n", finished.stdout)


def test_the_help_does_not_tell_of_acp(place: Place) -> None:
    text = place.run("--help", key=None).stdout
    assert "models" in text
    assert "--output-format" in text
    assert not re.search(r"\bacp\b", text)


@pytest.mark.parametrize("argument", ["models", "--list-models"])
def test_the_models_are_listed_line_by_line(place: Place, argument: str) -> None:
    finished = place.run(argument)
    assert finished.status == 0
    assert finished.stdout.startswith("Available models\n\nauto - Auto (current, default)\n")
    assert finished.stdout.endswith(
        "\n\nTip: use --model <id> (or /model <id> in interactive mode) to switch.\n"
    )
    lines = finished.stdout.split("\n\n")[1].splitlines()
    assert len(lines) > 3
    assert all(MODEL_LINE.match(line) for line in lines)


def test_the_list_of_models_can_be_full_of_what_terminals_hide(place: Place) -> None:
    text = place.run("models", ANSI="1").stdout
    assert "\x1b[2K\x1b[G" in text
    assert re.sub(r"\x1b\[2K|\x1b\[G|Loading models…|\u200b", "", text) == place.run("models").stdout


def test_an_account_may_have_no_models(place: Place) -> None:
    assert place.run("models", SCENARIO="no-models").stdout == "No models available for this account.\n"


@pytest.mark.parametrize("argv", [("models",), ("-p", "--trust", "hello")])
def test_without_a_credential_nothing_works(place: Place, argv: tuple[str, ...]) -> None:
    finished = place.run(*argv, key=None)
    assert (finished.status, finished.stdout, finished.stderr) == (1, "", NOT_LOGGED_IN)


@pytest.mark.parametrize(
    ("argv", "variables"),
    [
        (("--api-key", "k"), {}),
        (("--auth-token=t",), {}),
        ((), {"CURSOR_AUTH_TOKEN": "t"}),
    ],
)
def test_any_credential_will_do(place: Place, argv: tuple[str, ...], variables: dict[str, str]) -> None:
    assert place.run(*argv, "models", key=None, **variables).status == 0


@pytest.mark.parametrize("argv", [("models",), ("acp",), ("-p", "--trust", "hello")])
def test_an_invalid_key_ends_the_process(place: Place, argv: tuple[str, ...]) -> None:
    finished = place.run(*argv, key="invalid-key")
    assert (finished.status, finished.stdout) == (1, "")
    assert finished.stderr == (
        "⚠ Warning: The provided API key is invalid.\n"
        "The API key was loaded from the CURSOR_API_KEY environment variable.\n"
    )


def test_a_login_is_remembered_until_the_logout(place: Place) -> None:
    assert place.run("status", key=None).stdout == "Not logged in\n"
    assert "https://cursor.com/loginDeepControl?challenge=" in place.run("login", key=None).stdout
    assert place.run("whoami", key=None).stdout == "✓ Logged in as demo@example.com\n"
    assert place.run("models", key=None).status == 0
    assert place.run("logout", key=None).status == 0
    assert place.run("models", key=None).stderr == NOT_LOGGED_IN


def test_a_key_alone_looks_signed_out_to_status(place: Place) -> None:
    assert place.run("status").stdout == "Not logged in\n"
    told = json.loads(place.run("status", "--format", "json").stdout)
    assert told == {
        "status": "unauthenticated",
        "isAuthenticated": False,
        "hasAccessToken": False,
        "userInfo": None,
    }


def test_about_has_two_columns_or_json(place: Place) -> None:
    lines = place.run("about").stdout.splitlines()
    assert lines[:2] == ["About Cursor CLI", ""]
    titles = [line[:20].strip() for line in lines[2:]]
    assert titles == ["CLI Version", "Model", "Subscription Tier", "OS", "Terminal", "Shell", "User Email"]
    told = json.loads(place.run("about", "--format", "json").stdout)
    assert told["userEmail"] is None
    assert told["cliVersion"] == place.run("--version").stdout.strip()


def test_a_chat_that_was_created_can_be_continued(place: Place) -> None:
    chat = place.run("create-chat").stdout.strip()
    assert place.ask("hello", "--resume", chat).result["session_id"] == chat
    assert place.run("ls").stdout == f"{chat}  hello\n"


def test_a_command_that_is_not_imitated_says_so(place: Place) -> None:
    finished = place.run("mcp")
    assert (finished.status, finished.stdout) == (1, "")
    assert "mcp" in finished.stderr


def test_a_broken_configuration_is_put_aside(place: Place) -> None:
    place.config.mkdir()
    (place.config / "cli-config.json").write_text('{"version"')
    assert place.run("models").status == 0
    assert (place.config / "cli-config.json.bad").exists()


def test_a_project_that_denies_nothing_stops_the_start(place: Place) -> None:
    (place.work / ".cursor").mkdir()
    (place.work / ".cursor" / "cli.json").write_text('{"permissions": {"allow": []}}')
    finished = place.run("acp")
    assert finished.status == 1
    assert "permissions.deny" in finished.stderr


def test_an_unknown_scenario_in_the_environment_stops_the_start(place: Place) -> None:
    finished = place.run("models", SCENARIO="unheard-of")
    assert finished.status == 2
    assert "unheard-of" in finished.stderr
    assert "crash-mid-stream" in finished.stderr


def test_a_switch_that_is_wrong_stops_the_start(place: Place) -> None:
    finished = place.run("models", START_MS="soon")
    assert (finished.status, finished.stderr) == (2, "DEMO_AGENT_START_MS is not a number: soon\n")


def test_without_print_and_with_a_terminal_there_is_nothing_to_imitate(place: Place) -> None:
    import pty  # noqa: PLC0415 (POSIX alone)
    import subprocess  # noqa: PLC0415 (with it)

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        PROGRAM,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=place.env(),
        cwd=place.work,
        start_new_session=True,
    )
    try:
        assert process.wait(PATIENCE) == 1
    finally:
        end(process)
        os.close(ours)
        os.close(theirs)
