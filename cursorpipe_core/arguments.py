"""Whether the arguments with which an agent calls a tool are what the tool takes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cursorpipe_core.endpoint import OpenCall
from cursorpipe_core.errors import ToolArgumentsError
from cursorpipe_core.tools import Tool, own_arguments

if TYPE_CHECKING:
    from cursorpipe_core.schema_check import SchemaCheck

logger = logging.getLogger(__name__)

#: How often in a turn an agent is told that its arguments for a tool are wrong.
MAX_CORRECTIONS = 2


class ArgumentsCheck:
    """Checks the calls of one turn by the schemas of its tools.

    A schema that is none, or that cannot be checked, allows everything.
    """

    def __init__(self, *, strict_only: bool) -> None:
        """Check all tools, or with ``strict_only`` those alone that are strict."""
        self._strict_only = strict_only
        self._checks: dict[str, SchemaCheck | None] = {}
        self._corrections: Counter[str] = Counter()

    async def passes(self, call: OpenCall) -> bool:
        """Whether a call may be made; one that may not has been answered with what is wrong.

        Raises ToolArgumentsError if the agent has been told so often enough.
        """
        tool = call.tool
        if tool.schema is None or (self._strict_only and not tool.strict):
            return True
        # In a thread, because a caller's schema may ask for seconds of work.
        violations = await asyncio.to_thread(self._violations, tool, call)
        if not violations:
            return True
        if self._corrections[tool.name] == MAX_CORRECTIONS:
            raise ToolArgumentsError(tool.name, violations)
        self._corrections[tool.name] += 1
        logger.info("the arguments of a call are corrected: %d violations", len(violations))
        call.reject(
            "The arguments are not valid by the schema of the tool:\n"
            + "".join(f"- {violation}\n" for violation in violations)
            + "Call it again with valid arguments."
        )
        return False

    def _violations(self, tool: Tool, call: OpenCall) -> Sequence[str]:
        if tool.name not in self._checks:
            self._checks[tool.name] = _check(tool)
        check = self._checks[tool.name]
        return () if check is None else check.violations(own_arguments(tool, call.arguments))


def violations_of(tool: Tool, arguments: Mapping[str, Any]) -> Sequence[str]:
    """Return what is wrong with the arguments of a call, in words. Blocks."""
    check = _check(tool)
    return () if check is None else check.violations(arguments)


def _check(tool: Tool) -> SchemaCheck | None:
    # Here and not above: what checks schemas takes long to load, and few ever call tools.
    from cursorpipe_core.schema_check import SchemaCheck, SchemaInvalidError  # noqa: PLC0415

    try:
        return SchemaCheck(tool.schema or {})
    except SchemaInvalidError as exc:
        logger.info("the arguments of '%s' are not checked: %s", tool.name, exc)
        return None
