from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Container, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.contract.clients.environments import Environments, programs_of
from tests.contract.conftest import TOKEN, ServeUrl

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(__file__).parent / "programs"

#: Seconds a program may take; LiteLLM's proxy needs most of them to start.
PROGRAM_S = 110

#: A picture of one pixel.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

#: What keeps programs from asking the network for more than the server.
_QUIET = {
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "AIDER_YES_ALWAYS": "true",
    "CONTINUE_TELEMETRY_ENABLED": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    if not request.config.getoption("--real-clients"):
        return Environments(None)
    kept = request.config.getoption("--real-clients-dir")
    return Environments(Path(kept).resolve() if kept else tmp_path_factory.mktemp("clients"))


def at_server(url: str, text: str) -> str:
    """Return a text that was written for readers, with the address and the token of a server."""
    for address in ("http://localhost:8080/v1", "http://127.0.0.1:8080/v1"):
        text = text.replace(address, url)
    return text.replace("unused", TOKEN)


class Workplace:
    """A directory and a server for the programs of one test.

    The server starts when it is first needed: until then a test can say what the agent is to do.
    """

    def __init__(self, directory: Path, environments: Environments, serve_url: ServeUrl) -> None:
        self.directory = directory / "workplace"
        self.environments = environments
        self._serve_url = serve_url
        shutil.copytree(ROOT / "deploy", self.directory / "deploy")

    @cached_property
    def url(self) -> str:
        """The server's address; from now on the files of `deploy` name it, too."""
        url = self._serve_url()
        for path in (self.directory / "deploy").rglob("*"):
            if path.is_file():
                path.write_text(at_server(url, path.read_text()))
        return url

    def environ(self, environment: Path, more: Mapping[str, str]) -> dict[str, str]:
        """Return the variables for a program: nothing of this process's own settings."""
        return {
            "PATH": f"{programs_of(environment)}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.directory),
            **_QUIET,
            **more,
        }

    def run(
        self,
        environment: Path,
        *command: str | Path,
        environ: Mapping[str, str] = {},
        statuses: Container[int] = (0,),
    ) -> str:
        """Run a program to its end and return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environ(environment, environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_S,
            check=False,
        )
        assert done.returncode in statuses, done.stdout + done.stderr
        return done.stdout

    def place(self, name: str, text: str, environment: Path) -> Path:
        """Write a program where it finds the packages of its environment."""
        modules = environment / "node_modules"
        if modules.exists() and not (self.directory / "node_modules").exists():
            (self.directory / "node_modules").symlink_to(modules)
        path = self.directory / name
        path.write_text(text)
        return path


@pytest.fixture
def workplace(tmp_path: Path, environments: Environments, serve_url: ServeUrl) -> Workplace:
    return Workplace(tmp_path, environments, serve_url)


class Client:
    """A client by its program in `programs`: each case of it is a process that tells what it saw."""

    def __init__(self, program: str, environment: str) -> None:
        self.program = program
        self.environment = environment

    def case(
        self,
        workplace: Workplace,
        name: str,
        prompt: str = "Hello!",
        *,
        model: str = "auto",
        key: str = TOKEN,
    ) -> Mapping[str, Any]:
        environment = workplace.environments.make(self.environment)
        for path in PROGRAMS.iterdir():
            if path.is_file():
                workplace.place(path.name, path.read_text(), environment)
        told = {"BASE_URL": workplace.url, "API_KEY": key, "MODEL": model, "PROMPT": prompt, "IMAGE": IMAGE}
        interpreter = "node" if self.program.endswith(".mjs") else "python"
        printed = workplace.run(
            environment,
            programs_of(environment) / interpreter if interpreter == "python" else interpreter,
            workplace.directory / self.program,
            name,
            environ={
                "LLM_USER_PATH": str(_llm_home(workplace, model)),
                **{f"CLIENT_{word}": value for word, value in told.items()},
            },
        )
        saw: Mapping[str, Any] = json.loads(printed.splitlines()[-1])
        return saw


def _llm_home(workplace: Workplace, model: str) -> Path:
    home = workplace.directory / "deploy" / "clients" / "llm"
    models = home / "extra-openai-models.yaml"
    models.write_text(models.read_text().replace("model_name: auto", f"model_name: {model}"))
    return home
