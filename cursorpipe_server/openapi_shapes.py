"""What the JSON schemas of the OpenAPI document are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

#: A JSON schema, or a part of one.
Schema = dict[str, Any]

REF_TEMPLATE = "#/components/schemas/{model}"


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": REF_TEMPLATE.format(model=name)}


def members(properties: Mapping[str, Schema], *, about: str, optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object with these members, all of which are there but the ``optional``."""
    left_out = frozenset(optional)
    return {
        "type": "object",
        "description": about,
        "properties": dict(properties),
        "required": [name for name in properties if name not in left_out],
    }


def text(about: str, *, null: bool = False) -> Schema:
    """Return the schema of a text, or with ``null`` of one that there need not be."""
    return {"type": ["string", "null"] if null else "string", "description": about}


def count(about: str) -> Schema:
    """Return the schema of a number of things."""
    return {"type": "integer", "minimum": 0, "description": about}


def one_of(values: type[StrEnum], about: str) -> Schema:
    """Return the schema of one of these values."""
    return {"type": "string", "enum": [value.value for value in values], "description": about}


def list_of(items: Schema, about: str) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, "description": about}
