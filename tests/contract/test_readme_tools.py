"""The README's loop with a tool, run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.contract.conftest import TOKEN, ServeUrl

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
QUESTION = "What is the weather in Paris?"


def test_the_loop_of_the_readme_runs(serve_url: ServeUrl, tmp_path: Path) -> None:
    section = README.partition("\n## Tools\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"(?s)```python\n(.*?)```", section)
    # The stand-in's model calls every tool once, with the least that each asks for.
    program = code.replace("http://localhost:8080/v1", serve_url()).replace("unused", TOKEN)
    assert QUESTION in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(QUESTION, "[[demo:tools]]")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Results: get_weather -> .*: sunny, 21 °C\.\n", done.stdout), done.stdout
