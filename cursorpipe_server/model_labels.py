"""The models that metrics tell apart, bounded: a label is for ever, and names come from anybody."""

from __future__ import annotations

#: The models that get a label of their own, at most; an account has some fifty.
MOST_MODELS = 100
#: The label of all others.
OTHER = "other"


class ModelLabels:
    """Gives each model its name as a label, first come, until there are too many."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        self._most = most
        self._names: set[str] = set()

    def real(self, name: str) -> str:
        """Return the label of a model that is known to exist: it was served, or is in the list."""
        if name not in self._names:
            if len(self._names) >= self._most:
                return OTHER
            self._names.add(name)
        return name

    def claimed(self, name: str) -> str:
        """Return the label of a model that was only asked for: its name if it has one already."""
        return name if name in self._names else OTHER
