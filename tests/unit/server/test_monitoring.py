"""The files for Prometheus and Grafana, and the README's list, name what `/metrics` tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.metrics import Client, scrape
from tests.unit.server.conftest import ask

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
ALERTS = PROMETHEUS.parent / "alerts.yaml"
ALERTS_TEST = ROOT / "tests" / "alerts.test.yaml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
README = (ROOT / "README.md").read_text(encoding="utf-8")

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

#: What Prometheus itself puts on samples, and the bounds of histograms.
OF_PROMETHEUS = {"instance", "job", "le"}


def alerts() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Every query there is."""
    for rule in alerts():
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


def promtool(*arguments: str | Path, said: str | None = None) -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], input=said, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def exposed(client: Client) -> dict[str, set[str]]:
    """The names that queries can use, each with its labels, after a request."""
    async with client.post("/v1/chat/completions", json=ask()) as response:
        await response.read()
    found: dict[str, set[str]] = {"up": set()}
    for family in (await scrape(client)).families:
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
        for ending in endings.get(family.type, [""]):
            found[family.name + ending] = set()
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, set()) | set(sample.labels)
    return found


@pytest.mark.parametrize("expression", sorted(set(expressions())))
async def test_a_query_names_only_what_is_told(client: Client, expression: str) -> None:
    told = await exposed(client)
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = re.findall(r"\b(?:cursorpipe_|process_)\w+|\bup\b", bare)
    assert names
    assert set(names) <= told.keys()
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for grouped in re.findall(r"\bby \(([^)]*)\)", bare):
        labels |= {label.strip() for label in grouped.split(",")}
    # What has no sample yet, such as the memory of a worker that nobody has looked at, tells no labels.
    known = set.union(OF_PROMETHEUS, *(told[name] for name in names))
    if all(told[name] for name in names):
        assert labels <= known


async def test_every_metric_is_on_the_dashboard(client: Client) -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in await exposed(client)}
    ours = {name for name in told if name.startswith("cursorpipe_")} - {"cursorpipe_build_info"}
    assert {name for name in ours if name not in shown} == set()


async def test_the_readme_lists_every_metric(client: Client) -> None:
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in await exposed(client)}
    ours = {name for name in told if name.startswith("cursorpipe_")}
    section = README.partition("\n### Metrics\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\bcursorpipe_\w+", section)) == ours


def test_every_panel_can_be_told_from_the_others() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["targets"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_no_panel_covers_another() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_the_dashboard_has_the_variables_that_its_queries_use() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} == variables


def test_an_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert {"summary", "description"} <= rule["annotations"].keys()


@needs_promtool
def test_promtool_takes_the_configuration_with_its_alerts() -> None:
    assert "SUCCESS" in promtool("check", "config", PROMETHEUS)


@needs_promtool
def test_the_alerts_are_raised_when_they_should() -> None:
    promtool("test", "rules", ALERTS_TEST)


@needs_promtool
def test_promtool_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", path)


@needs_promtool
async def test_promtool_finds_no_fault_in_the_metrics(client: Client) -> None:
    await exposed(client)
    async with client.get("/metrics") as response:
        text = await response.text()
    assert promtool("check", "metrics", said=text) == ""
