"""What ACP offers for a session: modes, models, options, commands (CLI contract §4.3, §4.5, §4.6)."""

from __future__ import annotations

from typing import Any

from cursorpipe_core.demo_agent.models import Selection, select_option

Json = dict[str, Any]

_MODES = (
    ("agent", "Agent", "Full agent capabilities with tool access"),
    ("plan", "Plan", "Read-only mode for planning and designing before implementation"),
    ("ask", "Ask", "Q&A mode - no edits or command execution"),
)

MODES = tuple(mode for mode, _, _ in _MODES)

COMMANDS = [
    {"name": "plan", "description": "Switch to plan mode"},
    {"name": "simplify", "description": "Review the changed code and clean it up"},
]


def describe(selection: Selection, mode: str, *, parameterized: bool, has_modes: bool = True) -> Json:
    """Return what session/new and session/load say of a session."""
    model = selection.model_option(parameterized=parameterized)
    described: Json = {
        "models": {
            "currentModelId": model["currentValue"],
            "availableModels": [
                {"modelId": option["value"], "name": option["name"]} for option in model["options"]
            ],
        },
        "configOptions": _options(selection, mode, parameterized=parameterized, has_modes=has_modes),
    }
    if not has_modes:
        return described
    modes = [{"id": mode_id, "name": name, "description": about} for mode_id, name, about in _MODES]
    return {"modes": {"currentModeId": mode, "availableModes": modes}, **described}


def _options(selection: Selection, mode: str, *, parameterized: bool, has_modes: bool = True) -> list[Json]:
    """Return all config options; with the parameter picker each parameter of the model is one."""
    modes = select_option("mode", "Mode", "mode", mode, [(mode_id, name) for mode_id, name, _ in _MODES])
    return [
        *([modes] if has_modes else ()),
        selection.model_option(parameterized=parameterized),
        *(selection.parameter_options(selection.current) if parameterized else ()),
    ]
