"""The command line `llm`, with the models of a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from cases import API_KEY, PROMPT, Saw, run

LLM = str(Path(sys.executable).with_name("llm"))


def ask(saw: Saw, *options: str) -> str:
    command = [LLM, "-m", "cursor/auto", "--usage", "--key", API_KEY, *options, PROMPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if tokens := re.search(r"Token usage: ([\d,]+) input, ([\d,]+) output", done.stderr):
        saw["tokens"] = [int(count.replace(",", "")) for count in tokens.groups()]
    if done.returncode:
        status = re.search(r"Error code: (\d+)", done.stderr)
        saw["error"] = {
            "kinds": [f"exit status {done.returncode}"],
            "status": int(status[1]) if status else None,
            "message": done.stderr,
        }
    return done.stdout


def chat(saw: Saw) -> None:
    saw["text"] = ask(saw, "--no-stream")


def stream(saw: Saw) -> None:
    saw["pieces"] = re.findall(r"\S+\s*", ask(saw))


def structured(saw: Saw) -> None:
    saw["object"] = json.loads(ask(saw, "--no-stream", "--schema", "name, age int"))


run(chat=chat, stream=stream, structured=structured)
