"""How ACP signs in, by credential (CLI contract §4.2)."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.demo_agent.driver import Client, Json, Place

Start = Callable[..., Client]

NEW: Json = {"cwd": "/", "mcpServers": []}
LOGIN: Json = {"methodId": "cursor_login"}


def refused(client: Client) -> bool:
    """Whether sessions and models are refused for want of a login."""
    errors = [client.error("session/new", NEW), client.error("cursor/list_available_models")]
    return [(error["code"], error["message"]) for error in errors] == [
        (-32000, "Authentication required")
    ] * 2


def test_with_a_key_sessions_need_no_authentication(client: Client) -> None:
    assert client.new_session()
    assert client.call("cursor/list_available_models")["models"]


def test_a_key_may_be_authenticated_all_the_same(client: Client) -> None:
    assert client.call("authenticate", LOGIN) == {}
    assert client.new_session()


def test_another_method_is_refused(client: Client) -> None:
    assert client.error("authenticate", {"methodId": "other"})["code"] == -32602


def test_a_stored_login_has_to_be_authenticated_first(start: Start) -> None:
    client = start(key=None, LOGIN="stored")
    client.initialize()
    assert refused(client)
    assert client.call("authenticate", LOGIN) == {}
    assert client.new_session()


def test_a_login_in_the_configuration_directory_is_a_stored_one(start: Start, place: Place) -> None:
    place.run("login", key=None)
    client = start(key=None)
    client.initialize()
    assert refused(client)
    client.call("authenticate", LOGIN)
    assert client.new_session()


def test_a_key_comes_before_a_stored_login(start: Start, place: Place) -> None:
    place.run("login", key=None)
    client = start()
    client.initialize()
    assert client.new_session()


def test_the_stored_login_can_be_enforced_for_a_key(start: Start) -> None:
    client = start(LOGIN="stored")
    client.initialize()
    assert refused(client)


def test_without_a_display_the_login_page_is_named(start: Start) -> None:
    client = start(LOGIN="browser")
    client.initialize()
    error = client.error("authenticate", LOGIN)
    assert error["code"] == -32602
    assert error["data"]["message"].startswith("Failed to open browser for login. Please visit: https://")
    assert "/loginDeepControl?challenge=" in error["data"]["message"]
    assert refused(client)


def is_signed_out(client: Client) -> None:
    client.initialize()
    pending = client.request("authenticate", LOGIN)
    assert refused(client)
    # Everything asked for later was answered; this was not.
    assert pending not in client._answers


def test_an_authentication_can_hang(start: Start) -> None:
    is_signed_out(start(LOGIN="hang"))


def test_without_any_credential_initialize_is_all_there_is(start: Start) -> None:
    is_signed_out(start(key=None))


def test_the_scenario_takes_every_credential_away(start: Start, place: Place) -> None:
    is_signed_out(start(SCENARIO="not-logged-in"))
    assert "Authentication required" in place.run("models", SCENARIO="not-logged-in").stderr
    assert place.run("--version", SCENARIO="not-logged-in").status == 0
