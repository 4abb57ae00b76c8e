"""What somebody asks the demo agent to do: ``name key=value key="a value"``, by environment or prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_DIRECTIVE = re.compile(r"\[\[demo:([^\[\]]*)\]\]")
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')


class RequestError(ValueError):
    """A request is not understood; the text says what is wrong with it."""


class Request(NamedTuple):
    """A scenario by name, with its parameters complete."""

    name: str
    parameters: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a parameter."""
        return self.parameters[name]

    def number(self, name: str) -> int:
        """Return a parameter that counts something; 0 if it is empty."""
        return int(self.parameters[name] or 0)

    @property
    def times(self) -> int | None:
        """How many times the scenario applies; None: always."""
        return int(self.parameters["times"]) if self.parameters.get("times") else None


def split_words(text: str) -> tuple[str, dict[str, str]]:
    r"""Return the name and the parameters that stand in a text; raises RequestError.

    A value in double quotes may have spaces; ``\n`` in it is a line feed.
    """
    if text.count('"') % 2:
        raise RequestError(f"a quotation is not closed: {text}")
    name, *pairs = _WORD.findall(text) or [""]
    parameters = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"a parameter has no value: {pair}")
        quoted = value.startswith('"') and value.endswith('"')
        parameters[key] = value[1:-1].replace("\\n", "\n") if quoted else value
    return name, parameters


def take_directive(prompt: str) -> tuple[str, str | None, str]:
    """Return the prompt without its directives, the words of the last of them, and what stands behind it."""
    directives = list(_DIRECTIVE.finditer(prompt)) if "[[demo:" in prompt else []
    if not directives:
        return prompt, None, prompt
    last = directives[-1]
    return _DIRECTIVE.sub("", prompt), last[1], prompt[last.end() :]
