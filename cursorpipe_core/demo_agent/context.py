"""What one process of the demo agent knows from its start on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cursorpipe_core.demo_agent.account import Account
from cursorpipe_core.demo_agent.arguments import Invocation
from cursorpipe_core.demo_agent.knobs import Knobs
from cursorpipe_core.demo_agent.models import Selection
from cursorpipe_core.demo_agent.process import Process
from cursorpipe_core.demo_agent.scenarios import Faults
from cursorpipe_core.demo_agent.settings_file import SettingsFile


class Context(NamedTuple):
    """The command line, the switches, and what was found in the configuration directory."""

    invocation: Invocation
    knobs: Knobs
    faults: Faults
    process: Process
    settings: SettingsFile
    account: Account
    selection: Selection
    cwd: Path

    @property
    def forced(self) -> bool:
        """Whether commands are run without asking."""
        return self.invocation.has("force", "yolo")

    @property
    def unrestricted(self) -> bool:
        """Whether the configuration allows everything (CLI contract §2)."""
        return self.settings.read().get("approvalMode") == "unrestricted"
