"""The file of settings, and what is wrong with its lines.

python-dotenv passes over what it cannot read, and puts nothing in the place of a variable that is not there:
a slip in the line of the token would leave the server open to everybody.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from cursorpipe_core import SettingsError

# Else it logs, of what is told here, a part.
logging.getLogger("dotenv").setLevel(logging.ERROR)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise SettingsError where a file of settings cannot be read."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"the file of settings '{path}' cannot be read ({exc})") from exc


def default_env_file() -> Path | None:
    """Return the file `.env` in the working directory, if there is one; raises SettingsError.

    Only ever that one: a search upwards would find some other project's.
    """
    found = Path.cwd() / ".env"
    with reading(found):
        return found if found.is_file() else None


def mistakes_in(path: Path, settings: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield where a file is wrong, and how; never what stands there, which may be a secret.

    ``settings`` are the variables that must have a value, made of nothing that is not set. Other variables
    are somebody else's. Raises OSError and UnicodeDecodeError.
    """
    with path.open(encoding="utf-8") as lines:
        bindings = list(parse_stream(lines))
    known = set(os.environ)
    for binding in bindings:
        text = binding.original.string
        # What is skipped before a line counts to it.
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        where = f"{path}, line {line}"
        if binding.error:
            yield where, "This is no `NAME=value`; a value in quotes ends with them."
        elif binding.key in settings and binding.value is None:
            yield where, f"{binding.key} has no `=` and no value."
        elif binding.key is not None:
            if binding.key in settings:
                for name in _unset(binding.value or "", known):
                    yield where, f"{binding.key} is made of ${{{name}}}, which is not set."
            known.add(binding.key)


def _unset(value: str, known: Collection[str]) -> Iterator[str]:
    for atom in parse_variables(value):
        if isinstance(atom, Variable) and atom.default is None and atom.name not in known:
            yield atom.name
