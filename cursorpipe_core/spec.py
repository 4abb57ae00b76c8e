"""One setting: the variable that sets it, its bounds and its meaning, beside its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class SettingSpec:
    """How one setting is given from outside.

    ``names`` are the variables that set it, the first that is set wins; the first is the canonical one.
    ``least`` and ``most`` bound numbers. ``secret`` values are never shown. ``reload``: a running program
    takes over another value; what it has once read and built upon needs a restart.
    """

    names: tuple[str, ...]
    doc: str
    least: float | None = None
    most: float | None = None
    secret: bool = False
    reload: bool = False


def setting(
    *names: str,
    default: object,
    doc: str,
    least: float | None = None,
    most: float | None = None,
    secret: bool = False,
    reload: bool = False,
) -> Any:  # Any: the value stands in a dataclass as the default of a field of any type
    """Declare a dataclass field that an environment variable sets."""
    spec = SettingSpec(names, doc, least, most, secret, reload)
    return field(default=default, repr=not secret, metadata={"spec": spec})


def specs(cls: type) -> Mapping[str, tuple[SettingSpec, type, object]]:
    """Return the settings of a settings class: field name -> how it is given, its type, its default."""
    found: dict[str, tuple[SettingSpec, type, object]] = {}
    for item in fields(cls):
        spec = item.metadata.get("spec")
        if spec is not None:
            default = None if item.default is MISSING else item.default
            found[item.name] = (spec, type(default), default)
    return found
