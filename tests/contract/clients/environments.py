"""Environments for clients, made from what `pinned` says and kept for the next run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PINNED = Path(__file__).parent / "pinned"

#: Seconds the registries may take for the largest of them.
INSTALL_S = 540


#: What is not published for the Pythons from here on.
BEFORE = {"aider": (3, 13), "open-webui": (3, 13)}


class Environments:
    """The environments below one directory, each made when it is first asked for; without one, none is."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def make(self, name: str) -> Path:
        """Return the directory of an environment, complete; skips the test where there can be none."""
        if self._directory is None:
            pytest.skip("not asked for: --real-clients installs from the registries")
        pinned = PINNED / f"{name}.txt"
        if pinned.exists():
            if sys.version_info >= BEFORE.get(name, (4,)):
                pytest.skip(f"{name} is not published for this Python")
            return _complete(self._directory, name, pinned, sys.version)
        if shutil.which("npm") is None:
            pytest.fail("npm is needed for the clients that were asked for")
        return _complete(self._directory, name, PINNED / name / "package.json", "")


def programs_of(environment: Path) -> Path:
    """Return the directory with the commands of an environment."""
    modules = environment / "node_modules"
    return modules / ".bin" if modules.exists() else environment / "bin"


def _install(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _complete(root: Path, name: str, pinned: Path, runtime: str) -> Path:
    # What was made for other versions is not reused.
    digest = hashlib.sha256(pinned.read_bytes() + runtime.encode()).hexdigest()[:12]
    directory = root / f"{name}-{digest}"
    done = directory / "complete"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        if pinned.suffix == ".txt":
            venv.create(directory, with_pip=True)
            _install(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", pinned)
        else:
            shutil.copy(pinned, directory)
            _install("npm", "install", "--no-audit", "--no-fund", cwd=directory)
        done.touch()
    return directory
