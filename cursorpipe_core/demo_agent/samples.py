"""JSON for those who ask for it: an object, or the least that a schema asks for."""

from __future__ import annotations

import json
import re
from typing import Any

_SCHEMA = re.compile(r"^Schema: (.+)$", re.MULTILINE)
_OBJECT = re.compile(r"^Answer with one JSON object\b", re.MULTILINE)
#: How deep a schema that calls itself is followed.
_MAX_DEPTH = 8


def sample_for(question: str) -> str | None:
    """Return JSON if the question asks for it: by a schema on a line of its own, or for an object."""
    schemas = _SCHEMA.findall(question)
    if schemas:
        try:
            schema = json.loads(schemas[-1])
        except ValueError:
            return None
        return json.dumps(sample(schema, schema))
    return '{"answer": "Hello, I am the demo agent."}' if _OBJECT.search(question) else None


def sample(schema: Any, root: Any, depth: int = 0) -> Any:
    """Return a value that a schema is likely to take."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        return sample(_inside(root, reference), root, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            return sample(schema[keyword][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else None)
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _of_type(kind: str | None, schema: dict[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        names = schema.get("required", properties)
        return {name: sample(properties.get(name, {}), root, depth + 1) for name in names}
    if kind == "array":
        item = sample(schema.get("items", {}), root, depth + 1)
        return [item] * max(1, schema.get("minItems", 1))
    if kind == "string":
        return "demo".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return True if kind == "boolean" else None


def _inside(root: Any, reference: str) -> Any:
    """Return what a reference within a schema names; None if that is nothing."""
    found = root
    for step in reference.lstrip("#/").split("/"):
        found = found.get(step) if isinstance(found, dict) and step else found
    return found
