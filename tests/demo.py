"""The stand-in as the agent of a test: its settings, and what it recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from cursorpipe_core import AgentSettings, demo_agent_settings
from tests.waiting import until


class DemoAgent:
    """The stand-in's switches for one test, and its record.

    ``set`` before the agent is started: `agent.set(SCENARIO="crash-at-start")`.
    """

    def __init__(self, directory: Path) -> None:
        self.record = directory / "record.jsonl"
        state = directory / "state"
        state.mkdir()
        self.state_dir = directory / "servers"
        self.switches = {"DEMO_AGENT_RECORD": str(self.record), "DEMO_AGENT_STATE": str(state)}

    def set(self, **switches: object) -> None:
        """Set the stand-in's environment variables, without their prefix."""
        self.switches.update({f"DEMO_AGENT_{name}": str(value) for name, value in switches.items()})

    def settings(self, **fields: Any) -> AgentSettings:
        """Return settings under which the stand-in is the agent."""
        base = demo_agent_settings()
        base["stand_in_env"] = {**base["stand_in_env"], **self.switches}
        return AgentSettings(**{**base, "state_dir": str(self.state_dir), **fields})

    def events(self, kind: str | None = None, **members: Any) -> list[dict[str, Any]]:
        """Return what was recorded, of one kind and with these members."""
        if not self.record.exists():
            return []
        # The last line may be in the middle of being written.
        lines = self.record.read_bytes().split(b"\n")[:-1]
        events = [orjson.loads(line) for line in lines]
        return [
            event
            for event in events
            if (kind is None or event["event"] == kind)
            and all(event.get(name) == value for name, value in members.items())
        ]

    async def wait_for(self, kind: str, *, count: int = 1, **members: Any) -> list[dict[str, Any]]:
        """Wait until so many such events are recorded, and return them."""
        await until(lambda: len(self.events(kind, **members)) >= count)
        return self.events(kind, **members)

    def starts(self, mode: str) -> list[list[str]]:
        """Return the command lines of the processes started in a mode, `acp` or `print`."""
        return [event["argv"] for event in self.events("start", mode=mode)]

    def pids(self) -> list[int]:
        """Return the ids of all processes there ever were: the agents and what they left behind."""
        started = [event["pid"] for event in self.events("start")]
        return [*started, *(event["grandchild"] for event in self.events("grandchild"))]
