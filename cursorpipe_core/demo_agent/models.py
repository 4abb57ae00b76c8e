"""The models: how the command line and ACP name them, and the one that is selected (CLI contract §4.5)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from cursorpipe_core.demo_agent.settings_file import SettingsFile

Json = dict[str, Any]


class ModelValueError(ValueError):
    """A model or a parameter was given a value that it cannot have; the text is the CLI's."""


class Parameter(NamedTuple):
    """A property of a model that can be chosen; values are strings, ``true`` and ``false`` included."""

    id: str
    name: str
    category: str
    values: tuple[str, ...]


class Model(NamedTuple):
    """A model by its bare id, with the parameters it has and what they are at first."""

    id: str
    name: str
    parameters: Mapping[str, str]


class Slug(NamedTuple):
    """A name for ``--model``: a model with its parameters set."""

    slug: str
    name: str
    model: str
    parameters: Mapping[str, str]


_PARAMETERS = {
    parameter.id: parameter
    for parameter in (
        Parameter("thinking", "Thinking", "thought_level", ("true", "false")),
        Parameter("effort", "Effort", "thought_level", ("low", "medium", "high", "xhigh")),
        Parameter("reasoning", "Reasoning", "thought_level", ("low", "medium", "high")),
        Parameter("context", "Context", "model_config", ("200k", "1m")),
        Parameter("fast", "Fast", "model_config", ("true", "false")),
    )
}

MODELS = {
    model.id: model
    for model in (
        Model("default", "Auto", {}),
        Model("composer-2.5", "Composer 2.5", {"fast": "true"}),
        Model("gpt-5.3-codex", "GPT-5.3 Codex", {"reasoning": "medium", "fast": "false"}),
        Model(
            "claude-opus-4-7", "Claude Opus 4.7", {"thinking": "true", "context": "200k", "effort": "high"}
        ),
        Model("cursor-grok-4.6", "Cursor Grok 4.6", {"effort": "medium"}),
        Model("claude-4.5-sonnet", "Claude 4.5 Sonnet", {"thinking": "true"}),
        Model("gpt-5.4-mini", "GPT-5.4 Mini", {"reasoning": "medium"}),
    )
}

SLUGS = {
    slug.slug: slug
    for slug in (
        Slug("auto", "Auto", "default", {}),
        Slug("composer-2.5", "Composer 2.5", "composer-2.5", {"fast": "false"}),
        Slug("composer-2.5-fast", "Composer 2.5 Fast", "composer-2.5", {"fast": "true"}),
        Slug("gpt-5.3-codex", "GPT-5.3 Codex", "gpt-5.3-codex", {"reasoning": "medium"}),
        Slug("gpt-5.3-codex-high", "GPT-5.3 Codex High", "gpt-5.3-codex", {"reasoning": "high"}),
        Slug("claude-opus-4-7-high", "Claude Opus 4.7 High", "claude-opus-4-7", {"effort": "high"}),
        Slug("cursor-grok-4.6-medium", "Cursor Grok 4.6 Medium", "cursor-grok-4.6", {"effort": "medium"}),
        Slug(
            "claude-4.5-sonnet-thinking",
            "Claude 4.5 Sonnet Thinking",
            "claude-4.5-sonnet",
            {"thinking": "true"},
        ),
        Slug("gpt-5.4-mini-medium", "GPT-5.4 Mini Medium", "gpt-5.4-mini", {"reasoning": "medium"}),
    )
}

_DEFAULT_SLUG = "auto"


class Selection:
    """The model in use: one for the whole process, saved as the default of the next (CLI contract §4.5).

    A model that comes back brings its last parameters with it. ``ignores_changes``: the build before
    2026.07, which accepts a change and keeps what it had.
    """

    def __init__(self, settings: SettingsFile, *, ignores_changes: bool = False) -> None:
        self._settings = settings
        self._ignores_changes = ignores_changes
        self._lock = threading.Lock()
        saved = settings.read()
        selected = _member(saved.get("selectedModel"), "modelId")
        self._current = MODELS[selected if isinstance(selected, str) and selected in MODELS else "default"]
        self._parameters: dict[str, dict[str, str]] = {}
        for model in MODELS.values():
            known = _member(saved.get("modelParameters"), model.id)
            self._parameters[model.id] = {
                name: value if (value := _member(known, name)) in _PARAMETERS[name].values else default
                for name, default in model.parameters.items()
            }

    @property
    def current(self) -> Model:
        """The selected model."""
        return self._current

    @property
    def slug(self) -> Slug:
        """The name on the command line that comes closest to the selection."""
        chosen = self._parameters[self._current.id]
        same_model = [slug for slug in SLUGS.values() if slug.model == self._current.id]
        exact = [slug for slug in same_model if chosen.items() >= slug.parameters.items()]
        return (exact or same_model)[0]

    def value(self, model: Model, *, parameterized: bool) -> str:
        """Return the id of a model over ACP: bare, or with its parameters in brackets."""
        if parameterized:
            return model.id
        chosen = ",".join(f"{name}={value}" for name, value in self._parameters[model.id].items())
        return f"{model.id}[{chosen}]"

    def choose_slug(self, name: str) -> None:
        """Select by ``--model``; raises ModelValueError for a name that is not listed."""
        slug = SLUGS.get(name)
        if slug is None:
            raise ModelValueError(name)
        self._change(MODELS[slug.model], slug.parameters)

    def choose_value(self, value: Any, *, parameterized: bool) -> None:
        """Select by an id that the picker in use lists, and by no other."""
        for model in MODELS.values():
            if value == self.value(model, parameterized=parameterized):
                if not self._ignores_changes:
                    self._change(model, {})
                return
        raise ModelValueError(f"Invalid model value: {value}")

    def choose_parameter(self, name: str, value: Any) -> None:
        """Set a parameter of the selected model."""
        if name not in self._current.parameters:
            raise ModelValueError(f"Unknown config option: {name}")
        if value not in _PARAMETERS[name].values:
            raise ModelValueError(f"Invalid value for {name}: {value}")
        if not self._ignores_changes:
            self._change(self._current, {name: value})

    def model_option(self, *, parameterized: bool) -> Json:
        """Return the config option that selects the model."""
        listed = [(self.value(model, parameterized=parameterized), model.name) for model in MODELS.values()]
        current = self.value(self._current, parameterized=parameterized)
        return select_option("model", "Model", "model", current, listed)

    def parameter_options(self, model: Model) -> list[Json]:
        """Return the config options that set a model's parameters."""
        return [
            select_option(
                name,
                _PARAMETERS[name].name,
                _PARAMETERS[name].category,
                value,
                [(choice, choice.capitalize()) for choice in _PARAMETERS[name].values],
            )
            for name, value in self._parameters[model.id].items()
        ]

    def _change(self, model: Model, parameters: Mapping[str, str]) -> None:
        with self._lock:
            self._current = model
            self._parameters[model.id].update(parameters)
            self._settings.update(self._save)

    def _save(self, content: dict[str, Any]) -> None:
        content["selectedModel"] = {"modelId": self._current.id}
        content["modelParameters"] = self._parameters


def select_option(
    option_id: str, name: str, category: str, current: str, choices: list[tuple[str, str]]
) -> Json:
    """Return a config option of ACP with a list of choices: (value, name)."""
    return {
        "id": option_id,
        "name": name,
        "category": category,
        "type": "select",
        "currentValue": current,
        "options": [{"value": value, "name": label} for value, label in choices],
    }


def models_text(selection: Selection) -> str:
    """Return what ``agent models`` prints (CLI contract §3)."""
    current = selection.slug
    lines = []
    for slug in SLUGS.values():
        marks = [
            mark
            for mark, applies in (("current", slug is current), ("default", slug.slug == _DEFAULT_SLUG))
            if applies
        ]
        lines.append(f"{slug.slug} - {slug.name}" + (f" ({', '.join(marks)})" if marks else ""))
    listed = "\n".join(lines)
    tip = "Tip: use --model <id> (or /model <id> in interactive mode) to switch."
    return f"Available models\n\n{listed}\n\n{tip}"


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
