"""The snippets of the README, run as they stand, with the clients they are for."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import TOKEN, ServeUrl

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

#: Seconds a snippet may take; LiteLLM needs most of them to be imported.
SNIPPET_S = 110


def snippet(package: str) -> str:
    imports = re.compile(rf"^(?:from|import) {package}\b", re.MULTILINE)
    return next(code for code in SNIPPETS if imports.search(code))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "package",
    [
        pytest.param(
            package,
            marks=[
                pytest.mark.real_clients,
                pytest.mark.skipif(
                    importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
                ),
            ],
        )
        for package in ("langchain_openai", "litellm", "openai")
    ],
)
@pytest.mark.parametrize("model", ["claude-4.5-sonnet-thinking", "auto"])
def test_the_readmes_snippet_prints_an_answer(serve_url: ServeUrl, package: str, model: str) -> None:
    code = snippet(package)
    for written, meant in (
        ("http://localhost:8080/v1", serve_url()),
        ('"unused"', f'"{TOKEN}"'),
        ("claude-4.5-sonnet-thinking", model),
    ):
        assert written in code
        code = code.replace(written, meant)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SNIPPET_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "You said: Hello!" in done.stdout
