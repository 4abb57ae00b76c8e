"""The manifests for Kubernetes: they fit its schemas, and each other."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cursorpipe_core import SupervisorSettings
from cursorpipe_server.notify import LEAVE_S
from cursorpipe_server.routes import ROUTES

MANIFESTS = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes"
KUBECTL = shutil.which("kubectl")
VALIDATE = shutil.which("kubernetes-validate")


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text())
    return loaded


def pod() -> dict[str, Any]:
    template: dict[str, Any] = manifest("deployment")["spec"]["template"]
    return template


def container() -> dict[str, Any]:
    (only,) = pod()["spec"]["containers"]
    found: dict[str, Any] = only
    return found


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The manifests with the files that the operator writes beside them."""
    directory = tmp_path / "kubernetes"
    shutil.copytree(MANIFESTS, directory)
    (directory / "cursor-api-key").write_text("key")
    (directory / "bearer-tokens").write_text("ann=token\n")
    return directory


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_kustomize_builds_them_and_they_fit_the_schemas(secrets: Path, tmp_path: Path) -> None:
    assert KUBECTL is not None
    built = subprocess.run([KUBECTL, "kustomize", secrets], capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    kinds = [document["kind"] for document in yaml.safe_load_all(built.stdout)]
    assert sorted(kinds) == [
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Secret",
        "Service",
    ]
    if VALIDATE is None:
        pytest.skip("kubernetes-validate is not installed")
    whole = tmp_path / "built.yaml"
    whole.write_text(built.stdout)
    done = subprocess.run([VALIDATE, "--strict", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_manifest_is_named() -> None:
    named = set(manifest("kustomization")["resources"])
    # The last one is for the chart of another program.
    others = {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert named == {path.name for path in MANIFESTS.glob("*.yaml")} - others


def test_the_adapter_is_told_of_the_metric_that_the_autoscaler_asks_for() -> None:
    (metric,) = manifest("hpa")["spec"]["metrics"]
    (rule,) = manifest("prometheus-adapter")["rules"]["custom"]
    assert metric["type"] == "Pods"
    assert rule["seriesQuery"].partition("{")[0] == metric["pods"]["metric"]["name"]


def test_the_server_is_not_the_process_that_has_to_collect_what_agents_leave() -> None:
    assert pod()["spec"]["shareProcessNamespace"] is True


def test_everything_speaks_of_the_same_pods() -> None:
    labels = pod()["metadata"]["labels"]
    assert manifest("deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("pdb")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == labels
    target = manifest("hpa")["spec"]["scaleTargetRef"]
    deployment = manifest("deployment")
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])


def test_the_probes_ask_public_routes() -> None:
    public = {route.path for route in ROUTES if route.public}
    paths = {probe: container()[probe]["httpGet"]["path"] for probe in container() if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert set(paths.values()) <= public


def test_a_pod_gets_the_time_that_its_end_takes() -> None:
    sleep, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    settings = {entry["name"]: entry.get("value") for entry in container()["env"]}
    readiness = container()["readinessProbe"]
    assert sleep == "sleep"
    # The endpoint is out by then, even if only the probe says so.
    assert float(seconds) >= readiness["periodSeconds"] * readiness["failureThreshold"]
    budget = float(seconds) + float(settings["CURSORPIPE_DRAIN_TIMEOUT_S"]) + LEAVE_S
    assert pod()["spec"]["terminationGracePeriodSeconds"] >= budget


def test_a_pod_has_no_more_rights_than_it_needs() -> None:
    assert pod()["spec"]["automountServiceAccountToken"] is False
    assert pod()["spec"]["securityContext"]["runAsNonRoot"] is True
    rights = container()["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}


def test_secrets_are_no_part_of_the_manifests() -> None:
    (secret,) = manifest("kustomization")["secretGenerator"]
    assert secret["files"] == ["cursor-api-key", "bearer-tokens"]
    ignored = (MANIFESTS.parents[1] / ".gitignore").read_text().splitlines()
    assert {f"/deploy/kubernetes/{name}" for name in secret["files"]} <= set(ignored)


def test_the_memory_of_a_pod_is_enough_for_all_that_it_may_run() -> None:
    environment = {variable["name"]: variable.get("value") for variable in container()["env"]}
    limits = SupervisorSettings()
    grown_mb = int(environment["CURSORPIPE_WORKER_MAX_RSS_MB"] or 0)
    # One more while it is replaced; 250 MB and 80 MB as in deploy/README.md.
    workers = (limits.workers + limits.warm_models_max + 1) * grown_mb
    (tmp,) = (
        volume["emptyDir"]["sizeLimit"] for volume in pod()["spec"]["volumes"] if volume["name"] == "tmp"
    )
    needed_mb = workers + limits.max_subprocesses * 250 + 80 + int(tmp.removesuffix("Mi"))
    assert needed_mb <= int(container()["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024
