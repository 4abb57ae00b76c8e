"""LiteLLM and HAProxy in front of several servers: what their files promise; tests of scale-out run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cursorpipe_core import AgentCrashError, AgentError, AgentTimeoutError, AgentUnavailableError
from cursorpipe_server.config import settings_table
from cursorpipe_server.errors import HTTP_ERRORS, envelope, error_response

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
LITELLM = DEPLOY / "litellm" / "config.yaml"
LITELLM_IN_COMPOSE = DEPLOY / "docker" / "litellm.yaml"
LITELLM_SINGLE = DEPLOY / "litellm" / "single.yaml"
HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"


def litellm_models() -> list[Any]:
    files = (LITELLM, LITELLM_IN_COMPOSE, LITELLM_SINGLE)
    return [
        pytest.param(entry, id=f"{path.stem}-{number}-{entry['model_name']}")
        for path in files
        for number, entry in enumerate(yaml.safe_load(path.read_text())["model_list"])
    ]


def load_models(path: Path) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = yaml.safe_load(path.read_text())["model_list"]
    return models


@pytest.mark.parametrize("entry", litellm_models())
def test_litellm_reaches_cursorpipe_as_an_openai_provider(entry: dict[str, Any]) -> None:
    params = entry["litellm_params"]
    assert params["model"].startswith("openai/")
    assert re.search(r":80\d\d/v1$", params["api_base"])
    assert params["api_key"] == "os.environ/CURSORPIPE_BEARER_TOKEN"


@pytest.mark.parametrize("path", [LITELLM, LITELLM_IN_COMPOSE, LITELLM_SINGLE], ids=lambda path: path.stem)
def test_litellm_offers_auto_and_every_name_of_each_server(path: Path) -> None:
    offered: dict[str, dict[str, str]] = {}
    for entry in load_models(path):
        params = entry["litellm_params"]
        offered.setdefault(params["api_base"], {})[entry["model_name"]] = params["model"]
    assert offered
    for models in offered.values():
        assert models == {"cursor/auto": "openai/auto", "cursor/*": "openai/*"}


def test_litellm_routes_alike_in_compose_and_without() -> None:
    alone, composed = (yaml.safe_load(path.read_text()) for path in (LITELLM, LITELLM_IN_COMPOSE))
    assert alone["router_settings"] == composed["router_settings"]
    # What cursorpipe says in `Retry-After`, or a server that is well again stays out of use.
    assert alone["router_settings"]["cooldown_time"] == error_wait_s()


def error_wait_s() -> int:
    return int(error_response(AgentUnavailableError("no agent")).headers["Retry-After"])


@pytest.mark.parametrize("entry", litellm_models())
def test_litellm_waits_longer_than_cursorpipe(entry: dict[str, Any]) -> None:
    defaults = {name: row.default for row in settings_table() for name in row.names}
    assert entry["litellm_params"]["timeout"] > float(defaults["CURSORPIPE_REQUEST_TIMEOUT_S"])


def haproxy_values(pattern: str) -> list[Any]:
    return re.findall(rf"(?m)^ *{pattern}$", HAPROXY.read_text())


def test_haproxy_waits_longer_than_cursorpipe() -> None:
    defaults = {name: row.default for row in settings_table() for name in row.names}
    for side in ("client", "server"):
        (seconds,) = haproxy_values(rf"timeout {side} (\d+)s")
        assert float(seconds) > float(defaults["CURSORPIPE_REQUEST_TIMEOUT_S"])


def test_haproxy_never_repeats_what_an_agent_failed() -> None:
    (events,) = haproxy_values("retry-on (.*)")
    assert events.split() == ["conn-failure", "empty-response", "503"]


@pytest.mark.parametrize(
    ("status", "like", "header"),
    [
        ("503", AgentUnavailableError, "retry-after 5"),
        ("502", AgentCrashError, "x-should-retry false"),
        ("504", AgentTimeoutError, "x-should-retry false"),
    ],
)
def test_what_haproxy_says_itself_is_told_as_by_cursorpipe(
    status: str, like: type[AgentError], header: str
) -> None:
    (told,) = haproxy_values(
        f"http-error status {status} content-type application/json string '(.*)' hdr (.*)"
    )
    error = json.loads(told[0])["error"]
    assert error.keys() == envelope(AgentCrashError("gone"))["error"].keys()
    assert (error["type"], error["code"]) == (HTTP_ERRORS[like].type, HTTP_ERRORS[like].code)
    assert told[1] == header


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_finds_no_fault_in_the_file() -> None:
    done = subprocess.run(["haproxy", "-c", "-q", "-f", HAPROXY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
