"""The choice of a model over ACP, and what is kept of it (CLI contract §4.5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.demo_agent.driver import Client, Json, Place

Start = Callable[..., Client]

OPUS = "claude-opus-4-7[thinking=true,context=200k,effort=high]"


def current(client: Client) -> str:
    """The model that a new session would have."""
    return str(client.call("session/new", {"cwd": "/", "mcpServers": []})["models"]["currentModelId"])


def option(session: str, name: str, value: Any) -> Json:
    return {"sessionId": session, "configId": name, "value": value}


def value_of(options: list[Json], name: str) -> str:
    (found,) = [offered["currentValue"] for offered in options if offered["id"] == name]
    return str(found)


@pytest.fixture
def parameterized(start: Start) -> Client:
    """A client that has asked for the parameter picker."""
    client = start()
    client.initialize(_meta={"parameterizedModelPicker": True})
    return client


def test_the_picker_is_known_to_a_session_asked_for_right_behind_it(start: Start) -> None:
    client = start()
    capabilities = {"_meta": {"parameterizedModelPicker": True}}
    client.request("initialize", {"protocolVersion": 1, "clientCapabilities": capabilities})
    offered = client.call("session/new", {"cwd": "/", "mcpServers": []})
    assert offered["models"]["currentModelId"] == "default"


def test_the_model_is_the_same_for_the_whole_process(client: Client) -> None:
    one, two = client.new_session(), client.new_session()
    assert client.call("session/set_model", {"sessionId": one, "modelId": OPUS}) == {}
    options = client.call("session/set_config_option", option(two, "mode", "ask"))["configOptions"]
    assert value_of(options, "model") == OPUS
    assert current(client) == OPUS


def test_the_option_answers_with_all_options(client: Client) -> None:
    session = client.new_session()
    options = client.call("session/set_config_option", option(session, "model", OPUS))["configOptions"]
    assert [offered["id"] for offered in options] == ["mode", "model"]
    assert value_of(options, "model") == OPUS


@pytest.mark.parametrize(
    "value", ["auto", "claude-opus-4-7", "claude-opus-4-7[effort=low]", "gpt-5.3-codex-high", "", None, ["x"]]
)
def test_the_variant_picker_takes_only_what_it_lists(shared: Client, value: Any) -> None:
    session = shared.new_session()
    for error in (
        shared.error("session/set_model", {"sessionId": session, "modelId": value}),
        shared.error("session/set_config_option", option(session, "model", value)),
    ):
        assert error["code"] == -32602
        assert error["message"] == "Invalid params"
        assert error["data"] == {"message": f"Invalid model value: {value}"}


def test_the_variant_picker_has_no_parameters(shared: Client) -> None:
    session = shared.new_session()
    assert shared.error("session/set_config_option", option(session, "effort", "low"))["code"] == -32602


def test_the_parameter_picker_takes_bare_ids_and_offers_parameters(parameterized: Client) -> None:
    session = parameterized.new_session()
    options = parameterized.call("session/set_config_option", option(session, "model", "claude-opus-4-7"))[
        "configOptions"
    ]
    assert [offered["id"] for offered in options] == ["mode", "model", "thinking", "context", "effort"]
    assert {offered["id"]: offered["category"] for offered in options[2:]} == {
        "thinking": "thought_level",
        "context": "model_config",
        "effort": "thought_level",
    }
    for value in (OPUS, "default[]", "claude-opus-4-7-high"):
        error = parameterized.error("session/set_model", {"sessionId": session, "modelId": value})
        assert error["data"] == {"message": f"Invalid model value: {value}"}


def test_a_parameter_has_listed_values_only(parameterized: Client) -> None:
    session = parameterized.new_session()
    parameterized.call("session/set_model", {"sessionId": session, "modelId": "cursor-grok-4.6"})
    options = parameterized.call("session/set_config_option", option(session, "effort", "low"))[
        "configOptions"
    ]
    assert value_of(options, "effort") == "low"
    for value in ("enormous", True, None):
        error = parameterized.error("session/set_config_option", option(session, "effort", value))
        assert error["code"] == -32602
        assert error["data"] == {"message": f"Invalid value for effort: {value}"}
    assert parameterized.error("session/set_config_option", option(session, "fast", "true"))["code"] == -32602


def test_a_model_comes_back_with_its_last_parameters(parameterized: Client) -> None:
    session = parameterized.new_session()

    def choose(name: str, value: str) -> list[Json]:
        answer = parameterized.call("session/set_config_option", option(session, name, value))
        options: list[Json] = answer["configOptions"]
        return options

    choose("model", "cursor-grok-4.6")
    choose("effort", "xhigh")
    choose("model", "default")
    assert value_of(choose("model", "cursor-grok-4.6"), "effort") == "xhigh"


def test_the_choice_is_the_default_of_the_next_process(start: Start, place: Place) -> None:
    client = start()
    client.initialize()
    client.call("session/set_model", {"sessionId": client.new_session(), "modelId": OPUS})
    settings = json.loads((place.config / "cli-config.json").read_text())
    assert settings["selectedModel"] == {"modelId": "claude-opus-4-7"}
    assert {"version", "editor", "permissions", "modelParameters"} <= set(settings)
    assert [path.name for path in place.config.iterdir() if path.name.endswith(".tmp")] == []
    again = start()
    again.initialize()
    assert current(again) == OPUS


def test_the_command_line_sets_the_start_model(start: Start) -> None:
    client = start("--model", "gpt-5.3-codex-high")
    client.initialize()
    assert current(client) == "gpt-5.3-codex[reasoning=high,fast=false]"


@pytest.mark.parametrize("slug", ["gpt-1", OPUS, "claude-opus-4-7"])
def test_a_bad_slug_ends_the_process_before_initialize(place: Place, slug: str) -> None:
    finished = place.run("--model", slug, "acp", stdin='{"id":1,"method":"initialize","params":{}}\n')
    assert (finished.status, finished.stdout) == (1, "")
    assert finished.stderr.startswith(f"Cannot use this model: {slug}. Available models: auto, composer-2.5,")


def test_the_catalogue_needs_no_session(shared: Client) -> None:
    models = shared.call("cursor/list_available_models")["models"]
    assert models[0] == {"value": "default", "name": "Auto", "configOptions": []}
    codex = next(model for model in models if model["value"] == "gpt-5.3-codex")
    reasoning = codex["configOptions"][0]
    assert (reasoning["id"], reasoning["category"], reasoning["currentValue"]) == (
        "reasoning",
        "thought_level",
        "medium",
    )


def test_an_old_build_keeps_the_model_it_had(start: Start) -> None:
    client = start(OLD_BUILD="set-model-ignored")
    client.initialize()
    session = client.new_session()
    options = client.call("session/set_config_option", option(session, "model", OPUS))["configOptions"]
    assert value_of(options, "model") == "default[]"


def test_an_old_build_does_not_load_what_another_process_began(start: Start) -> None:
    first = start()
    first.initialize()
    session = first.new_session()
    first.turn(session, "hello")
    second = start(OLD_BUILD="load-fails,set-model-ignored")
    second.initialize()
    error = second.error("session/load", {"sessionId": session, "cwd": "/", "mcpServers": []})
    assert error["data"] == {"message": f'Session "{session}" not found'}


def test_an_old_build_dies_of_a_half_written_configuration(place: Place) -> None:
    place.config.mkdir()
    (place.config / "cli-config.json").write_text('{"version"')
    finished = place.run("acp", OLD_BUILD="config-race")
    assert finished.status == 1
    assert "Unexpected end of JSON input" in finished.stderr


def test_a_build_without_acp_takes_it_for_a_prompt(place: Place) -> None:
    finished = place.run("acp", OLD_BUILD="no-acp")
    assert finished.status == 0
    assert "jsonrpc" not in finished.stdout


def test_a_build_may_speak_another_version_of_acp(start: Start) -> None:
    assert start(SCENARIO="other-protocol").initialize()["protocolVersion"] == 2
    assert start(SCENARIO="other-protocol version=7").initialize()["protocolVersion"] == 7


def test_an_unknown_old_build_stops_the_start(place: Place) -> None:
    assert place.run("models", OLD_BUILD="very-old").status == 2
